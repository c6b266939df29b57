#include "mlxcpp/ops/cpu/kern/probes.inl"
#include "mlxcpp/ops/cpu/kern/simd_avx512.inl"
#include "mlxcpp/ops/cpu/kern/tiles.inl"
#include "mlxcpp/ops/cpu/kernels.h"

namespace mlxcpp::cpu {

extern const Kernels kAmx;
const Kernels kAmx = {.probes = kProbes};

}  // namespace mlxcpp::cpu
