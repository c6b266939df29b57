// Attention in a latent space, and the choice of keys for it.
#include "mlxcpp/ops/attention.h"
#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/cpu/pool.h"
#include "mlxcpp/ops/detail/attention_node.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/sight.h"
#include "mlxcpp/ops/device.h"

#include <mlx/fast.h>
#include <mlx/ops.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>

namespace mlxcpp::ops {
namespace {

using Arrays = std::vector<array>;
constexpr float kLowest = -1e30f;  // finite: a row that sees nothing (padding) must stay so

/// Rows of `a` with rows of `b` behind them: (B, H, T, size of both).  `b` may have one head.
std::vector<float> joined(const array& a, const array& b) {
  detail::View<float> first(a), second(b);
  int H = a.shape(1), T = a.shape(2), n = a.shape(3), p = b.shape(3);
  long shared = b.shape(1) == 1 ? 0 : second.stride(1);
  std::vector<float> all(size_t(a.shape(0)) * H * T * (n + p));
  cpu::Pool::instance().run(a.shape(0) * H, [&](int i) {
    const float* x = first.data() + i / H * first.stride(0) + i % H * first.stride(1);
    const float* y = second.data() + i / H * second.stride(0) + i % H * shared;
    float* to = all.data() + size_t(i) * T * (n + p);
    for (int t = 0; t < T; ++t, x += first.stride(2), y += second.stride(2)) {
      to = std::copy_n(x, n, to);
      to = std::copy_n(y, p, to);
    }
  });
  return all;
}

/// One part of a view: scores have a second part, of `q_rope` and the view's v.
struct Latent {
  float scale;
  array turned;  // the part's v: (B, 1, S, p)
  std::optional<array> key_index, chosen;
  bool recent;
  Kept kept;
  std::shared_ptr<const Rows> rows;

  /// Who sees whom does not depend on numbers.
  KvPart part(const array& k, const array& v) const {
    return {.pieces = {{k, v}}, .key_index = key_index, .recent = recent, .kept = kept};
  }
  array by_mlx(const array& q, const array& q_rope, const array& k, const array& v) const {
    array scores = mx::matmul(ops::scale(q_rope, scale), mx::swapaxes(turned, -1, -2));
    auto seen = detail::visible(part(k, v), *rows);
    if (chosen) seen = seen ? mx::logical_and(*seen, *chosen) : *chosen;
    if (seen) scores = mx::where(*seen, scores, array(kLowest, scores.dtype()));
    return mx::fast::scaled_dot_product_attention(q, k, v, scale, "", scores);
  }
  array by_us(const array& q, const array& q_rope, const array& k, const array& v) const;
};

array Latent::by_us(const array& q, const array& q_rope, const array& k, const array& v) const {
  Arrays inputs = {q, q_rope, k, turned, v};
  auto also = [&](const std::optional<array>& x, mx::Dtype dtype) {
    if (x) inputs.push_back(mx::astype(*x, dtype));
    return x ? int(inputs.size()) - 1 : -1;
  };
  int index = also(key_index, mx::int32), choice = also(chosen, mx::uint8);
  auto run = [=, scale = scale, recent = recent, kept = kept, rows = rows](const Arrays& in,
                                                                           Arrays& out) {
    auto qs = joined(in[0], in[1]), ks = joined(in[2], in[3]);
    auto numbers = [](std::vector<float>& x, const array& like, int size) {
      auto shape = like.shape();
      shape.back() = size;
      return array(x.data(), shape, mx::float32, [](void*) {});
    };
    int H = in[0].shape(1), L = in[0].shape(2), size = in[0].shape(3) + in[1].shape(3);
    KvView view{
        {KvPart{.pieces = {{numbers(ks, in[2], size), in[4]}}, .recent = recent, .kept = kept}},
        rows};
    if (index >= 0) view.parts[0].key_index = in[index];
    ChosenKeys chosen_keys;
    if (choice >= 0) chosen_keys.push_back(in[choice]);
    AttentionArgs args{.scale = scale};
    detail::RowsOfKeys keys(view, args, chosen_keys);
    detail::attend({.q = {qs.data(), long(H) * L * size, long(L) * size, size},
                    .shape = {in[0].shape(0), H, L, size},
                    .v_size = in[4].shape(3),
                    .keys = &keys,
                    .args = &args},
                   out[0]);
  };
  auto composition = [=, self = *this](const Arrays& in) -> Arrays {
    Latent l = self;
    l.turned = in[3];
    if (index >= 0) l.key_index = in[index];
    if (choice >= 0) l.chosen = mx::astype(in[choice], mx::bool_);
    return {mx::transpose(l.by_mlx(in[0], in[1], in[2], in[4]), {0, 2, 1, 3})};
  };
  array y = detail::kernel("LatentAttention",
                           {q.shape(0), q.shape(2), q.shape(1), v.shape(3)},
                           inputs,
                           run,
                           composition);
  return mx::transpose(y, {0, 2, 1, 3});
}

}  // namespace

array latent_attention(const array& q_nope,
                       const array& q_rope,
                       const KvView& kv,
                       const LatentArgs& a,
                       const ChosenKeys& chosen) {
  bool absorbed = q_nope.shape(2) == 1;  // cheaper in the latent space than to expand every key
  array q = absorbed ? linear(q_nope, a.up_k) : q_nope;
  array y = detail::by_parts(kv, [&](const detail::OnePart& p) {
    array latent = p.kv.k(), query = p.of(q), query_rope = p.of(q_rope);
    array k = absorbed ? latent : linear_back(latent, a.up_k);
    array v = absorbed ? latent : linear(latent, a.up_v);
    if (p.kv.columns() == 0) {  // an idle row that is still empty
      auto shape = query.shape();
      shape.back() = v.shape(-1);
      return mx::zeros(shape, query.dtype());
    }
    Latent one{a.scale,
               p.kv.v(),
               p.kv.key_index,
               chosen.empty() ? std::nullopt : chosen[p.index],
               p.kv.recent,
               p.kv.kept,
               p.row ? kv.rows->row(*p.row) : kv.rows};
    bool floats = true;
    for (auto* x : {&query, &query_rope, &k, &v, &one.turned}) floats &= x->dtype() == mx::float32;
    bool ours = own_kernels() && floats && query.size() > 0;
    return ours ? one.by_us(query, query_rope, k, v) : one.by_mlx(query, query_rope, k, v);
  });
  return absorbed ? linear(y, a.up_v) : y;
}

namespace {

std::optional<array> best_of(const array& q,
                             const array& weights,
                             const detail::OnePart& p,
                             int k) {
  int columns = p.kv.columns();
  if (columns <= k) return {};
  auto f32 = [](const array& x) { return mx::stop_gradient(mx::astype(x, mx::float32)); };
  array keys = mx::swapaxes(f32(p.kv.k()), -1, -2);
  auto heads = mx::split(f32(q), q.shape(1), 1);                              // each (B, 1, L, d)
  auto shares = mx::split(mx::expand_dims(f32(weights), 1), q.shape(1), -1);  // (B, 1, L, 1)
  // Head by head: scores of all heads at once would take as many times the memory.
  array scores(0.f);
  for (size_t h = 0; h < heads.size(); ++h)
    scores = mx::add(scores,
                     mx::multiply(shares[h], mx::maximum(mx::matmul(heads[h], keys), array(0.f))));
  auto seen = detail::visible(p.kv, p.rows);
  if (seen) scores = mx::where(*seen, scores, array(-std::numeric_limits<float>::infinity()));
  auto last = mx::split(
      mx::partition(scores, columns - k, -1), mx::Shape{columns - k, columns - k + 1}, -1)[1];
  array best = mx::greater_equal(scores, last);
  return seen ? mx::logical_and(*seen, best) : best;
}

}  // namespace

ChosenKeys best_keys(const array& q, const array& weights, const KvView& kv, int k) {
  ChosenKeys chosen;
  bool together = kv.parts.size() == 1;
  for (int b = 0; b < int(kv.parts.size()); ++b) {
    auto rows = together ? kv.rows : kv.rows->row(b);
    detail::OnePart p{kv.parts[b], *rows, b, together ? std::nullopt : std::optional(b)};
    chosen.push_back(best_of(p.of(q), p.of(weights), p, k));
  }
  return chosen;
}

}  // namespace mlxcpp::ops
