// In this order:
// clang-format off
#include "mlxcpp/ops/cpu/kernels.h"
#include "mlxcpp/ops/cpu/kern/simd_avx512.inl"
#include "mlxcpp/ops/cpu/kern/all.inl"
// clang-format on

namespace mlxcpp::cpu {

extern const Kernels kAvx512;
const Kernels kAvx512 = kAll;

}  // namespace mlxcpp::cpu
