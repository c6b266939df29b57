// What the default device means for models: the dtype of activations, and whether work overlaps.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <string>

namespace mlxcpp::ops {

/// True when the default device is a CPU.
bool on_cpu();

/// True when operations on the default device are our own kernels': it is a CPU, and MLXCPP_OPS is
/// not "mlx".  Weights may then stay in the blocks of a GGUF file.
bool own_kernels();

/// True where numbers may be rounded for speed as our own kernels do it: not with
/// MLXCPP_DETERMINISTIC=1.
bool may_round();

/// The dtype in which a model computes whose parameters are stored as `stored`: float32 on the CPU,
/// where MLX's half types accumulate in half precision (quantized_matmul errs by 3 to 11 %);
/// elsewhere the stored one.
mx::Dtype activation_dtype(mx::Dtype stored);

/// "cpu", or what MLX calls the GPU.
std::string device_name();

/// The version of the MLX that runs, e.g. "0.32.4".
std::string mlx_version();

}  // namespace mlxcpp::ops
