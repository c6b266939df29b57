#include "mlxcpp/ops/cpu/kern/probes.inl"
#include "mlxcpp/ops/cpu/kern/simd_avx2.inl"
#include "mlxcpp/ops/cpu/kernels.h"

namespace mlxcpp::cpu {

extern const Kernels kAvxVnni;
const Kernels kAvxVnni = {.probes = kProbes};

}  // namespace mlxcpp::cpu
