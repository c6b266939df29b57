#include "mlxcpp/lm/cache/store.h"

#include "mlxcpp/lm/cache/plain.h"
#include "mlxcpp/lm/cache/rotating.h"

#include <mlx/ops.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::lm {
namespace {

array zeros_of(const array& like, int rows, int columns) {
  return mx::zeros({rows, like.shape(1), columns, like.shape(3)}, like.dtype());
}

template <class F>
KvPair each(const KvPair& p, F f) {
  return {f(p.k), f(p.v)};
}

}  // namespace

array take_columns(const array& x, int from, int to) {
  auto s = x.shape();
  return mx::slice(x, {0, 0, from, 0}, {s[0], s[1], to, s[3]});
}

array int_grid(const std::vector<int>& v, int rows) {
  return array(v.data(), {rows, int(v.size()) / rows}, mx::int32);
}

array along_columns(const array& index, const array& x) {
  auto s = x.shape();
  s[2] = index.shape(1);
  return mx::broadcast_to(mx::expand_dims(index, std::vector<int>{1, 3}), s);
}

KvPair CacheStore::grown(const std::optional<KvPair>& old, const KvPair& like, int columns) {
  if (!old) return each(like, [&](const array& x) { return zeros_of(x, x.shape(0), columns); });
  int have = old->k.shape(2);
  if (have >= columns) return *old;
  return each(*old, [&](const array& x) {
    return mx::concatenate({x, zeros_of(x, x.shape(0), columns - have)}, 2);
  });
}

KvPair CacheStore::written(const KvPair& to,
                           const KvPair& x,
                           std::optional<int> start,
                           const array& at) {
  auto put = [&](const array& buffer, const array& fresh) {
    if (!start) return mx::put_along_axis(buffer, along_columns(at, fresh), fresh, 2);
    auto s = fresh.shape();
    mx::Shape stop = {s[0], s[1], *start + s[2], s[3]};
    return mx::slice_update(buffer, fresh, {0, 0, *start, 0}, stop);
  };
  return {put(to.k, x.k), put(to.v, x.v)};
}

ops::KvRoom CacheStore::given_away(int rows, int columns) {
  auto blank = [&](int size) {
    return mx::zeros({rows, layout_.heads, columns, size}, mx::float32);
  };
  KvPair whole =
      kv_ ? grown(kv_, *kv_, columns) : KvPair{blank(layout_.k_dim), blank(layout_.v_dim)};
  kv_.reset();
  return {.k = std::move(whole.k), .v = std::move(whole.v), .sight = {}};
}

bool CacheStore::same_layout(const CacheStore& other) const {
  auto &a = layout_, &b = other.layout_;
  return a.heads == b.heads && a.k_dim == b.k_dim && a.v_dim == b.v_dim;
}

void CacheStore::keep_rows(const array& rows) {
  if (kv_) kv_ = each(*kv_, [&](const array& x) { return mx::take(x, rows, 0); });
}

void CacheStore::join(const CacheStore& other, int rows, int other_rows) {
  if (!kv_ && !other.kv_) return;
  const KvPair& like = kv_ ? *kv_ : *other.kv_;
  int wide = std::max(columns(), other.columns());
  auto whole = [&](const std::optional<KvPair>& p, int n) {
    return p ? grown(p, *p, wide)
             : each(like, [&](const array& x) { return zeros_of(x, n, wide); });
  };
  KvPair a = whole(kv_, rows), b = whole(other.kv_, other_rows);
  kv_ = KvPair{mx::concatenate({a.k, b.k}, 0), mx::concatenate({a.v, b.v}, 0)};
}

std::vector<array> CacheStore::arrays() const {
  return kv_ ? std::vector<array>{kv_->k, kv_->v} : std::vector<array>{};
}

std::unique_ptr<CacheStore> make_store(const ops::KvLayout& layout, const CacheOptions& o) {
  int window = o.rotate ? layout.window : 0;
  if (o.max_kv_size && (!window || o.max_kv_size < window))
    return std::make_unique<RotatingKv>(layout, o.max_kv_size, o.keep);
  if (window) return std::make_unique<RotatingKv>(layout, window, 0);
  return std::make_unique<PlainKv>(layout);
}

}  // namespace mlxcpp::lm
