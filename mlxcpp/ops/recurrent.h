// Recurrent mixers.  Each reads and advances one state of the layer, by the valid tokens of each
// row only.
#pragma once

#include "mlxcpp/ops/linear.h"
#include "mlxcpp/ops/rows.h"

namespace mlxcpp::ops {

/// Depthwise causal convolution.  x: (B, L, C), weight: (C, k, 1), bias: (C,) -> (B, L, C).
/// State `slot`: the last k - 1 inputs, (B, k - 1, C).
array causal_conv(const array& x,
                  const Param& weight,
                  const std::optional<Param>& bias,
                  const Layer& layer,
                  int slot = 0);

}  // namespace mlxcpp::ops
