// Products with the weights that a router chose for each token.
#pragma once

#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/linear.h"

namespace mlxcpp::ops {

/// E feed-forward networks.  Projections of (E, out, in), their biases (E, out).
struct ExpertWeights {
  Weight gate;  // null: act(up(x)) alone
  Weight up, down;
  Glu glu;
};

/// Sum over the chosen experts.  x: (B, L, D), chosen: (B, L, k) integers, weights: (B, L, k)
/// -> (B, L, D), dtype of x.  Many tokens are sorted by expert, so that each weight is read once.
array experts(const array& x, const array& chosen, const array& weights, const ExpertWeights& w);

/// The k largest along the last axis: (..., E) -> (..., k) indices, in no order; gradients stop.
array top_k(const array& scores, int k);

}  // namespace mlxcpp::ops
