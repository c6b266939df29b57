#include "mlxcpp/io/checks.h"

#include "mlxcpp/base/error.h"
#include "tests/io/support.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace mlxcpp::io {
namespace {

using testing::message_of;

TEST(Checks, positive_numbers_pass_and_others_are_named) {
  require_positive("config.n", 1);
  require_positive("config.x", 1e-30f);
  EXPECT_EQ(message_of<ConfigError>([] { require_positive("config.n", 0); }),
            "config.n: expected a positive number, found 0");
  EXPECT_EQ(message_of<ConfigError>([] { require_positive("config.n", -3); }),
            "config.n: expected a positive number, found -3");
  EXPECT_EQ(message_of<ConfigError>([] { require_positive("config.x", -0.5f); }),
            "config.x: expected a positive number, found -0.5");
  EXPECT_EQ(message_of<ConfigError>([] { require_positive("config.x", std::nanf("")); }),
            "config.x: expected a positive number, found NaN");
  EXPECT_EQ(message_of<ConfigError>(
                [] { require_positive("config.x", std::numeric_limits<float>::infinity()); }),
            "config.x: expected a positive number, found Infinity");
}

TEST(Checks, ranges_hold_their_ends) {
  require_in_range("config.n", 2, 2, 8);
  require_in_range("config.n", 8, 2, 8);
  require_in_range("config.p", 1.0f, 0.0, 1.0);
  EXPECT_EQ(message_of<ConfigError>([] { require_in_range("config.n", 9, 2, 8); }),
            "config.n: expected a number from 2 to 8, found 9");
  EXPECT_EQ(message_of<ConfigError>([] { require_in_range("config.n", 1, 2, 8); }),
            "config.n: expected a number from 2 to 8, found 1");
  EXPECT_EQ(message_of<ConfigError>([] { require_in_range("config.p", 1.5, 0.0, 1.0); }),
            "config.p: expected a number from 0.0 to 1.0, found 1.5");
  EXPECT_EQ(message_of<ConfigError>([] { require_in_range("config.p", std::nan(""), 0.0, 1.0); }),
            "config.p: expected a number from 0.0 to 1.0, found NaN");
}

TEST(Checks, divisible_means_a_positive_divisor_and_no_rest) {
  require_divisible("config.heads", 8, "num_key_value_heads", 2);
  require_divisible("config.heads", 0, "num_key_value_heads", 2);
  for (auto [value, divisor] :
       {std::pair(9, 2), std::pair(8, 0), std::pair(8, -2), std::pair(-8, 2)})
    EXPECT_EQ(message_of<ConfigError>(
                  [v = value, d = divisor] { require_divisible("config.heads", v, "kv", d); }),
              "config.heads: expected a multiple of kv (" + std::to_string(divisor) + "), found " +
                  std::to_string(value));
}

TEST(Checks, products_must_fit_an_int) {
  EXPECT_EQ(require_product("config.size", 46340, 46340), 46340 * 46340);
  EXPECT_EQ(message_of<ConfigError>([] { require_product("config.size", 46341, 46341); }),
            "config.size: expected a product that fits 32 bits, found 46341 * 46341");
}

}  // namespace
}  // namespace mlxcpp::io
