// In this order:
// clang-format off
#include "mlxcpp/ops/cpu/kernels.h"
#include "mlxcpp/ops/cpu/kern/simd_avx2.inl"
#include "mlxcpp/ops/cpu/kern/all.inl"
// clang-format on

namespace mlxcpp::cpu {

extern const Kernels kAvxVnni;
const Kernels kAvxVnni = kAll;

}  // namespace mlxcpp::cpu
