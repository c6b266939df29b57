#include "mlxcpp/ops/kv.h"

#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/cpu/elementwise.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/view.h"
#include "mlxcpp/ops/device.h"

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

/// (B, K, columns, size) to float16.
array to_float16(const array& dense) {
  if (!own_kernels()) return mx::astype(dense, mx::float16);
  auto run = [](const std::vector<array>& in, std::vector<array>& out) {
    detail::View<float> x(in[0]);
    auto& s = in[0].shape();
    auto* to = reinterpret_cast<unsigned short*>(out[0].data<mx::float16_t>());
    for (int b = 0; b < s[0]; ++b)
      for (int h = 0; h < s[1]; ++h)
        for (int t = 0; t < s[2]; ++t, to += s[3])
          cpu::to_half(x.data() + b * x.stride(0) + h * x.stride(1) + t * x.stride(2), s[3], to);
  };
  auto composition = [](const std::vector<array>& in) -> std::vector<array> {
    return {mx::astype(in[0], mx::float16)};
  };
  return detail::kernel("Rounded", dense.shape(), {dense}, run, composition, mx::float16);
}

}  // namespace

KvNumbers KvNumbers::of(const array& dense, int bits, int group_size) {
  if (!bits || (bits == 16 && dense.dtype() != mx::float32)) return dense;
  if (bits == 16) {
    KvNumbers half(to_float16(dense));
    half.bits = bits;
    return half;
  }
  auto parts = mx::quantize(dense, group_size, bits);
  KvNumbers packed(parts[0]);
  packed.scales = parts[1], packed.zeros = parts[2];
  packed.bits = bits, packed.group_size = group_size;
  return packed;
}

array KvNumbers::dense() const {
  if (rounded()) return mx::astype(values, mx::float32);
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
