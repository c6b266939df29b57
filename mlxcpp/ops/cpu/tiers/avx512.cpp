#include "mlxcpp/ops/cpu/kern/probes.inl"
#include "mlxcpp/ops/cpu/kern/simd_avx512.inl"
#include "mlxcpp/ops/cpu/kernels.h"

namespace mlxcpp::cpu {

extern const Kernels kAvx512;
const Kernels kAvx512 = {.probes = kProbes};

}  // namespace mlxcpp::cpu
