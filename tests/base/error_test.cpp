#include "mlxcpp/base/error.h"

#include "mlxcpp/base/log.h"
#include "mlxcpp/base/numbers.h"
#include "mlxcpp/base/strings.h"

#include <gtest/gtest.h>

#include <limits>

namespace mlxcpp {
namespace {

TEST(Error, message_has_where_wrong_expected_found_and_hint) {
  EXPECT_EQ(describe("config.rope_theta", "wrong type", "number", "string \"x\""),
            "config.rope_theta: wrong type; expected number, found string \"x\"");
  EXPECT_EQ(describe("model", "not found", "", "", "mlxcpp models"),
            "model: not found; try mlxcpp models");
  EXPECT_EQ(describe("a", "b", "", "c"), "a: b; found c");
}

TEST(Error, leaf_types_carry_their_kind_and_exit_code) {
  try {
    throw WeightError("x");
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::weight);
    EXPECT_EQ(exit_code(e.kind()), 4);
    EXPECT_EQ(name_of(e.kind()), "weight");
  }
  EXPECT_EQ(exit_code(ErrorKind::input), 2);
  EXPECT_EQ(exit_code(ErrorKind::unsupported), 3);
  EXPECT_EQ(exit_code(ErrorKind::io), 5);
  EXPECT_EQ(exit_code(ErrorKind::capacity), 6);
}

TEST(Log, goes_to_the_injected_sink_only) {
  std::string seen;
  set_log_sink([&](LogLevel, std::string_view m) { seen += m; });
  log(LogLevel::info, "one");
  set_log_sink({});
  log(LogLevel::info, "two");
  EXPECT_EQ(seen, "one");
}

TEST(Strings, edit_distance_counts_single_changes) {
  EXPECT_EQ(edit_distance("", "abc"), 3u);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3u);
  EXPECT_EQ(edit_distance("llama", "llama"), 0u);
  EXPECT_EQ(edit_distance("flaw", "lawn"), 2u);
}

TEST(Numbers, overflow_is_an_answer) {
  constexpr auto kMax = std::numeric_limits<std::uint64_t>::max();
  EXPECT_EQ(checked_mul(kMax, 2), std::nullopt);
  EXPECT_EQ(checked_add(kMax, 1), std::nullopt);
  EXPECT_EQ(checked_mul(3, 4), 12u);
  std::uint64_t extents[] = {1ull << 32, 1ull << 31, 2};
  EXPECT_EQ(checked_product(extents), std::nullopt);
}

}  // namespace
}  // namespace mlxcpp
