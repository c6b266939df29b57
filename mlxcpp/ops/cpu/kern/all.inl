// Every algorithm of a tier, after kernels.h and its simd_*.inl; the order matters.
// clang-format off
#if defined(__AMX_TILE__)
#include "mlxcpp/ops/cpu/kern/tiles.inl"
#endif
#include "mlxcpp/ops/cpu/kern/probes.inl"
// clang-format on

namespace mlxcpp::cpu {
namespace {

constexpr Kernels kAll = {.probes = kProbes};

}  // namespace
}  // namespace mlxcpp::cpu
