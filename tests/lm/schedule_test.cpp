#include "mlxcpp/lm/detail/schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace mlxcpp::lm::detail {
namespace {

using Queue = std::vector<Waiting>;

TEST(Schedule, the_shortest_prompt_goes_first_and_of_equal_ones_the_first) {
  Queue q = {{90, true, true, 0, 0}, {7, false, true, 0, 0}, {7, false, true, 0, 0}};
  EXPECT_EQ(next_prompt(q), 1u);
}

TEST(Schedule, the_oldest_one_goes_when_it_has_let_three_turns_pass) {
  Queue q = {{90, false, true, 0, 2}, {7, false, true, 0, 0}};
  EXPECT_EQ(next_prompt(q), 1u);
  q[0].passed = 3;
  EXPECT_EQ(next_prompt(q), 0u);
}

TEST(Schedule, one_that_is_not_the_oldest_has_no_such_right) {
  Queue q = {{40, true, true, 0, 1}, {90, true, true, 0, 9}, {7, false, true, 0, 0}};
  EXPECT_EQ(next_prompt(q), 2u);
}

TEST(Schedule, what_does_not_fit_is_passed_over_but_not_for_ever) {
  Queue q = {{90, false, false, 15, 9}, {50, true, false, 0, 3}, {7, false, true, 0, 0}};
  EXPECT_EQ(next_prompt(q), 1u) << "begun ones have their memory";
  q[1].passed = 0;
  EXPECT_EQ(next_prompt(q), 2u);
  q[0].overtaken = 16;
  EXPECT_EQ(next_prompt(q), 1u);
  EXPECT_EQ(next_prompt(Queue{q[0], q[2]}), std::nullopt);
}

TEST(Schedule, nothing_waits) { EXPECT_EQ(next_prompt({}), std::nullopt); }

}  // namespace
}  // namespace mlxcpp::lm::detail
