#include "mlxcpp/ops/cpu/kern/probes.inl"
#include "mlxcpp/ops/cpu/kern/simd_generic.inl"
#include "mlxcpp/ops/cpu/kernels.h"

namespace mlxcpp::cpu {

extern const Kernels kScalar;
const Kernels kScalar = {.probes = kProbes};

}  // namespace mlxcpp::cpu
