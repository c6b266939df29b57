#include "mlxcpp/lm/detail/schedule.h"

#include <gtest/gtest.h>

#include <vector>

namespace mlxcpp::lm::detail {
namespace {

using Queue = std::vector<Waiting>;

TEST(Schedule, the_shortest_prompt_goes_first_and_of_equal_ones_the_first) {
  Queue q = {{90, true, true, 0}, {7, false, true, 0}, {7, false, true, 0}};
  for (size_t turn : {0, 1, 2, 4}) EXPECT_EQ(next_prompt(q, turn), 1u);
}

TEST(Schedule, each_fourth_turn_is_the_oldest_ones) {
  Queue q = {{90, false, true, 0}, {7, false, true, 0}};
  EXPECT_EQ(next_prompt(q, 3), 0u);
  EXPECT_EQ(next_prompt(q, 7), 0u);
}

TEST(Schedule, what_does_not_fit_is_passed_over_but_not_for_ever) {
  Queue q = {{90, false, false, 15}, {50, true, false, 0}, {7, false, true, 0}};
  EXPECT_EQ(next_prompt(q, 3), 1u) << "begun ones have their memory";
  EXPECT_EQ(next_prompt(q, 0), 2u);
  q[0].overtaken = 16;
  EXPECT_EQ(next_prompt(q, 0), 1u);
  EXPECT_EQ(next_prompt(Queue{q[0], q[2]}, 0), std::nullopt);
}

TEST(Schedule, nothing_waits) { EXPECT_EQ(next_prompt({}, 0), std::nullopt); }

}  // namespace
}  // namespace mlxcpp::lm::detail
