#include "mlxcpp/ops/recurrent.h"

#include "mlxcpp/ops/cpu/recurrent.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/reading.h"
#include "mlxcpp/ops/detail/recurrences.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <cmath>
#include <memory>

namespace mlxcpp::ops {
namespace {

using detail::Advanced;
using detail::Reading;
using Arrays = std::vector<array>;

/// The same columns of another array, as a node's inputs are when it runs.
Part same(const Part& p, const array& of) { return {of, p.from, p.heads, p.size}; }

/// A mixer with one state: its inputs, what kernels and what MLX's operations do with them.
struct Mixer {
  const char* name;
  mx::Shape y_shape, state_shape;
  Arrays inputs;            // without the state
  detail::Kernel::Run run;  // the state's memory is that of outputs[1]; inputs.size() tells whether
                            // it held anything
  std::function<Advanced(const Arrays&, const State&)> composition;
};

array f32(const array& x) { return mx::astype(x, mx::float32); }

/// Advances `state` by kernels or by MLX's operations.
array advance(Mixer m, State& state) {
  size_t given = m.inputs.size();
  if (state) m.inputs.push_back(own_kernels() ? f32(*state) : *state);
  auto compose = [given, composition = std::move(m.composition)](const Arrays& in) -> Arrays {
    Arrays first(in.begin(), in.begin() + long(given));
    Advanced a = composition(first, in.size() > given ? State(in[given]) : State());
    return {a.y, a.state};
  };
  int from = state ? int(given) : -1;
  Arrays out = own_kernels()
                   ? detail::kernel(m.name,
                                    {{m.y_shape, mx::float32}, {m.state_shape, mx::float32}},
                                    m.inputs,
                                    std::move(m.run),
                                    compose,
                                    {-1, from})
                   : compose(m.inputs);
  state = out[1];
  return out[0];
}

const int* lengths_of(const Rows& rows) { return rows.full ? nullptr : rows.lengths.data(); }
/// Activations as kernels read them.
array input(const array& x) { return own_kernels() ? f32(x) : x; }

struct ConvParts {
  Part x;
  std::optional<Part> before, after;  // of the same array
};

array conv(const ConvParts& p,
           const Param& weight,
           const std::optional<Param>& bias,
           std::optional<Activation> act,
           const std::shared_ptr<const Rows>& rows,
           State& state) {
  int B = p.x.of.shape(0), L = p.x.of.shape(1), C = p.x.heads * p.x.size, k = weight->shape(1);
  Mixer m{.name = "causal_conv",
          .y_shape = {B, L, C},
          .state_shape = {B, k - 1, C},
          .inputs = {input(p.x.of), *weight},
          .run = {},
          .composition = {}};
  if (bias) m.inputs.push_back(**bias);
  bool has_bias = bias.has_value(), with_state = state.has_value();
  m.composition = [=](const Arrays& in, const State& before) {
    array x = same(p.x, in[0]).flat();
    if (p.before) x = mx::multiply(same(*p.before, in[0]).flat(), x);
    Advanced a = detail::conv_composition(
        x, in[1], has_bias ? std::optional(in[2]) : std::nullopt, before, *rows);
    if (act) a.y = activate(a.y, *act);
    if (p.after) a.y = mx::multiply(same(*p.after, in[0]).flat(), a.y);
    return a;
  };
  bool silu = act == Activation::silu;
  m.run = [=](const Arrays& in, Arrays& out) {
    Reading read;
    float* kept = out[1].data<float>();
    cpu::CausalConv c{.rows = B,
                      .tokens = L,
                      .channels = C,
                      .kernel = k,
                      .x = read.sequence(same(p.x, in[0])),
                      .before = {},
                      .after = {},
                      .weight = read.stored(in[1]),
                      .bias = {},
                      .silu = silu,
                      .lengths = lengths_of(*rows),
                      .old = with_state ? kept : nullptr,
                      .next = kept,
                      .y = out[0].data<float>()};
    if (p.before) c.before = read.sequence(same(*p.before, in[0]));
    if (p.after) c.after = read.sequence(same(*p.after, in[0]));
    if (has_bias) c.bias = read.stored(in[2]);
    cpu::causal_conv(c);
  };
  return advance(std::move(m), state);
}

struct DeltaParts {
  Part q, k, v, decay, beta;  // the last two before softplus and sigmoid, if there are args
  std::optional<DeltaArgs> args;
};

array delta(const DeltaParts& d, const std::shared_ptr<const Rows>& rows, State& state) {
  int B = d.v.of.shape(0), L = d.v.of.shape(1), H = d.v.heads, P = d.v.size, n = d.q.size;
  Mixer m{
      .name = "gated_delta",
      .y_shape = {B, L, H, P},
      .state_shape = {B, H, P, n},
      .inputs = {input(d.q.of), input(d.k.of), input(d.v.of), input(d.decay.of), input(d.beta.of)},
      .run = {},
      .composition = {}};
  if (d.args) m.inputs.push_back(*d.args->a_log), m.inputs.push_back(*d.args->dt_bias);
  bool net = d.args.has_value(), with_state = state.has_value();
  m.composition = [=](const Arrays& in, const State& before) {
    array q = same(d.q, in[0]).headed(), k = same(d.k, in[1]).headed(),
          v = same(d.v, in[2]).headed(), decay = same(d.decay, in[3]).flat(),
          beta = same(d.beta, in[4]).flat();
    return net ? detail::delta_net_composition(q, k, v, decay, beta, in[5], in[6], before, *rows)
               : detail::delta_composition(q, k, v, decay, beta, before, *rows);
  };
  m.run = [=, heads = d.q.heads](const Arrays& in, Arrays& out) {
    Reading read;
    cpu::Sequence decay = read.sequence(same(d.decay, in[3])),
                  beta = read.sequence(same(d.beta, in[4]));
    std::vector<float> keep(size_t(B) * L * H), write(keep.size());
    if (net)
      cpu::time_steps({.rows = B,
                       .tokens = L,
                       .heads = H,
                       .raw = decay,
                       .bias = read.numbers(in[6]),
                       .a_log = read.numbers(in[5]),
                       .least = 0,
                       .most = std::numeric_limits<float>::infinity(),
                       .step = nullptr,
                       .decay = keep.data(),
                       .gate = beta,
                       .open = write.data()});
    else
      detail::dense_rows(decay, B, L, H, keep.data()),
          detail::dense_rows(beta, B, L, H, write.data());
    float* kept = out[1].data<float>();
    cpu::recurrence({.rows = B,
                     .tokens = L,
                     .heads = H,
                     .key_heads = heads,
                     .n = n,
                     .p = P,
                     .delta = true,
                     .q = read.sequence(same(d.q, in[0])),
                     .k = read.sequence(same(d.k, in[1])),
                     .v = read.sequence(same(d.v, in[2])),
                     .unit = net,
                     .q_scale = 1 / std::sqrt(float(n)),
                     .decay = keep.data(),
                     .write = write.data(),
                     .lengths = lengths_of(*rows),
                     .before = with_state ? kept : nullptr,
                     .after = kept,
                     .y = out[0].data<float>()});
  };
  return mx::astype(advance(std::move(m), state), d.q.of.dtype());
}

}  // namespace

Part::Part(const array& whole)
    : of(whole), from(0), heads(whole.ndim() == 4 ? whole.shape(2) : 1), size(whole.shape(-1)) {}
array Part::flat() const {
  if (of.ndim() == 4) return mx::flatten(of, 2, 3);
  if (heads * size == of.shape(2)) return of;
  return mx::slice(of, {0, 0, from}, {of.shape(0), of.shape(1), from + heads * size});
}
array Part::headed() const { return of.ndim() == 4 ? of : mx::unflatten(flat(), 2, {heads, size}); }

array causal_conv(const Part& x,
                  const Param& weight,
                  const std::optional<Param>& bias,
                  const Layer& layer,
                  int slot,
                  std::optional<Activation> act) {
  std::optional<Activation> outside;
  if (act && *act != Activation::silu && own_kernels()) std::swap(act, outside);
  array y = conv({x, {}, {}}, weight, bias, act, layer.rows, *layer.states.at(slot));
  y = mx::astype(y, x.of.dtype());
  return outside ? activate(y, *outside) : y;
}

array gated_conv(const array& thirds,
                 const Param& weight,
                 const std::optional<Param>& bias,
                 const Layer& layer,
                 int slot) {
  int C = thirds.shape(2) / 3;
  ConvParts parts{Part(thirds, 2 * C, 1, C), Part(thirds, 0, 1, C), Part(thirds, C, 1, C)};
  array y = conv(parts, weight, bias, {}, layer.rows, *layer.states.at(slot));
  return mx::astype(y, thirds.dtype());
}

array ssm_scan(const Part& x,
               const Part& dt,
               const Part& b,
               const Part& c,
               const SsmArgs& args,
               const Layer& layer,
               int slot) {
  int B = x.of.shape(0), L = x.of.shape(1), H = x.heads, P = x.size, n = b.size;
  State& state = *layer.states.at(slot);
  auto rows = layer.rows;
  Mixer m{.name = "ssm_scan",
          .y_shape = {B, L, H, P},
          .state_shape = {B, H, P, n},
          .inputs = {input(x.of),
                     input(dt.of),
                     input(b.of),
                     input(c.of),
                     *args.a_log,
                     *args.d,
                     *args.dt_bias},
          .run = {},
          .composition = {}};
  float least = args.dt_min, most = args.dt_max;
  m.composition = [=](const Arrays& in, const State& before) {
    return detail::ssm_composition(same(x, in[0]).headed(),
                                   same(dt, in[1]).flat(),
                                   same(b, in[2]).headed(),
                                   same(c, in[3]).headed(),
                                   {in[4], in[5], in[6], least, most},
                                   before,
                                   *rows);
  };
  m.run = [=, groups = b.heads, with_state = state.has_value()](const Arrays& in, Arrays& out) {
    Reading read;
    std::vector<float> step(size_t(B) * L * H), keep(step.size());
    cpu::time_steps({.rows = B,
                     .tokens = L,
                     .heads = H,
                     .raw = read.sequence(same(dt, in[1])),
                     .bias = read.numbers(in[6]),
                     .a_log = read.numbers(in[4]),
                     .least = least,
                     .most = most,
                     .step = step.data(),
                     .decay = keep.data()});
    float* kept = out[1].data<float>();
    cpu::recurrence({.rows = B,
                     .tokens = L,
                     .heads = H,
                     .key_heads = groups,
                     .n = n,
                     .p = P,
                     .q = read.sequence(same(c, in[3])),
                     .k = read.sequence(same(b, in[2])),
                     .v = read.sequence(same(x, in[0])),
                     .decay = keep.data(),
                     .write = step.data(),
                     .skip = read.numbers(in[5]),
                     .lengths = lengths_of(*rows),
                     .before = with_state ? kept : nullptr,
                     .after = kept,
                     .y = out[0].data<float>()});
  };
  return mx::astype(advance(std::move(m), state), x.of.dtype());
}

array gated_delta(const Part& q,
                  const Part& k,
                  const Part& v,
                  const Part& decay,
                  const Part& beta,
                  const Layer& layer,
                  int slot) {
  return delta({q, k, v, decay, beta, {}}, layer.rows, *layer.states.at(slot));
}

array gated_delta_net(const Part& q,
                      const Part& k,
                      const Part& v,
                      const Part& a,
                      const Part& b,
                      const DeltaArgs& args,
                      const Layer& layer,
                      int slot) {
  return delta({q, k, v, a, b, args}, layer.rows, *layer.states.at(slot));
}

array gated_norm(const array& y, const Part& gate, const Param& weight, const NormKind& kind) {
  int B = y.shape(0), L = y.shape(1), D = Part(y).heads * Part(y).size;
  Arrays in = {input(y), input(gate.of)};
  if (weight) in.push_back(*weight);
  auto compose = [=](const Arrays& x) -> Arrays {
    std::optional<array> w;
    if (x.size() > 2) w = x[2];
    return {detail::gated_norm_composition(Part(x[0]).flat(), same(gate, x[1]).flat(), w, kind)};
  };
  if (!own_kernels()) return compose(in)[0];
  auto run = [=](const Arrays& x, Arrays& out) {
    Reading read;
    auto mixed = detail::View<float>::in_order(x[0]);
    detail::RowsView gates(x[1]);
    cpu::GatedNorm g{.rows = B * L,
                     .groups = kind.groups,
                     .size = D / kind.groups,
                     .x = mixed.data(),
                     .gate = gates.data() + gate.from,
                     .gate_row = gates.stride(),
                     .weight = {},
                     .period = 1,
                     .eps = kind.eps,
                     .gate_first = kind.gate_first,
                     .y = out[0].data<float>()};
    if (x.size() > 2) g.weight = read.stored(x[2]), g.period = x[2].shape(0);
    cpu::gated_norm(g);
  };
  return mx::astype(detail::kernel("gated_norm", {B, L, D}, in, run, compose), y.dtype());
}

}  // namespace mlxcpp::ops
