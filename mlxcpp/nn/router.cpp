#include "mlxcpp/nn/router.h"

#include "mlxcpp/ops/experts.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <limits>

namespace mlxcpp::nn {
namespace {

array normalised(const array& w) {
  return mx::divide(w, mx::add(mx::sum(w, -1, true), array(1e-20f)));
}

}  // namespace

Routed softmax_top_k(const array& logits, int k, bool normalise) {
  array scores = mx::softmax(mx::astype(logits, mx::float32), -1, true);
  array chosen = ops::top_k(scores, k);
  array weights = mx::take_along_axis(scores, chosen, -1);
  return {chosen, normalise ? normalised(weights) : weights};
}

GroupedRouter::GroupedRouter(Scope s, const Shape& c)
    : weight(s.take("weight", {c.experts, c.dim})),
      correction(s.take("e_score_correction_bias", {c.experts})),
      shape(c) {}

Routed GroupedRouter::operator()(const array& x) const {
  auto f32 = [](const array& a) { return mx::astype(a, mx::float32); };
  array scores = mx::sigmoid(mx::matmul(f32(x), mx::transpose(f32(*weight))));
  array race = mx::add(scores, f32(*correction));
  if (shape.used_groups < shape.groups) {
    array groups = mx::unflatten(race, -1, {shape.groups, -1});
    array best = mx::sum(mx::topk(groups, std::min(2, groups.shape(-1)), -1), -1, true);
    int out = shape.groups - shape.used_groups;
    array losers = ops::split_at(mx::argpartition(best, out - 1, -2), {out}, -2)[0];
    array lost(-std::numeric_limits<float>::infinity());
    race = mx::flatten(
        mx::put_along_axis(groups,
                           mx::stop_gradient(mx::broadcast_to(
                               losers, {losers.shape(0), losers.shape(1), out, groups.shape(-1)})),
                           lost,
                           -2),
        -2,
        -1);
  }
  array chosen = ops::top_k(race, shape.k);
  array weights = mx::take_along_axis(scores, chosen, -1);
  if (shape.normalise) weights = normalised(weights);
  return {chosen, ops::scale(weights, shape.factor)};
}

}  // namespace mlxcpp::nn
