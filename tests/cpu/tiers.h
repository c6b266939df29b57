// What tests of kernels need: every tier of this CPU, numbers to put in, and how far results are
// off.
#pragma once

#include "mlxcpp/ops/cpu/features.h"

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

namespace mlxcpp::test {

/// Tiers that this CPU can run.
inline std::vector<cpu::Tier> tiers() {
  cpu::use({});
  std::vector<cpu::Tier> able;
  for (auto& t : cpu::machine().tiers)
    if (t.standing == cpu::Standing::able || t.standing == cpu::Standing::active)
      able.push_back(t.tier);
  return able;
}

/// Calls f on every tier; afterwards all is as the environment has it.
template <class F>
void on_every_tier(F f) {
  for (auto tier : tiers()) {
    cpu::use({.tier = tier, .threads = 2});
    f(std::string(cpu::name_of(tier)));
  }
  cpu::use(cpu::Settings::read());
}

/// About the normal distribution, the same for the same seed.
inline std::vector<float> normal(size_t n, unsigned seed) {
  std::vector<float> v(n);
  std::uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u;
  for (auto& x : v) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += double(state >> 40) / double(1 << 24);
    }
    x = float(sum);
  }
  return v;
}

/// What the 16 bits of a float16 stand for, by its definition.
inline float half_value(unsigned bits) {
  int exponent = int(bits >> 10 & 31), mantissa = int(bits & 1023);
  double size = exponent == 31 ? (mantissa ? std::nan("") : INFINITY)
                : exponent     ? std::ldexp(1024 + mantissa, exponent - 25)
                               : std::ldexp(mantissa, -24);
  return float(bits >> 15 ? -size : size);
}

/// Root mean square of the difference over that of what is expected.
inline double relative_rms(const std::vector<float>& found, const std::vector<double>& expected) {
  double difference = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    difference += (found[i] - expected[i]) * (found[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  return std::sqrt(difference / size);
}

}  // namespace mlxcpp::test
