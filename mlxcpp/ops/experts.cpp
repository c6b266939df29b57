#include "mlxcpp/ops/experts.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

namespace mlxcpp::ops {
namespace {

using Axes = std::vector<int>;
constexpr int kSortFrom = 64;  // assignments, as mlx-lm's switch_layers.py has it

/// x: (..., 1, in), expert: (...) -> (..., 1, out).
array chosen_linear(const array& x, const Weight& w, const array& expert, bool sorted) {
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
  if (!w->bias) return y;
  array bias = mx::astype(mx::take(**w->bias, expert, 0), y.dtype());
  return mx::add(y, mx::expand_dims(bias, -2));
}

array feed_forward(const array& x, const array& expert, const ExpertWeights& w, bool sorted) {
  array up = chosen_linear(x, w.up, expert, sorted);
  array h =
      w.gate ? gated(chosen_linear(x, w.gate, expert, sorted), up, w.glu) : activate(up, w.glu.act);
  return mx::squeeze(chosen_linear(h, w.down, expert, sorted), -2);
}

/// (B, L, k, D): the tokens in the order of their experts, and back.
array sorted_feed_forward(const array& x, const array& chosen, const ExpertWeights& w) {
  array flat = mx::stop_gradient(mx::flatten(chosen));
  array order = mx::argsort(flat), back = mx::argsort(order);
  array token = mx::floor_divide(order, array(chosen.shape(-1), order.dtype()));
  array rows = mx::expand_dims(mx::take(mx::flatten(x, 0, 1), token, 0), 1);
  array y = feed_forward(rows, mx::take(flat, order, 0), w, true);
  auto shape = chosen.shape();
  shape.push_back(y.shape(-1));
  return mx::reshape(mx::take(y, back, 0), shape);
}

}  // namespace

array experts(const array& x, const array& chosen, const array& weights, const ExpertWeights& w) {
  array expert = mx::astype(chosen, mx::uint32);
  array y = chosen.size() >= kSortFrom
                ? sorted_feed_forward(x, expert, w)
                : feed_forward(mx::expand_dims(x, Axes{-2, -3}), expert, w, false);
  return mx::astype(mx::sum(mx::multiply(y, mx::expand_dims(weights, -1)), -2), x.dtype());
}

array top_k(const array& scores, int k) {
  int E = scores.shape(-1);
  if (k >= E) return mx::broadcast_to(mx::arange(0, E, mx::uint32), scores.shape());
  return mx::stop_gradient(split_at(mx::argpartition(scores, E - k, -1), {E - k})[1]);
}

}  // namespace mlxcpp::ops
