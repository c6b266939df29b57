// The tiers of this build, from the plainest to the best.
#pragma once

#include "mlxcpp/ops/cpu/features.h"

#include <span>

namespace mlxcpp::cpu::detail {

struct CompiledTier {
  Tier tier;
  const Kernels* kernels;
};
std::span<const CompiledTier> compiled_tiers();

}  // namespace mlxcpp::cpu::detail
