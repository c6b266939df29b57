#include "mlxcpp/ops/kv.h"

#include "mlxcpp/ops/basic.h"

#include <mlx/ops.h>

#include <algorithm>

namespace mlxcpp::ops {
namespace {

template <class Of>
array joined(const std::vector<KvPiece>& pieces, Of of) {
  std::vector<array> all;
  for (auto& p : pieces)
    all.push_back(
        of(p).map([&](const array& x) { return take_columns(x, 0, p.columns, 2); }).dense());
  return all.size() == 1 ? all[0] : mx::concatenate(std::move(all), 2);
}

}  // namespace

KvNumbers KvNumbers::of(const array& dense, int bits, int group_size) {
  if (!bits) return dense;
  auto parts = mx::quantize(dense, group_size, bits);
  KvNumbers packed(parts[0]);
  packed.scales = parts[1], packed.zeros = parts[2];
  packed.bits = bits, packed.group_size = group_size;
  return packed;
}

array KvNumbers::dense() const {
  return scales ? mx::dequantize(values, *scales, zeros, group_size, bits) : values;
}

std::vector<array> KvNumbers::arrays() const {
  return scales ? std::vector{values, *scales, *zeros} : std::vector{values};
}

KvNumbers concatenate(const std::vector<KvNumbers>& parts, int axis) {
  auto join = [&](auto of) {
    std::vector<array> all;
    for (auto& p : parts) all.push_back(of(p));
    return mx::concatenate(std::move(all), axis);
  };
  KvNumbers y = parts.front();
  y.values = join([](auto& p) { return p.values; });
  if (!y.scales) return y;
  y.scales = join([](auto& p) { return *p.scales; });
  y.zeros = join([](auto& p) { return *p.zeros; });
  return y;
}

int KvPart::columns() const {
  int n = 0;
  for (auto& p : pieces) n += p.columns;
  return n;
}

int KvPart::v_size() const { return pieces.front().v.size(); }

array KvPart::k() const {
  return joined(
      pieces, [](auto& p) -> auto& { return p.k; });
}
array KvPart::v() const {
  return joined(
      pieces, [](auto& p) -> auto& { return p.v; });
}

KvView kv_append(const Layer& layer, const array& k, const array& v, int slot) {
  if (KvStore* store = layer.kv.at(slot)) return store->append(k, v, layer.rows);
  return KvView::of(k, v, layer.rows);
}

}  // namespace mlxcpp::ops
