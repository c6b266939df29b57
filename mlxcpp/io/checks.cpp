#include "mlxcpp/io/checks.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"

#include <cmath>
#include <string>

namespace mlxcpp::io {
namespace {

[[noreturn]] void fail(std::string_view where,
                       const std::string& expected,
                       const std::string& found) {
  throw ConfigError(std::string(where) + ": expected " + expected + ", found " + found);
}

std::string shown(std::int64_t value) { return std::to_string(value); }
std::string shown(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return JsonWriter().value(value).str();
}

template <class T>
void check_range(std::string_view where, T value, T low, T high) {
  if (!(value >= low && value <= high))  // NaN fails too
    fail(where, "a number from " + shown(low) + " to " + shown(high), shown(value));
}

}  // namespace

void detail::require_in_range(std::string_view where,
                              std::int64_t value,
                              std::int64_t low,
                              std::int64_t high) {
  check_range(where, value, low, high);
}
void detail::require_in_range(std::string_view where, double value, double low, double high) {
  check_range(where, value, low, high);
}
void detail::require_positive(std::string_view where, std::int64_t value) {
  if (value <= 0) fail(where, "a positive number", shown(value));
}
void detail::require_positive(std::string_view where, double value) {
  if (!(value > 0) || std::isinf(value)) fail(where, "a positive number", shown(value));
}

void require_divisible(std::string_view where,
                       std::int64_t value,
                       std::string_view divisor_name,
                       std::int64_t divisor) {
  if (divisor <= 0 || value < 0 || value % divisor != 0)
    fail(where,
         "a multiple of " + std::string(divisor_name) + " (" + shown(divisor) + ")",
         shown(value));
}

int require_product(std::string_view where, int a, int b) {
  int product;
  if (__builtin_mul_overflow(a, b, &product))
    fail(where, "a product that fits 32 bits", std::to_string(a) + " * " + std::to_string(b));
  return product;
}

}  // namespace mlxcpp::io
