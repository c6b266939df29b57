// Which kernels this machine may run, and which it does run.
#pragma once

#include "mlxcpp/ops/cpu/kernels.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::cpu {

/// From the plainest to the best of each architecture.
enum class Tier {
  scalar,
  avx2,        // AVX2, FMA, F16C
  avxvnni,     // and AVX-VNNI
  avx512,      // AVX-512 F, BW, DQ, VL
  avx512vnni,  // and VNNI
  avx512bf16,  // and BF16, VBMI
  amx,         // and AMX tiles, bf16 and int8
  neon,
  dotprod,
  i8mm,  // and bf16
};
std::string_view name_of(Tier tier);
std::optional<Tier> tier_named(std::string_view name);

enum class Standing {
  active,
  able,
  failed,
  absent
};  // failed: the CPU has it, its answers are wrong
struct TierReport {
  Tier tier;
  Standing standing;
  std::string note;  // what is missing, or which answer was wrong
};

/// What the environment asks for.
struct Settings {
  std::optional<Tier> tier;    // MLXCPP_CPU
  int threads = 0;             // MLXCPP_THREADS; 0: what affinity and the control group allow
  bool mlx = false;            // MLXCPP_OPS=mlx: none of our kernels
  bool deterministic = false;  // MLXCPP_DETERMINISTIC=1: a row's numbers do not depend on its batch
  std::optional<bool> half_dots;  // for tests: bfloat16 dot products or not, whichever is faster

  /// Reads the environment.  Throws InputError naming the variable and what it may be.
  static Settings read();
};

/// Everything that was found out at the start.
struct Machine {
  std::string cpu;  // as the system names it
  std::vector<TierReport> tiers;
  Tier tier;
  const Kernels* kernels;
  bool half_dots_pay = false;  // measured: bfloat16 dot products are faster than float32
  int threads;
  bool deterministic;
};

/// This machine, examined at the first call (about a millisecond).  Throws InputError when the
/// environment forces a tier that it lacks.
const Machine& machine();
/// Whether operations use these kernels at all: on the CPU, unless MLXCPP_OPS=mlx.
bool enabled();

/// For tests and for comparison: another tier, other threads, or other switches from now on.  Not
/// while anything computes.  Throws InputError for a tier that the CPU lacks.
void use(const Settings& settings);

}  // namespace mlxcpp::cpu
