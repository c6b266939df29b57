// How llama.cpp's converter changed numbers, undone.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <mlx/ops.h>

namespace mlxcpp::lm {

/// Norms with the one that Hugging Face adds.
inline array minus_one(const array& x) { return mx::subtract(x, array(1, x.dtype())); }
/// A depthwise convolution without its middle axis: (C, k) -> (C, k, 1), as MLX has it.
inline array depthwise(const array& x) { return mx::expand_dims(x, -1); }
/// Likewise, as torch has it: (C, 1, k).
inline array depthwise_in_torch(const array& x) { return mx::expand_dims(x, 1); }
/// One number for each head or channel, in more axes than one.
inline array flat(const array& x) { return mx::flatten(x); }
/// Mamba's A = -exp(A_log).
inline array log_of_negative(const array& x) { return mx::log(mx::negative(mx::flatten(x))); }

}  // namespace mlxcpp::lm
