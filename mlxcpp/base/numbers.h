// Arithmetic on sizes that come from files: overflow is an answer, not undefined behaviour.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace mlxcpp {

inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return {};
  return r;
}
inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return {};
  return r;
}
/// The product of all extents, or nothing when it does not fit.
inline std::optional<std::uint64_t> checked_product(std::span<const std::uint64_t> extents) {
  std::uint64_t r = 1;
  for (auto e : extents)
    if (__builtin_mul_overflow(r, e, &r)) return {};
  return r;
}

}  // namespace mlxcpp
