// Recurrent mixers composed of MLX's operations.
#include "mlxcpp/ops/detail/recurrences.h"

#include "mlxcpp/ops/basic.h"

#include <mlx/ops.h>

#include <cmath>

namespace mlxcpp::ops::detail {
namespace {

array wide(const array& x) { return mx::expand_dims(x, -1); }
array f32(const array& x) { return mx::astype(x, mx::float32); }

/// (B, L, ...) -> its token t, (B, ...).
array at(const array& x, int t) { return mx::take(x, t, 1); }

/// (B, L, G, n) -> (B, L, H, n): heads share the G groups in order.
array for_heads(const array& x, int heads) {
  return x.shape(2) == heads ? x : mx::repeat(x, heads / x.shape(2), 2);
}

/// (B, L, H), with `fill` where a row has no token: padding must not move a state.
array without_padding(const array& x, const Rows& rows, float fill) {
  if (rows.full) return x;
  return mx::where(wide(rows.valid()), x, array(fill, x.dtype()));
}

/// y = s c after s = decay s + dx b^T, token by token.  dx: (B, L, H, p), decay: (B, L, H), b, c:
/// (B, L, H, n).
array ssm_steps(const array& dx, const array& decay, const array& b, const array& c, array& s) {
  std::vector<array> ys;
  for (int t = 0; t < dx.shape(1); ++t) {
    s = mx::add(mx::multiply(s, wide(wide(at(decay, t)))),
                mx::multiply(wide(at(dx, t)), mx::expand_dims(at(b, t), 2)));
    ys.push_back(mx::squeeze(mx::matmul(s, wide(at(c, t))), -1));
  }
  return mx::stack(ys, 1);
}

/// y = s q after s = decay s and s += beta (v - s k) k^T, token by token.  As gated_delta has them,
/// q and k for each head.
array delta_steps(const array& q,
                  const array& k,
                  const array& v,
                  const array& decay,
                  const array& beta,
                  array& s) {
  std::vector<array> ys;
  for (int t = 0; t < v.shape(1); ++t) {
    array kt = at(k, t);
    s = mx::multiply(s, wide(wide(at(decay, t))));
    array known = mx::squeeze(mx::matmul(s, wide(kt)), -1);  // what the state says of this key
    array news = mx::multiply(mx::subtract(at(v, t), known), wide(at(beta, t)));
    s = mx::add(s, mx::multiply(wide(news), mx::expand_dims(kt, 2)));
    ys.push_back(mx::squeeze(mx::matmul(s, wide(at(q, t))), -1));
  }
  return mx::stack(ys, 1);
}

/// Tokens that are computed together in long passes, a power of two.  Measured on a CPU: 8 and 32
/// are no faster, and from one chunk on no pass is faster token by token.
constexpr int kChunk = 16;

/// (B, L, H, d) -> (B, H, N, C, d), the last chunk filled up with zeros.
array in_chunks(const array& x) {
  array y = mx::transpose(x, {0, 2, 1, 3});
  int missing = (kChunk - x.shape(1) % kChunk) % kChunk;
  if (missing) y = mx::pad(y, std::vector<int>{2}, mx::Shape{0}, mx::Shape{missing});
  return mx::unflatten(y, 2, {-1, kChunk});
}
/// Chunk i of (B, H, N, ...).
array chunk(const array& x, int i) { return mx::take(x, i, 2); }
array turned(const array& x) { return mx::swapaxes(x, -1, -2); }

/// What is known of decays before a state reaches the chunks.
struct ChunkDecay {
  array since;    // (B, H, N, C, 1): of a state from the chunk's start, up to and with the token
  array between;  // (B, H, N, C, C): after token j, up to and with token i; 0 for a later j

  array until_end() const {
    return turned(mx::slice(between, {0, 0, 0, kChunk - 1, 0}, between.shape()));
  }
  array whole() const { return mx::slice(since, {0, 0, 0, kChunk - 1, 0}, since.shape()); }
};

/// logs: (B, L, H).  Each entry of `between` is a sum of its own: in the difference of two sums a
/// weak decay behind a strong one would be lost.
ChunkDecay chunk_decay(const array& logs) {
  array log = in_chunks(wide(logs));
  array after = mx::tril(mx::repeat(log, kChunk, -1), -1);
  return {.since = mx::exp(mx::cumsum(log, -2)),
          .between = mx::tril(mx::exp(mx::cumsum(after, -2)))};
}

/// Takes a state through chunks, in which tokens read with q what was written with k.  q, k:
/// (B, H, N, C, n); written(i): (B, H, C, p), what chunk i writes over the state `s`.
/// -> (B, L, H, p).
template <class Written>
array through_chunks(const array& q,
                     const array& k,
                     const ChunkDecay& decay,
                     int tokens,
                     array& s,
                     Written written) {
  array reads = mx::multiply(q, decay.since), writes = mx::multiply(k, decay.until_end());
  array scores = mx::multiply(mx::matmul(q, turned(k)), decay.between), whole = decay.whole();
  std::vector<array> ys;
  for (int i = 0; i < q.shape(2); ++i) {
    array news = written(i);
    ys.push_back(
        mx::add(mx::matmul(chunk(reads, i), turned(s)), mx::matmul(chunk(scores, i), news)));
    s = mx::add(mx::multiply(chunk(whole, i), s), mx::matmul(turned(news), chunk(writes, i)));
  }
  array y = mx::transpose(mx::concatenate(ys, 2), {0, 2, 1, 3});
  return mx::slice(y, {0, 0, 0, 0}, {y.shape(0), tokens, y.shape(2), y.shape(3)});
}

/// ssm_steps in the chunks of Mamba 2's paper, from the logarithms of the decays.
array ssm_chunks(const array& dx, const array& logs, const array& b, const array& c, array& s) {
  array news = in_chunks(dx);
  return through_chunks(in_chunks(c), in_chunks(b), chunk_decay(logs), dx.shape(1), s, [&](int i) {
    return chunk(news, i);
  });
}

/// (I + a)^-1 for what stands below the diagonal of a (..., C, C): from the inverses of two blocks
/// on the diagonal that of both, until the block is the whole.
array unit_lower_inverse(const array& a) {
  array inverse = mx::eye(kChunk);
  for (int size = 1; size < kChunk; size *= 2) {
    array block = mx::floor_divide(mx::arange(0, kChunk, mx::int32), array(size));
    array odd = mx::equal(mx::remainder(block, array(2)), array(1));
    array before = mx::equal(wide(mx::subtract(block, array(1))), mx::expand_dims(block, 0));
    array below = mx::where(mx::logical_and(wide(odd), before), a, array(0.f));
    inverse = mx::subtract(inverse, mx::matmul(mx::matmul(inverse, below), inverse));
  }
  return inverse;
}

/// delta_steps in chunks.  A token writes beta (v - s k), and s holds what the chunk's earlier
/// tokens wrote: (I + a) news = beta (v - s0 k), where a, below its diagonal, is beta times the
/// products of keys.
/// Source: transformers qwen3_next, torch_chunk_gated_delta_rule.
array delta_chunks(const array& q,
                   const array& k,
                   const array& v,
                   const array& decay,
                   const array& beta,
                   array& s) {
  ChunkDecay decays =
      chunk_decay(mx::log(decay));  // of zero: the sums, minus infinity, give zeros again
  array keys = in_chunks(k), by = in_chunks(wide(beta));
  array products = mx::multiply(mx::matmul(keys, turned(keys)), decays.between);
  array inverse = unit_lower_inverse(mx::multiply(products, by));
  array solve = mx::multiply(inverse, turned(by));
  array values = mx::matmul(solve, in_chunks(v));
  array known = mx::matmul(solve, mx::multiply(keys, decays.since));
  return through_chunks(in_chunks(q), keys, decays, v.shape(1), s, [&](int i) {
    return mx::subtract(chunk(values, i), mx::matmul(chunk(known, i), turned(s)));
  });
}

}  // namespace

array state_or_zeros(const State& state, const mx::Shape& shape, mx::Dtype dtype) {
  return state ? *state : mx::zeros(shape, dtype);
}

Advanced conv_composition(const array& x,
                          const array& weight,
                          const std::optional<array>& bias,
                          const State& given,
                          const Rows& rows) {
  int B = x.shape(0), C = x.shape(2), keep = weight.shape(1) - 1;
  array in = mx::concatenate({state_or_zeros(given, {B, keep, C}, x.dtype()), x}, 1);
  array y = mx::conv1d(in, weight, 1, 0, 1, C);
  if (bias) y = mx::add(y, *bias);
  if (rows.full) return {y, mx::contiguous(mx::slice(in, {0, in.shape(1) - keep, 0}, in.shape()))};
  // The inputs before a row's own end, not before the padding's.
  array first = mx::subtract(rows.ends(), rows.offset);
  array columns = mx::add(mx::expand_dims(first, 1), mx::arange(0, keep, mx::int32));
  return {y, mx::take_along_axis(in, mx::expand_dims(columns, -1), 1)};
}

Advanced ssm_composition(const array& x,
                         const array& dt_raw,
                         const array& b,
                         const array& c,
                         const SsmNumbers& args,
                         const State& given,
                         const Rows& rows) {
  int B = x.shape(0), L = x.shape(1), H = x.shape(2), P = x.shape(3);
  array dt = mx::clip(
      softplus(mx::add(f32(dt_raw), f32(args.dt_bias))), array(args.dt_min), array(args.dt_max));
  dt = without_padding(dt, rows, 0);
  array logs = mx::negative(mx::multiply(dt, mx::exp(f32(args.a_log))));
  array dx = mx::multiply(wide(dt), f32(x));
  array bs = for_heads(f32(b), H), cs = for_heads(f32(c), H);
  array s = state_or_zeros(given, {B, H, P, b.shape(3)}, mx::float32);
  array y = L < kChunk ? ssm_steps(dx, mx::exp(logs), bs, cs, s) : ssm_chunks(dx, logs, bs, cs, s);
  return {mx::astype(mx::add(y, mx::multiply(f32(x), wide(f32(args.d)))), x.dtype()), s};
}

Advanced delta_composition(const array& q,
                           const array& k,
                           const array& v,
                           const array& decay,
                           const array& beta,
                           const State& given,
                           const Rows& rows) {
  int B = v.shape(0), L = v.shape(1), H = v.shape(2), P = v.shape(3);
  array qs = for_heads(f32(q), H), ks = for_heads(f32(k), H), vs = f32(v);
  array keep = without_padding(f32(decay), rows, 1), write = without_padding(f32(beta), rows, 0);
  array s = state_or_zeros(given, {B, H, P, q.shape(3)}, mx::float32);
  array y = (L < kChunk ? delta_steps : delta_chunks)(qs, ks, vs, keep, write, s);
  return {mx::astype(y, q.dtype()), s};
}

namespace {

/// Each head times `by` over its length.  The root takes the squares' sum and not their mean.
array of_length(const array& heads, float by) {
  float n = heads.shape(-1);
  return scale(rms_norm(heads, nullptr, 1e-6f / n), by / std::sqrt(n));
}

}  // namespace

Advanced delta_net_composition(const array& q,
                               const array& k,
                               const array& v,
                               const array& a,
                               const array& b,
                               const array& a_log,
                               const array& dt_bias,
                               const State& given,
                               const Rows& rows) {
  array steps = softplus(mx::add(f32(a), f32(dt_bias)));
  array decay = mx::exp(mx::negative(mx::multiply(mx::exp(f32(a_log)), steps)));
  float n = q.shape(-1);
  return delta_composition(
      of_length(q, 1 / std::sqrt(n)), of_length(k, 1), v, decay, mx::sigmoid(b), given, rows);
}

array gated_norm_composition(const array& y,
                             const array& gate,
                             const std::optional<array>& weight,
                             const NormKind& kind) {
  array opening = activate(f32(gate), Activation::silu), x = f32(y);
  if (!weight) return mx::astype(mx::multiply(x, opening), y.dtype());
  if (kind.gate_first) x = mx::multiply(x, opening);
  array each = rms_norm(mx::unflatten(x, -1, {kind.groups, -1}), nullptr, kind.eps);
  bool shared = weight->shape(0) == each.shape(-1);
  array w = shared ? f32(*weight) : mx::unflatten(f32(*weight), 0, {kind.groups, -1});
  array normed = mx::flatten(mx::multiply(each, w), -2, -1);
  return mx::astype(kind.gate_first ? normed : mx::multiply(normed, opening), y.dtype());
}

}  // namespace mlxcpp::ops::detail
