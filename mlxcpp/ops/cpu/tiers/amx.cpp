// In this order:
// clang-format off
#include "mlxcpp/ops/cpu/kernels.h"
#include "mlxcpp/ops/cpu/kern/simd_avx512.inl"
#include "mlxcpp/ops/cpu/kern/all.inl"
// clang-format on

namespace mlxcpp::cpu {

extern const Kernels kAmx;
const Kernels kAmx = kAll;

}  // namespace mlxcpp::cpu
