// Which experts a token goes to, and with what weight.
#pragma once

#include "mlxcpp/nn/weights.h"

namespace mlxcpp::nn {

struct Routed {
  array chosen, weights;  // (B, L, k) uint32, (B, L, k) float32
};

/// Softmax over all experts, then the best k; `normalise`: their weights add up to one.
/// logits: (B, L, E).
Routed softmax_top_k(const array& logits, int k, bool normalise);

/// Sigmoid scores; a learned correction takes part in the choice only; experts stand in groups, and
/// only the best groups take part (by the sum of the two best of each).
struct GroupedRouter {
  struct Shape {
    int dim, experts, k, groups = 1, used_groups = 1;
    bool normalise = true;
    float factor = 1;  // on the weights
  };
  ops::Param weight, correction;  // (E, D), (E,)
  Shape shape;

  /// Takes `weight` and `e_score_correction_bias`.
  GroupedRouter(Scope s, const Shape& shape);
  Routed operator()(const array& x) const;
};

}  // namespace mlxcpp::nn
