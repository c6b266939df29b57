// Convolutions of signals and images, channels last.  Arguments mean what MLX's do.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <utility>

namespace mlxcpp::ops {

/// x: (B, L, C), weight: (outputs, k, C / groups) -> (B, L', outputs), dtype of x.
array conv1d(const array& x,
             const array& weight,
             int stride = 1,
             int padding = 0,
             int dilation = 1,
             int groups = 1);

/// x: (B, H, W, C), weight: (outputs, kh, kw, C / groups) -> (B, H', W', outputs), dtype of x.
array conv2d(const array& x,
             const array& weight,
             std::pair<int, int> stride = {1, 1},
             std::pair<int, int> padding = {0, 0},
             std::pair<int, int> dilation = {1, 1},
             int groups = 1);

}  // namespace mlxcpp::ops
