// In this order:
// clang-format off
#include "mlxcpp/ops/cpu/kernels.h"
#include "mlxcpp/ops/cpu/kern/simd_generic.inl"
#include "mlxcpp/ops/cpu/kern/all.inl"
// clang-format on

namespace mlxcpp::cpu {

extern const Kernels kI8mm;
const Kernels kI8mm = kAll;

}  // namespace mlxcpp::cpu
