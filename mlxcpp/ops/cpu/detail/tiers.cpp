#include "mlxcpp/ops/cpu/detail/tiers.h"

namespace mlxcpp::cpu {

extern const Kernels kScalar;
#if defined(__x86_64__)
extern const Kernels kAvx2, kAvxVnni, kAvx512, kAvx512Vnni, kAvx512Bf16, kAmx;
#elif defined(__aarch64__)
extern const Kernels kNeon, kDotprod, kI8mm;
#endif

namespace detail {

std::span<const CompiledTier> compiled_tiers() {
  static constexpr CompiledTier kTiers[] = {
    {Tier::scalar, &kScalar},
#if defined(__x86_64__)
    {Tier::avx2, &kAvx2},
    {Tier::avxvnni, &kAvxVnni},
    {Tier::avx512, &kAvx512},
    {Tier::avx512vnni, &kAvx512Vnni},
    {Tier::avx512bf16, &kAvx512Bf16},
    {Tier::amx, &kAmx},
#elif defined(__aarch64__)
    {Tier::neon, &kNeon},
    {Tier::dotprod, &kDotprod},
    {Tier::i8mm, &kI8mm},
#endif
  };
  return kTiers;
}

}  // namespace detail
}  // namespace mlxcpp::cpu
