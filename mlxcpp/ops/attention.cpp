#include "mlxcpp/ops/attention.h"

#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/cpu/attention.h"
#include "mlxcpp/ops/cpu/pool.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/view.h"
#include "mlxcpp/ops/device.h"

#include <mlx/fast.h>
#include <mlx/ops.h>
#include <mlx/utils.h>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace mlxcpp::ops {
namespace {

using Axes = std::vector<int>;
constexpr float kLowest = -1e30f;  // finite: a row that sees nothing (padding) must stay so

/// Keys of this pass that share the query's span: (B, 1, L, S) bool.
array same_span(const array& key_index, const Rows& rows) {
  array column = mx::subtract(key_index, mx::expand_dims(rows.offset, 1));
  array fresh =
      mx::logical_and(mx::greater_equal(column, array(0)), mx::less(column, array(rows.length)));
  array inside = mx::clip(column, array(0), array(rows.length - 1));
  array span = mx::where(fresh, mx::take_along_axis(*rows.spans, inside, 1), array(-1));
  array mine = mx::expand_dims(*rows.spans, Axes{1, 3});
  return mx::logical_and(mx::greater(mine, array(0)),
                         mx::equal(mine, mx::expand_dims(span, Axes{1, 2})));
}

/// (B or 1, 1, L, S) bool: may query i see key j?
array allowed(const KvView& kv, const AttentionArgs& a) {
  const Rows& rows = *kv.rows;
  int columns = kv.k.shape(2);
  array q = mx::expand_dims(rows.index, Axes{1, 3});
  array k =
      kv.key_index ? mx::expand_dims(*kv.key_index, Axes{1, 2}) : mx::arange(0, columns, mx::int32);
  array ok =
      a.causal ? mx::less_equal(k, q) : mx::less(k, mx::expand_dims(rows.ends(), Axes{1, 2, 3}));
  auto keep = [&ok](const array& also) { ok = mx::logical_and(ok, also); };
  if (a.window) keep(mx::greater(k, mx::subtract(q, array(a.window))));
  if (a.chunk)
    keep(mx::equal(mx::floor_divide(k, array(a.chunk)), mx::floor_divide(q, array(a.chunk))));
  if (kv.kept
          .last)  // as if the keys had come one by one: a chunk sees no more than single steps do
    keep(mx::logical_or(mx::less(k, array(kv.kept.first)),
                        mx::greater(k, mx::subtract(q, array(kv.kept.last)))));
  if (rows.spans) {
    array index = kv.key_index ? *kv.key_index : mx::broadcast_to(k, {rows.batch, columns});
    ok = mx::logical_or(ok, same_span(index, rows));
  }
  return ok;
}

struct Mask {
  std::string mode;  // MLX's "causal", or empty
  std::optional<array> allowed;
};

Mask make_mask(const KvView& kv, const AttentionArgs& a) {
  const Rows& rows = *kv.rows;
  int seen = kv.k.shape(2);
  // Kept first tokens may lie before the window, however few columns there are.
  bool whole = !a.chunk && (!a.window || (seen <= a.window && !kv.kept.first));
  if (kv.recent && a.causal && whole) return {};
  bool in_order = !kv.key_index && rows.same_offset && seen == rows.offsets[0] + rows.length;
  bool all_kept = !kv.kept.last || seen <= kv.kept.last;
  if (a.causal && !rows.spans && in_order && all_kept && whole)
    return {rows.length > 1 ? "causal" : "", {}};
  return {"", allowed(kv, a)};
}

/// The mask, also where MLX has a name for it; nothing where every query may see every column.
std::optional<array> visible(const KvView& kv) {
  Mask m = make_mask(kv, {});
  return m.mode == "causal" ? allowed(kv, {}) : m.allowed;
}

/// Scores written out: a cap between score and softmax has no fused form.
array composed(const array& q, const KvView& kv, const AttentionArgs& a) {
  int K = kv.k.shape(1), H = q.shape(1);
  auto grouped = [&](const array& x) { return mx::expand_dims(x, 2); };
  array scores = mx::matmul(mx::unflatten(scale(q, a.scale), 1, {K, H / K}),
                            mx::swapaxes(grouped(kv.k), -1, -2));  // (B, K, H/K, L, S)
  scores = softcap(scores, a.softcap);
  // Not infinite: a row that sees nothing (idle, or padding) must stay finite.
  array lowest(mx::finfo(scores.dtype()).min, scores.dtype());
  scores = mx::where(grouped(allowed(kv, a)), scores, lowest);
  if (a.sinks) {
    auto shape = scores.shape();
    shape.back() = 1;
    array sinks = mx::reshape(mx::astype(**a.sinks, scores.dtype()), {K, H / K, 1, 1});
    scores = mx::concatenate({mx::broadcast_to(sinks, shape), scores}, -1);
  }
  array p = mx::softmax(scores, -1, true);
  if (a.sinks) p = split_at(p, {1}, -1)[1];
  return mx::flatten(mx::matmul(p, grouped(kv.v)), 1, 2);
}

array attention_of_mlx(const array& q, const KvView& kv, const AttentionArgs& a) {
  if (a.softcap) return composed(q, kv, a);
  Mask m = make_mask(kv, a);
  std::optional<array> sinks;
  if (a.sinks) sinks = mx::astype(**a.sinks, q.dtype());
  return mx::fast::scaled_dot_product_attention(q, kv.k, kv.v, a.scale, m.mode, m.allowed, sinks);
}

using Arrays = std::vector<array>;

/// What our kernels read, already evaluated.
struct Operands {
  int rows, heads, kv_heads, queries, keys, k_size, v_size;
  cpu::Heads q, k, v;
};

cpu::Heads heads_of(const detail::View<float>& x) {
  return {x.data(), x.stride(0), x.stride(1), x.stride(2)};
}

/// Who sees whom, for our kernels.  The places name inputs of the node.
struct Call {
  std::shared_ptr<const Rows> rows;
  AttentionArgs args;  // without its sinks
  bool recent;
  Kept kept;
  int sinks = -1, index = -1, spans = -1, chosen = -1;

  /// Appends what is there to the inputs.
  Call(const KvView& kv,
       const AttentionArgs& a,
       const std::optional<array>& chosen_keys,
       Arrays* inputs)
      : rows(kv.rows), args(a), recent(kv.recent), kept(kv.kept) {
    auto also = [&](const array& x, mx::Dtype dtype) {
      inputs->push_back(mx::astype(x, dtype));
      return int(inputs->size()) - 1;
    };
    args.sinks = std::nullopt;
    if (a.sinks) sinks = also(**a.sinks, mx::float32);
    if (kv.key_index) index = also(*kv.key_index, mx::int32);
    if (rows->spans) spans = also(*rows->spans, mx::int32);
    if (chosen_keys) chosen = also(*chosen_keys, mx::uint8);
  }

  /// Every column is seen, whatever token it holds.
  bool sees_all(int columns) const {
    bool whole = !args.chunk && (!args.window || (columns <= args.window && !kept.first));
    return recent && args.causal && whole && !rows->spans;
  }
  KvView view(const array& k, const array& v, const Arrays& in) const {
    KvView kv{.k = k, .v = v, .key_index = {}, .recent = recent, .kept = kept, .rows = rows};
    if (index >= 0) kv.key_index = in[index];
    return kv;
  }
  void run(const Operands& o, const Arrays& in, array& out) const;
};

/// Heads stand inside tokens, as the projection that follows wants them.
void Call::run(const Operands& o, const Arrays& in, array& out) const {
  std::optional<detail::View<float>> sink;
  std::optional<detail::View<int>> tokens, numbers;
  std::optional<detail::View<unsigned char>> allowed;
  if (sinks >= 0) sink = detail::View<float>::in_order(in[sinks]);
  if (index >= 0) tokens = detail::View<int>::in_order(in[index]);
  if (spans >= 0) numbers = detail::View<int>::in_order(in[spans]);
  if (chosen >= 0) allowed = detail::View<unsigned char>::in_order(in[chosen]);
  bool all = sees_all(o.keys);
  std::vector<int> ends;
  for (int b = 0; b < rows->batch; ++b) ends.push_back(all ? cpu::kNoToken : rows->end(b));
  cpu::attention({.rows = o.rows,
                  .heads = o.heads,
                  .kv_heads = o.kv_heads,
                  .queries = o.queries,
                  .keys = o.keys,
                  .k_size = o.k_size,
                  .v_size = o.v_size,
                  .q = o.q,
                  .k = o.k,
                  .v = o.v,
                  .out = detail::floats(out),
                  .out_row = long(o.queries) * o.heads * o.v_size,
                  .out_head = o.v_size,
                  .out_token = long(o.heads) * o.v_size,
                  .scale = args.scale,
                  .softcap = args.softcap,
                  .sinks = sink ? sink->data() : nullptr,
                  .causal = args.causal && !all,
                  .window = all ? 0 : args.window,
                  .chunk = args.chunk,
                  .kept_first = kept.first,
                  .kept_last = all ? 0 : kept.last,
                  .offsets = rows->offsets.data(),
                  .ends = ends.data(),
                  .key_index = tokens && !all ? tokens->data() : nullptr,
                  .spans = numbers ? numbers->data() : nullptr,
                  .allowed = allowed ? allowed->data() : nullptr});
}

array attention_of_ours(const array& q, const KvView& kv, const AttentionArgs& a) {
  Arrays inputs = {q, kv.k, kv.v};
  Call call(kv, a, {}, &inputs);
  auto run = [call](const Arrays& in, Arrays& out) {
    detail::View<float> qs(in[0]), ks(in[1]), vs(in[2]);
    Operands o = {.rows = in[0].shape(0),
                  .heads = in[0].shape(1),
                  .kv_heads = in[1].shape(1),
                  .queries = in[0].shape(2),
                  .keys = in[1].shape(2),
                  .k_size = in[0].shape(3),
                  .v_size = in[2].shape(3),
                  .q = heads_of(qs),
                  .k = heads_of(ks),
                  .v = heads_of(vs)};
    call.run(o, in, out[0]);
  };
  auto composition = [call](const Arrays& in) -> Arrays {
    AttentionArgs args = call.args;
    if (call.sinks >= 0) args.sinks = std::make_shared<array>(in[call.sinks]);
    array y = attention_of_mlx(in[0], call.view(in[1], in[2], in), args);
    return {mx::transpose(y, {0, 2, 1, 3})};
  };
  array y = detail::kernel(
      "Attention", {q.shape(0), q.shape(2), q.shape(1), kv.v.shape(3)}, inputs, run, composition);
  return mx::transpose(y, {0, 2, 1, 3});
}

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

/// Scores with a second part, of `q_rope` and the view's v.
struct Latent {
  float scale;
  std::optional<array> chosen;

  array by_mlx(
      const array& q, const array& q_rope, const array& k, const array& v, const KvView& kv) const {
    array scores = mx::matmul(ops::scale(q_rope, scale), mx::swapaxes(kv.v, -1, -2));
    auto seen = visible(kv);
    if (chosen) seen = seen ? mx::logical_and(*seen, *chosen) : *chosen;
    if (seen) scores = mx::where(*seen, scores, array(kLowest, scores.dtype()));
    return mx::fast::scaled_dot_product_attention(q, k, v, scale, "", scores);
  }

  array by_us(
      const array& q, const array& q_rope, const array& k, const array& v, const KvView& kv) const {
    Arrays inputs = {q, q_rope, k, kv.v, v};
    Call call(kv, {.scale = scale}, chosen, &inputs);
    auto run = [call](const Arrays& in, Arrays& out) {
      auto qs = joined(in[0], in[1]), ks = joined(in[2], in[3]);
      detail::View<float> vs(in[4]);
      int H = in[0].shape(1), L = in[0].shape(2), K = in[2].shape(1), S = in[2].shape(2);
      int size = in[0].shape(3) + in[1].shape(3);
      Operands o = {.rows = in[0].shape(0),
                    .heads = H,
                    .kv_heads = K,
                    .queries = L,
                    .keys = S,
                    .k_size = size,
                    .v_size = in[4].shape(3),
                    .q = {qs.data(), long(H) * L * size, long(L) * size, size},
                    .k = {ks.data(), long(K) * S * size, long(S) * size, size},
                    .v = heads_of(vs)};
      call.run(o, in, out[0]);
    };
    auto composition = [call, scale = scale](const Arrays& in) -> Arrays {
      Latent l{scale, {}};
      if (call.chosen >= 0) l.chosen = mx::astype(in[call.chosen], mx::bool_);
      array y = l.by_mlx(in[0], in[1], in[2], in[4], call.view(in[2], in[3], in));
      return {mx::transpose(y, {0, 2, 1, 3})};
    };
    array y = detail::kernel("LatentAttention",
                             {q.shape(0), q.shape(2), q.shape(1), v.shape(3)},
                             inputs,
                             run,
                             composition);
    return mx::transpose(y, {0, 2, 1, 3});
  }
};

bool all_float(const array& q, const KvView& kv) {
  return q.dtype() == mx::float32 && kv.k.dtype() == mx::float32 && kv.v.dtype() == mx::float32;
}

}  // namespace

KvView kv_append(const Layer& layer, const array& k, const array& v, int slot) {
  if (KvStore* store = layer.kv.at(slot)) return store->append(k, v, layer.rows);
  return {.k = k, .v = v, .key_index = {}, .recent = false, .kept = {}, .rows = layer.rows};
}

array attention(const array& q, const KvView& kv, const AttentionArgs& a) {
  bool ours = own_kernels() && all_float(q, kv) && q.size() > 0 && kv.k.size() > 0;
  return ours ? attention_of_ours(q, kv, a) : attention_of_mlx(q, kv, a);
}

array latent_attention(const array& q_nope,
                       const array& q_rope,
                       const KvView& kv,
                       const LatentArgs& a,
                       const std::optional<array>& chosen) {
  Latent latent{a.scale, chosen};
  auto attend = [&](const array& q, const array& k, const array& v) {
    bool ours = own_kernels() && all_float(q, kv) && k.dtype() == mx::float32 &&
                v.dtype() == mx::float32 && q_rope.dtype() == mx::float32 && q.size() > 0;
    return ours ? latent.by_us(q, q_rope, k, v, kv) : latent.by_mlx(q, q_rope, k, v, kv);
  };
  if (q_nope.shape(2) == 1)  // one query: cheaper in the latent space than to expand every key
    return linear(attend(linear(q_nope, a.up_k), kv.k, kv.k), a.up_v);
  return attend(q_nope, linear_back(kv.k, a.up_k), linear(kv.k, a.up_v));
}

std::optional<array> best_keys(const array& q, const array& weights, const KvView& kv, int k) {
  int columns = kv.k.shape(2);
  if (columns <= k) return {};
  auto f32 = [](const array& x) { return mx::stop_gradient(mx::astype(x, mx::float32)); };
  array keys = mx::swapaxes(f32(kv.k), -1, -2);
  auto heads = mx::split(f32(q), q.shape(1), 1);                              // each (B, 1, L, d)
  auto shares = mx::split(mx::expand_dims(f32(weights), 1), q.shape(1), -1);  // (B, 1, L, 1)
  // Head by head: scores of all heads at once would take as many times the memory.
  array scores(0.f);
  for (size_t h = 0; h < heads.size(); ++h)
    scores = mx::add(scores,
                     mx::multiply(shares[h], mx::maximum(mx::matmul(heads[h], keys), array(0.f))));
  auto seen = visible(kv);
  if (seen) scores = mx::where(*seen, scores, array(-std::numeric_limits<float>::infinity()));
  auto last = mx::split(
      mx::partition(scores, columns - k, -1), mx::Shape{columns - k, columns - k + 1}, -1)[1];
  array best = mx::greater_equal(scores, last);
  return seen ? mx::logical_and(*seen, best) : best;
}

array split_heads(const array& x, int head_dim) {
  return mx::transpose(mx::unflatten(x, -1, {-1, head_dim}), {0, 2, 1, 3});
}

array merge_heads(const array& x) { return mx::flatten(mx::transpose(x, {0, 2, 1, 3}), 2, 3); }

}  // namespace mlxcpp::ops
