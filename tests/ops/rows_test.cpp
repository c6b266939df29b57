// What Rows tells about a pass.
#include "mlxcpp/ops/rows.h"

#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::ints;

TEST(Rows, valid_marks_the_tokens_before_each_rows_end) {
  Rows rows(3, 4, {0, 7, 2}, {4, 1, 0});
  EXPECT_EQ(rows.valid().dtype(), mx::bool_);
  EXPECT_EQ(difference(rows.valid(), ints({1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0}, {3, 4})), 0);
}

TEST(Rows, ends_are_offsets_and_valid_tokens) {
  Rows rows(3, 4, {0, 7, 2}, {4, 1, 0});
  EXPECT_EQ(rows.ends().dtype(), mx::int32);
  EXPECT_EQ(difference(rows.ends(), ints({4, 8, 2})), 0);
  EXPECT_EQ(rows.end(1), 8);
  EXPECT_EQ(rows.longest_end(), 8);
}

TEST(Rows, index_counts_on_from_each_rows_offset_through_the_padding) {
  Rows rows(2, 3, {0, 7}, {3, 1});
  EXPECT_EQ(rows.index.dtype(), mx::int32);
  EXPECT_EQ(difference(rows.index, ints({0, 1, 2, 7, 8, 9}, {2, 3})), 0);
  EXPECT_EQ(difference(rows.offset, ints({0, 7})), 0);
}

TEST(Rows, know_whether_all_rows_stand_at_one_offset) {
  EXPECT_TRUE(Rows(2, 3, {5, 5}, {3, 1}).same_offset);
  EXPECT_FALSE(Rows(3, 3, {5, 5, 6}, {3, 3, 3}).same_offset);
  EXPECT_TRUE(Rows(1, 1, {5}, {1}).same_offset);
}

TEST(Rows, know_whether_any_row_is_padded) {
  EXPECT_TRUE(Rows(2, 3, {0, 5}, {3, 3}).full);
  EXPECT_FALSE(Rows(2, 3, {0, 5}, {3, 2}).full);
}

}  // namespace
}  // namespace mlxcpp::ops
