// In this order:
// clang-format off
#include "mlxcpp/ops/cpu/kernels.h"
#include "mlxcpp/ops/cpu/kern/simd_generic.inl"
#include "mlxcpp/ops/cpu/kern/all.inl"
// clang-format on

namespace mlxcpp::cpu {

extern const Kernels kScalar;
const Kernels kScalar = kAll;

}  // namespace mlxcpp::cpu
