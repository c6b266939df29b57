#include "mlxcpp/lm/cache/store.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/cache/plain.h"
#include "mlxcpp/lm/cache/rotating.h"
#include "mlxcpp/ops/borrowed.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <cstring>
#include <string>
#include <utility>

namespace mlxcpp::lm {

KvPair widened(const KvPair& p, int columns) {
  return p.map([&](const array& x) {
    auto s = x.shape();
    s[2] = columns;
    array more = mx::zeros(s, x.dtype());
    return x.shape(2) ? mx::concatenate({x, more}, 2) : more;
  });
}

KvPair unset(const KvPair& p, int columns) {
  return p.map([&](const array& x) {
    auto s = x.shape();
    s[2] = columns;
    return ops::blank(s, x.dtype()).first;
  });
}

KvPair refilled(const KvPair& p, const array& k, const array& v) {
  KvPair y = p;
  y.k.values = k, y.v.values = v;
  return y;
}

KvPair written_at(const KvPair& to, const KvPair& x, int at) {
  auto put = [at](const array& buffer, const array& fresh) {
    auto s = fresh.shape();
    mx::Shape start = {0, 0, at, 0}, stop = {s[0], s[1], at + s[2], s[3]};
    return mx::slice_update(buffer, fresh, std::move(start), std::move(stop));
  };
  auto put_all = [&](const ops::KvNumbers& a, const ops::KvNumbers& b) {
    ops::KvNumbers y = a;
    y.values = put(a.values, b.values);
    if (a.scales) y.scales = put(*a.scales, *b.scales), y.zeros = put(*a.zeros, *b.zeros);
    return y;
  };
  return {put_all(to.k, x.k), put_all(to.v, x.v)};
}

KvPair copied(const KvPair& p, int columns) {
  return p.map([&](array x) {
    x.eval();
    if (!x.flags().row_contiguous) x = mx::contiguous(x), x.eval();
    auto s = x.shape();
    std::size_t rows = std::size_t(s[0]) * std::size_t(s[1]);
    std::size_t from = rows ? x.nbytes() / rows : 0;
    s[2] = columns;
    auto [y, to] = ops::blank(s, x.dtype());
    std::size_t taken = rows ? y.nbytes() / rows : 0;
    for (std::size_t r = 0; r < rows; ++r)
      std::memcpy(to + r * taken, x.data<std::byte>() + r * from, taken);
    return y;
  });
}

KvPair side_by_side(const std::vector<KvPair>& parts) {
  if (parts.size() == 1) return parts[0];
  std::vector<ops::KvNumbers> k, v;
  for (auto& p : parts) k.push_back(p.k), v.push_back(p.v);
  return {ops::concatenate(k, 2), ops::concatenate(v, 2)};
}

void append_arrays(const KvPair& p, std::vector<array>* to) {
  for (auto* x : {&p.k, &p.v})
    for (auto& a : x->arrays()) to->push_back(a);
}

bool CacheStore::same_layout(const CacheStore& other) const {
  auto &a = layout_, &b = other.layout_;
  return a.heads == b.heads && a.k_dim == b.k_dim && a.v_dim == b.v_dim && quant_ == other.quant_;
}

bool rounds_kv(const ops::KvLayout& layout, const KvQuant& q) {
  if (q.k_bits || q.v_bits) return q.k_bits == 16;
  return ops::may_round() && !layout.whole;
}

int kv_number_bytes(const ops::KvLayout& layout, const KvQuant& quant) {
  return ops::on_cpu() && !rounds_kv(layout, quant) ? 4 : 2;
}

KvPair CacheStore::unpacked(const array& k, const array& v) const {
  int bits = rounds_kv(layout_, quant_) ? 16 : 0;
  return {ops::KvNumbers::of(k, bits), ops::KvNumbers::of(v, bits)};
}

KvPair CacheStore::packed(const array& k, const array& v) const {
  return {ops::KvNumbers::of(k, quant_.k_bits, quant_.group_size),
          ops::KvNumbers::of(v, quant_.v_bits, quant_.group_size)};
}

KvPair CacheStore::blank(int columns) const {
  bool rounds = rounds_kv(layout_, quant_);
  auto zeros = [&](int size) {
    mx::Shape shape{1, layout_.heads, columns, size};
    ops::KvNumbers x(mx::zeros(shape, rounds ? mx::float16 : mx::float32));
    if (rounds) x.bits = 16;
    return x;
  };
  return {zeros(layout_.k_dim), zeros(layout_.v_dim)};
}

std::unique_ptr<CacheStore> make_store(const ops::KvLayout& layout, const CacheOptions& o) {
  auto fits = [&](const char* of, int bits, int size) {
    if (o.quant.packs() && bits && size % o.quant.group_size)
      throw InputError(describe("kv_group_size",
                                std::string("does not divide the size of ") + of,
                                "a divisor of " + std::to_string(size),
                                std::to_string(o.quant.group_size)));
  };
  fits("keys", o.quant.k_bits, layout.k_dim);
  fits("values", o.quant.v_bits, layout.v_dim);
  int window = o.rotate ? layout.window : 0;
  if (o.max_kv_size && (!window || o.max_kv_size < window))
    return std::make_unique<RotatingKv>(layout, o.quant, o.max_kv_size, o.keep);
  if (window) return std::make_unique<RotatingKv>(layout, o.quant, window, 0);
  return std::make_unique<PlainKv>(layout, o.quant);
}

}  // namespace mlxcpp::lm
