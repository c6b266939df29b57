// clang-format off: in this order
#include "mlxcpp/ops/cpu/kern/all.inl"
#include "mlxcpp/ops/cpu/kern/simd_generic.inl"
#include "mlxcpp/ops/cpu/kernels.h"
// clang-format on

namespace mlxcpp::cpu {

extern const Kernels kScalar;
const Kernels kScalar = kAll;

}  // namespace mlxcpp::cpu
