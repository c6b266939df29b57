#include "mlxcpp/ops/recurrent.h"

#include "mlxcpp/ops/basic.h"

#include <mlx/ops.h>

namespace mlxcpp::ops {
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

array state_or_zeros(const State& state, const mx::Shape& shape) {
  return state ? *state : mx::zeros(shape, mx::float32);
}

}  // namespace

array causal_conv(const array& x,
                  const Param& weight,
                  const std::optional<Param>& bias,
                  const Layer& layer,
                  int slot) {
  State& state = *layer.states.at(slot);
  const Rows& rows = *layer.rows;
  int B = x.shape(0), C = x.shape(2), keep = weight->shape(1) - 1;
  array in = mx::concatenate({state ? *state : mx::zeros({B, keep, C}, x.dtype()), x}, 1);
  if (rows.full) {
    state = mx::contiguous(mx::slice(in, {0, in.shape(1) - keep, 0}, in.shape()));
  } else {  // the inputs before a row's own end, not before the padding's
    array first = mx::subtract(rows.ends(), rows.offset);
    array columns = mx::add(mx::expand_dims(first, 1), mx::arange(0, keep, mx::int32));
    state = mx::take_along_axis(in, mx::expand_dims(columns, -1), 1);
  }
  array y = mx::conv1d(in, *weight, 1, 0, 1, C);
  return bias ? mx::add(y, **bias) : y;
}

array ssm_scan(const array& x,
               const array& dt_raw,
               const array& b,
               const array& c,
               const SsmArgs& args,
               const Layer& layer,
               int slot) {
  State& state = *layer.states.at(slot);
  const Rows& rows = *layer.rows;
  int B = x.shape(0), L = x.shape(1), H = x.shape(2), P = x.shape(3);
  array dt = mx::clip(
      softplus(mx::add(f32(dt_raw), f32(*args.dt_bias))), array(args.dt_min), array(args.dt_max));
  dt = without_padding(dt, rows, 0);
  array decay = mx::exp(mx::negative(mx::multiply(dt, mx::exp(f32(*args.a_log)))));
  array dx = mx::multiply(wide(dt), f32(x));
  array bs = for_heads(f32(b), H), cs = for_heads(f32(c), H);
  array s = state_or_zeros(state, {B, H, P, b.shape(3)});
  std::vector<array> ys;
  for (int t = 0; t < L; ++t) {
    s = mx::add(mx::multiply(s, wide(wide(at(decay, t)))),
                mx::multiply(wide(at(dx, t)), mx::expand_dims(at(bs, t), 2)));
    ys.push_back(mx::squeeze(mx::matmul(s, wide(at(cs, t))), -1));
  }
  state = s;
  array y = mx::add(mx::stack(ys, 1), mx::multiply(f32(x), wide(f32(*args.d))));
  return mx::astype(y, x.dtype());
}

array gated_delta(const array& q,
                  const array& k,
                  const array& v,
                  const array& decay,
                  const array& beta,
                  const Layer& layer,
                  int slot) {
  State& state = *layer.states.at(slot);
  const Rows& rows = *layer.rows;
  int B = v.shape(0), L = v.shape(1), H = v.shape(2), P = v.shape(3);
  array qs = for_heads(f32(q), H), ks = for_heads(f32(k), H), vs = f32(v);
  array keep = without_padding(f32(decay), rows, 1), write = without_padding(f32(beta), rows, 0);
  array s = state_or_zeros(state, {B, H, P, q.shape(3)});
  std::vector<array> ys;
  for (int t = 0; t < L; ++t) {
    array kt = at(ks, t);
    s = mx::multiply(s, wide(wide(at(keep, t))));
    array known = mx::squeeze(mx::matmul(s, wide(kt)), -1);  // what the state says of this key
    array news = mx::multiply(mx::subtract(at(vs, t), known), wide(at(write, t)));
    s = mx::add(s, mx::multiply(wide(news), mx::expand_dims(kt, 2)));
    ys.push_back(mx::squeeze(mx::matmul(s, wide(at(qs, t))), -1));
  }
  state = s;
  return mx::astype(mx::stack(ys, 1), q.dtype());
}

}  // namespace mlxcpp::ops
