// Every algorithm of a tier, after kernels.h and its simd_*.inl; the order matters.
// clang-format off
#if defined(__AMX_TILE__)
#include "mlxcpp/ops/cpu/kern/tiles.inl"
#endif
#include "mlxcpp/ops/cpu/kern/probes.inl"
#include "mlxcpp/ops/cpu/kern/math.inl"
#include "mlxcpp/ops/cpu/kern/elementwise.inl"
#include "mlxcpp/ops/cpu/kern/attention.inl"
#include "mlxcpp/ops/cpu/kern/causal_conv.inl"
#include "mlxcpp/ops/cpu/kern/recurrent_chunks.inl"
#include "mlxcpp/ops/cpu/kern/recurrent.inl"
#if defined(__AMX_TILE__)
#include "mlxcpp/ops/cpu/kern/attention_amx.inl"
#endif

namespace mlxcpp::cpu {
namespace {
constexpr MatrixKernels kMatrix = {};
}  // namespace
}  // namespace mlxcpp::cpu
#include "mlxcpp/ops/cpu/kern/gemm_f32.inl"
#include "mlxcpp/ops/cpu/kern/half_weights.inl"
#include "mlxcpp/ops/cpu/kern/gemm_bf16.inl"
#include "mlxcpp/ops/cpu/kern/gemm_amx.inl"
// clang-format on

namespace mlxcpp::cpu {
namespace {

#if defined(__AMX_BF16__)
constexpr const GemmKernels* kGemmHalf = &kGemmAmx;
#elif defined(__AVX512BF16__)
constexpr const GemmKernels* kGemmHalf = &kGemmBf16;
#else
constexpr const GemmKernels* kGemmHalf = nullptr;
#endif

constexpr Kernels kAll = {
    .probes = kProbes,
    .matrix = kMatrix,
    .gemm_f32 = kGemmF32,
    .gemm_half = kGemmHalf,
    .elementwise = kElementwise,
    .attention_f32 = kAttentionF32,
#if defined(__AMX_TILE__)
    .attention_half = &kAttentionHalf,
#endif
    .recurrent = kRecurrent,
};

}  // namespace
}  // namespace mlxcpp::cpu
