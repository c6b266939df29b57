#include "mlxcpp/ops/experts.h"

#include "mlxcpp/ops/cpu/elementwise.h"
#include "mlxcpp/ops/cpu/linear.h"
#include "mlxcpp/ops/cpu/pool.h"
#include "mlxcpp/ops/detail/adapted.h"
#include "mlxcpp/ops/detail/gates.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/weights.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::ops {
namespace {

using Axes = std::vector<int>;
constexpr int kSortFrom = 64;  // assignments, as mlx-lm's switch_layers.py has it

/// The expert of each assignment, and its adapter where the pass has some.
struct Choice {
  array expert;
  std::optional<array> lane;
  bool sorted;
};

/// x: (..., 1, in), choice: (...) -> (..., 1, out).
array chosen_linear(const array& x, const Weight& w, const Choice& choice) {
  auto& [expert, lane, sorted] = choice;
  array y = w->dense() ? mx::gather_mm(x,
                                       mx::swapaxes(mx::astype(*w->value, x.dtype()), -1, -2),
                                       std::nullopt,
                                       expert,
                                       sorted)
                       : mx::gather_qmm(x,
                                        *w->value,
                                        **w->scales,
                                        w->zeros ? std::optional<array>(**w->zeros) : std::nullopt,
                                        std::nullopt,
                                        expert,
                                        true,
                                        w->quant.group_size,
                                        w->quant.bits,
                                        mode_of(w->quant.format),
                                        std::nullopt,
                                        sorted);
  y = with_global_scale(y, *w, expert);
  if (lane && w->adapted()) y = detail::adapted_experts(y, x, *w->adapters, expert, *lane);
  if (!w->bias) return y;
  array bias = mx::astype(mx::take(**w->bias, expert, 0), y.dtype());
  return mx::add(y, mx::expand_dims(bias, -2));
}

array feed_forward(const array& x, const Choice& choice, const ExpertWeights& w) {
  array up = chosen_linear(x, w.up, choice);
  array h = w.gate ? gated(chosen_linear(x, w.gate, choice), up, w.glu) : activate(up, w.glu.act);
  return mx::squeeze(chosen_linear(h, w.down, choice), -2);
}

/// (B, L, k, D): the tokens in the order of their experts, and back.
array sorted_feed_forward(const array& x,
                          const array& chosen,
                          const std::optional<array>& lane,
                          const ExpertWeights& w) {
  array flat = mx::stop_gradient(mx::flatten(chosen));
  array order = mx::argsort(flat), back = mx::argsort(order);
  array token = mx::floor_divide(order, array(chosen.shape(-1), order.dtype()));
  array rows = mx::expand_dims(mx::take(mx::flatten(x, 0, 1), token, 0), 1);
  std::optional<array> lanes;
  if (lane) lanes = mx::take(mx::flatten(*lane), order, 0);
  array y = feed_forward(rows, {mx::take(flat, order, 0), lanes, true}, w);
  auto shape = chosen.shape();
  shape.push_back(y.shape(-1));
  return mx::reshape(mx::take(y, back, 0), shape);
}

std::vector<const WeightData*> adapted_ones(const ExpertWeights& w) {
  std::vector<const WeightData*> all;
  for (auto& weight : {w.gate, w.up, w.down})
    if (weight && weight->adapted()) all.push_back(weight.get());
  return all;
}

/// (B, L, k) int32: the adapter of each assignment.
std::optional<array> lanes_of(const array& chosen, const ExpertWeights& w) {
  auto adapted = adapted_ones(w);
  if (adapted.empty()) return {};
  array rows = detail::rows_of(*adapted[0]->adapters, chosen.shape(0));
  return mx::broadcast_to(mx::reshape(rows, {chosen.shape(0), 1, 1}), chosen.shape());
}

array composed(const array& x,
               const array& chosen,
               const array& weights,
               const std::optional<array>& lane,
               const ExpertWeights& w) {
  array expert = mx::astype(chosen, mx::uint32);
  array y = chosen.size() >= kSortFrom
                ? sorted_feed_forward(x, expert, lane, w)
                : feed_forward(mx::expand_dims(x, Axes{-2, -3}), {expert, lane, false}, w);
  return mx::astype(mx::sum(mx::multiply(y, mx::expand_dims(weights, -1)), -2), x.dtype());
}

struct Bound {
  std::shared_ptr<const detail::BoundWeight> gate, up, down;
  /// Where the adapters of each stand among a node's inputs; 0: it has none.
  size_t gate_adapters = 0, up_adapters = 0, down_adapters = 0;
};
std::optional<Bound> bind(const ExpertWeights& w) {
  Bound b;
  if (w.gate && !((b.gate = detail::BoundWeight::without_adapters(w.gate)))) return {};
  b.up = detail::BoundWeight::without_adapters(w.up);
  b.down = detail::BoundWeight::without_adapters(w.down);
  bool stacks = b.up && b.down && b.up->stacked() && b.down->stacked();
  return stacks ? std::optional(b) : std::nullopt;
}

/// The weight with those adapters that a node has among its inputs.
Weight with_adapters(const Weight& w, const std::vector<array>& in, size_t at) {
  if (!at) return w;
  auto copy = std::make_shared<WeightData>(*w);
  auto rows = std::make_shared<const std::optional<array>>(in[3]);
  copy->adapters = Adapters{.a = in[at], .b = in[at + 1], .rows = rows};
  return copy;
}

/// Sum over k of the rows of y: (tokens * k, size) -> (tokens, size).
void weighted_sum(const float* y, const float* weights, int tokens, int k, int size, float* out) {
  constexpr int kTokens = 8;
  cpu::Pool::instance().run((tokens + kTokens - 1) / kTokens, [&](int c) {
    for (int t = c * kTokens; t < std::min(tokens, (c + 1) * kTokens); ++t) {
      float* to = out + size_t(t) * size;
      for (int i = 0; i < k; ++i) {
        const float* from = y + (size_t(t) * k + i) * size;
        float by = weights[size_t(t) * k + i];
        for (int d = 0; d < size; ++d) to[d] = (i ? to[d] : 0) + by * from[d];
      }
    }
  });
}

void run_experts(const Bound& b, const Glu& glu, const std::vector<array>& in, array& out) {
  int size = b.up->inputs(), hidden = b.up->outputs(), k = in[1].shape(-1);
  int tokens = int(in[0].size() / size), rows = tokens * k;
  auto* which = in[1].data<std::uint32_t>();
  std::vector<float> up(size_t(rows) * hidden), gate(b.gate ? up.size() : 0);
  std::vector<float> y(size_t(rows) * size);
  auto multiply =
      [&](const float* x, int repeat, const detail::BoundWeight& w, size_t at, float* to) {
        cpu::gather_linear(x, w.inputs(), rows, repeat, which, w.stack(), to, w.outputs());
        if (at)
          detail::ExpertAdapters::of(in[at], in[at + 1])
              .add(x, repeat, rows, which, in[3].data<int>(), to);
      };
  multiply(in[0].data<float>(), k, *b.up, b.up_adapters, up.data());
  if (b.gate) {
    multiply(in[0].data<float>(), k, *b.gate, b.gate_adapters, gate.data());
    cpu::gated(gate.data(),
               hidden,
               up.data(),
               hidden,
               detail::gate_of(glu),
               rows,
               hidden,
               up.data(),
               hidden);
  } else {
    cpu::activate(up.data(), detail::act_of(glu.act), long(up.size()), up.data());
  }
  multiply(up.data(), 1, *b.down, b.down_adapters, y.data());
  weighted_sum(y.data(), in[2].data<float>(), tokens, k, size, out.data<float>());
}

}  // namespace

array experts(const array& x, const array& chosen, const array& weights, const ExpertWeights& w) {
  auto bound = own_kernels() && x.dtype() == mx::float32 ? bind(w) : std::nullopt;
  if (bound && x.shape(-1) != bound->up->inputs()) bound.reset();  // MLX says what does not fit
  auto lane = lanes_of(chosen, w);
  if (!bound) return composed(x, chosen, weights, lane, w);
  std::vector<array> inputs{detail::dense_float(x),
                            mx::contiguous(mx::astype(chosen, mx::uint32)),
                            detail::dense_float(weights)};
  if (lane) inputs.push_back(mx::contiguous(*lane));
  auto add_adapters = [&](const Weight& weight, size_t& at) {
    if (!weight || !weight->adapted()) return;
    at = inputs.size();
    inputs.push_back(detail::dense_float(weight->adapters->a));
    inputs.push_back(detail::dense_float(weight->adapters->b));
  };
  add_adapters(w.gate, bound->gate_adapters);
  add_adapters(w.up, bound->up_adapters);
  add_adapters(w.down, bound->down_adapters);
  auto run = [b = *bound, glu = w.glu](const std::vector<array>& in, std::vector<array>& out) {
    run_experts(b, glu, in, out[0]);
  };
  auto composition = [w, b = *bound](const std::vector<array>& in) {
    ExpertWeights again{with_adapters(w.gate, in, b.gate_adapters),
                        with_adapters(w.up, in, b.up_adapters),
                        with_adapters(w.down, in, b.down_adapters),
                        w.glu};
    auto lanes = in.size() > 3 ? std::optional(in[3]) : std::nullopt;
    return std::vector{composed(in[0], in[1], in[2], lanes, again)};
  };
  return detail::kernel("Experts", x.shape(), std::move(inputs), run, composition);
}

array top_k(const array& scores, int k) {
  int E = scores.shape(-1);
  if (k >= E) return mx::broadcast_to(mx::arange(0, E, mx::uint32), scores.shape());
  return mx::stop_gradient(split_at(mx::argpartition(scores, E - k, -1), {E - k})[1]);
}

}  // namespace mlxcpp::ops
