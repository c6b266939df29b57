// ops::latent_attention against a loop that expands every key and value of every head.
#include "mlxcpp/ops/attention.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace mlxcpp::ops {
namespace {

using test::noise;
using test::Numbers;

constexpr int kHeads = 3, kRank = 8, kNope = 5, kTurned = 4, kValue = 6, kColumns = 9;

Weight dense(const mx::Shape& shape, int seed) {
  auto w = std::make_shared<WeightData>();
  w->value = std::make_shared<array>(noise(shape, seed));
  return w;
}

struct Case {
  LatentArgs args{dense({kHeads, kRank, kNope}, 1), dense({kHeads, kValue, kRank}, 2), 0.3f};
  array latent = noise({2, 1, kColumns, kRank}, 3), turned = noise({2, 1, kColumns, kTurned}, 4);
  array q_nope, q_rope;
  std::shared_ptr<const Rows> rows;

  /// The last `length` tokens of the first row; the second row is shorter by three.
  explicit Case(int length)
      : q_nope(noise({2, kHeads, length, kNope}, 5)),
        q_rope(noise({2, kHeads, length, kTurned}, 6)),
        rows(std::make_shared<Rows>(2,
                                    length,
                                    std::vector{kColumns - length, kColumns - length - 3},
                                    std::vector{length, length})) {}

  Numbers run(const std::optional<array>& chosen = {}) const {
    ChosenKeys keys;
    if (chosen) keys.push_back(chosen);
    return latent_attention(q_nope, q_rope, KvView::of(latent, turned, rows), args, keys);
  }

  Numbers loop(const std::optional<array>& chosen = {}) const {
    Numbers up_k(*args.up_k->value), up_v(*args.up_v->value), c(latent), t(turned);
    Numbers qn(q_nope), qr(q_rope), y = test::zeros({2, kHeads, rows->length, kValue});
    std::optional<Numbers> left;
    if (chosen) left = Numbers(*chosen);
    for (int b = 0; b < 2; ++b)
      for (int h = 0; h < kHeads; ++h)
        for (int i = 0; i < rows->length; ++i) {
          std::vector<double> weight(kColumns, 0);
          double sum = 0;
          for (int j = 0; j <= rows->offsets[b] + i; ++j) {
            if (left && !(*left)(b, 0, i, j)) continue;
            double score = 0;
            for (int n = 0; n < kNope; ++n)
              for (int r = 0; r < kRank; ++r)
                score += qn(b, h, i, n) * c(b, 0, j, r) * up_k(h, r, n);
            for (int p = 0; p < kTurned; ++p) score += qr(b, h, i, p) * t(b, 0, j, p);
            sum += weight[j] = std::exp(args.scale * score);
          }
          for (int j = 0; j < kColumns; ++j)
            for (int v = 0; v < kValue; ++v)
              for (int r = 0; r < kRank; ++r)
                y(b, h, i, v) += weight[j] / sum * up_v(h, v, r) * c(b, 0, j, r);
        }
    return y;
  }
};

/// One query takes the absorbed form, several the expanded one.
class LatentAttention : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Lengths, LatentAttention, testing::Values(1, 4));

TEST_P(LatentAttention, equals_the_loop_for_rows_of_different_lengths) {
  Case c(GetParam());
  EXPECT_LT(test::difference(c.run(), c.loop()), 1e-5);
}

TEST_P(LatentAttention, sees_only_what_an_indexer_left) {
  Case c(GetParam());
  // Every third key, and each query's own, so that nobody is left without one.
  std::vector<int> left;
  for (int b = 0; b < 2; ++b)
    for (int i = 0; i < GetParam(); ++i)
      for (int j = 0; j < kColumns; ++j) left.push_back(j % 3 == 0 || j == c.rows->offsets[b] + i);
  array chosen = mx::astype(test::ints(left, {2, 1, GetParam(), kColumns}), mx::bool_);
  EXPECT_LT(test::difference(c.run(chosen), c.loop(chosen)), 1e-5);
  EXPECT_GT(test::difference(c.run(chosen), c.loop()), 1e-3) << "the choice matters";
}

}  // namespace
}  // namespace mlxcpp::ops
