// Every algorithm of a tier, after kernels.h and its simd_*.inl; the order matters.
#define MLXCPP_INLINE inline __attribute__((always_inline))
// clang-format off
#if defined(__AMX_TILE__)
#include "mlxcpp/ops/cpu/kern/tiles.inl"
#endif
#include "mlxcpp/ops/cpu/kern/probes.inl"
#include "mlxcpp/ops/cpu/kern/math.inl"
#include "mlxcpp/ops/cpu/kern/elementwise.inl"
#include "mlxcpp/ops/cpu/kern/causal_conv.inl"
#include "mlxcpp/ops/cpu/kern/recurrent_chunks.inl"
#include "mlxcpp/ops/cpu/kern/recurrent.inl"
#include "mlxcpp/ops/cpu/kern/float8.inl"
#if defined(__AVX512F__)
#include "mlxcpp/ops/cpu/kern/bytes_avx512.inl"
#include "mlxcpp/ops/cpu/kern/blocks_avx512.inl"
#elif defined(__AVX2__)
#include "mlxcpp/ops/cpu/kern/bytes_avx2.inl"
#include "mlxcpp/ops/cpu/kern/blocks_avx2.inl"
#else
#include "mlxcpp/ops/cpu/kern/bytes_generic.inl"
#endif
#include "mlxcpp/ops/cpu/kern/quantise.inl"
#include "mlxcpp/ops/cpu/kern/attention.inl"
#if defined(__AMX_TILE__)
#include "mlxcpp/ops/cpu/kern/attention_amx.inl"
#endif
#include "mlxcpp/ops/cpu/kern/formats_mlx.inl"
#include "mlxcpp/ops/cpu/kern/formats_gguf.inl"
#include "mlxcpp/ops/cpu/kern/walk.inl"
#include "mlxcpp/ops/cpu/kern/walk_avx512.inl"
#include "mlxcpp/ops/cpu/kern/walk_avx2.inl"
#include "mlxcpp/ops/cpu/kern/dots.inl"
#include "mlxcpp/ops/cpu/kern/dense.inl"
#include "mlxcpp/ops/cpu/kern/gemm_f32.inl"
#include "mlxcpp/ops/cpu/kern/gemm_int.inl"
#include "mlxcpp/ops/cpu/kern/half_weights.inl"
#include "mlxcpp/ops/cpu/kern/rows_bf16.inl"
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

#if defined(__AVX2__) && !defined(__AVX512F__)
constexpr const GemmKernels* kGemmOfInts = &kGemmInt;
#else
constexpr const GemmKernels* kGemmOfInts = nullptr;
#endif

constexpr Kernels kAll = {
    .probes = kProbes,
    .matrix = kMatrix,
    .gemm_f32 = kGemmF32,
    .gemm_half = kGemmHalf,
    .gemm_int = kGemmOfInts,
    .elementwise = kElementwise,
    .attention_f32 = kAttentionF32,
#if defined(__AMX_TILE__)
    .attention_half = &kAttentionHalf,
#endif
    .recurrent = kRecurrent,
};

}  // namespace
}  // namespace mlxcpp::cpu
