// Checks of numbers that came from a config.  Each throws ConfigError naming `where`, which
// Fields::where(key) gives: "config.num_attention_heads: expected a positive number, found 0".
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

namespace mlxcpp::io {

namespace detail {
void require_in_range(std::string_view where,
                      std::int64_t value,
                      std::int64_t low,
                      std::int64_t high);
void require_in_range(std::string_view where, double value, double low, double high);
void require_positive(std::string_view where, std::int64_t value);
void require_positive(std::string_view where, double value);
}  // namespace detail

void require_positive(std::string_view where, std::integral auto value) {
  detail::require_positive(where, static_cast<std::int64_t>(value));
}
/// Also refuses NaN and infinity.
void require_positive(std::string_view where, std::floating_point auto value) {
  detail::require_positive(where, static_cast<double>(value));
}

/// low <= value <= high.
void require_in_range(std::string_view where,
                      std::integral auto value,
                      std::int64_t low,
                      std::int64_t high) {
  detail::require_in_range(where, static_cast<std::int64_t>(value), low, high);
}
void require_in_range(std::string_view where,
                      std::floating_point auto value,
                      double low,
                      double high) {
  detail::require_in_range(where, static_cast<double>(value), low, high);
}

/// value is a multiple of divisor and neither is negative; divisor is named in the message.
void require_divisible(std::string_view where,
                       std::int64_t value,
                       std::string_view divisor_name,
                       std::int64_t divisor);

/// a * b, or ConfigError when it does not fit an int (MLX extents are ints).
int require_product(std::string_view where, int a, int b);

}  // namespace mlxcpp::io
