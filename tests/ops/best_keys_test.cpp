// ops::best_keys against a loop that scores every key and sorts.
#include "mlxcpp/ops/attention.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace mlxcpp::ops {
namespace {

using test::noise;
using test::Numbers;

constexpr int kHeads = 3, kDim = 5, kColumns = 9;

/// The last `length` tokens of the first row; the second row is shorter by six.
struct Case {
  int length;
  array q = noise({2, kHeads, length, kDim}, 1), weights = noise({2, length, kHeads}, 2),
        keys = noise({2, 1, kColumns, kDim}, 3);
  std::shared_ptr<const Rows> rows =
      std::make_shared<Rows>(2,
                             length,
                             std::vector{kColumns - length, std::max(0, kColumns - length - 6)},
                             std::vector{length, std::min(length, 3)});

  KvView view() const { return KvView::of(keys, keys, rows); }

  Numbers loop(int k) const {
    Numbers query(q), weight(weights), key(keys), chosen = test::zeros({2, 1, length, kColumns});
    for (int b = 0; b < 2; ++b)
      for (int i = 0; i < length; ++i) {
        std::vector<double> scores;
        for (int j = 0; j < kColumns && j <= rows->offsets[b] + i; ++j) {
          double score = 0;
          for (int h = 0; h < kHeads; ++h) {
            double dot = 0;
            for (int d = 0; d < kDim; ++d) dot += query(b, h, i, d) * key(b, 0, j, d);
            score += weight(b, i, h) * std::max(dot, 0.0);
          }
          scores.push_back(score);
        }
        auto sorted = scores;
        std::ranges::sort(sorted, std::greater());
        double last = sorted[std::min<size_t>(k, sorted.size()) - 1];
        for (size_t j = 0; j < scores.size(); ++j) chosen(b, 0, i, j) = scores[j] >= last - 1e-9;
      }
    return chosen;
  }
};

class BestKeys : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Lengths, BestKeys, testing::Values(1, 4, 9));

TEST_P(BestKeys, equal_the_loop_for_rows_of_different_lengths) {
  Case c{GetParam()};
  for (int k : {1, 3, 8}) {
    auto got = best_keys(c.q, c.weights, c.view(), k)[0];
    ASSERT_TRUE(got);
    EXPECT_EQ(test::difference(*got, c.loop(k)), 0) << k;
  }
}

TEST_P(BestKeys, are_all_where_there_are_no_more) {
  Case c{GetParam()};
  EXPECT_FALSE(best_keys(c.q, c.weights, c.view(), kColumns)[0]);
  EXPECT_FALSE(best_keys(c.q, c.weights, c.view(), 100)[0]);
}

TEST(BestKeysOfEqualScore, are_all_kept_wherever_they_stand) {
  Case c{1};
  c.weights = mx::zeros_like(c.weights);
  auto got = best_keys(c.q, c.weights, c.view(), 2)[0];
  ASSERT_TRUE(got);
  EXPECT_EQ(test::difference(*got, c.loop(kColumns)), 0);
}

}  // namespace
}  // namespace mlxcpp::ops
