// Random numbers that depend on nothing but a seed and a place: a row gets the same ones alone, in
// any batch, and when it is computed again.
#pragma once

#include <cstdint>

namespace mlxcpp::lm {

/// What a step of a row needs numbers for; each has its own.
enum class Stream : std::uint32_t { draw, xtc, draft, accept };

/// 64 bits of Philox4x32-10 (Salmon et al., 2011): key = seed, counter = (step, stream, 0).
std::uint64_t random_bits(std::uint64_t seed, std::uint64_t step, Stream stream);

/// In [0, 1), with 53 bits.
inline double uniform(std::uint64_t seed, std::uint64_t step, Stream stream) {
  return double(random_bits(seed, step, stream) >> 11) * 0x1p-53;
}

namespace detail {
struct Philox {
  std::uint32_t words[4];
};
Philox philox(Philox counter, std::uint64_t key);
}  // namespace detail

}  // namespace mlxcpp::lm
