// What choosing a token needs of rows of scores: the best, a few of the best, and normalised rows.
#pragma once

#include "mlxcpp/ops/mx.h"

namespace mlxcpp::ops {

/// (R, V) -> (R,) uint32: where the largest of each row first stands.
array argmax(const array& x);
/// x - log(sum(e^x)), for each row of (R, V).
array log_softmax(const array& x);
/// (R, V), with minus infinity for all but the k largest of each row; 1 <= k <= V.  Which of
/// several equal ones at the border stay is not defined.
array keep_largest(const array& x, int k);
/// (R, V), with minus infinity for all but the fewest largest whose share of the row's mass,
/// sum(e^x), reaches p, and those that equal the last of them; 0 < p <= 1.
array keep_nucleus(const array& x, float p);

}  // namespace mlxcpp::ops
