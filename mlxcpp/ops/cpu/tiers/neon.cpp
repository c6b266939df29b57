#include "mlxcpp/ops/cpu/kern/probes.inl"
#include "mlxcpp/ops/cpu/kern/simd_generic.inl"
#include "mlxcpp/ops/cpu/kernels.h"

namespace mlxcpp::cpu {

extern const Kernels kNeon;
const Kernels kNeon = {.probes = kProbes};

}  // namespace mlxcpp::cpu
