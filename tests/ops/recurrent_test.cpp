// causal_conv against a loop over each row's whole history.
#include "mlxcpp/ops/recurrent.h"

#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::noise;
using test::Numbers;

constexpr int kBatch = 2, kChannels = 3;

/// out[t] = bias + sum of weight[i] * x[t - (k - 1) + i], with zeros before the first token.
Numbers conv_loop(const Numbers& x, const Numbers& weight, const Numbers* bias) {
  Numbers y = test::zeros(x.shape);
  int k = weight.shape[1];
  for (int b = 0; b < x.shape[0]; ++b)
    for (int t = 0; t < x.shape[1]; ++t)
      for (int c = 0; c < x.shape[2]; ++c) {
        y(b, t, c) = bias ? (*bias)(c) : 0;
        for (int i = std::max(0, k - 1 - t); i < k; ++i)
          y(b, t, c) += weight(c, i, 0) * x(b, t - (k - 1) + i, c);
      }
  return y;
}

struct Conv {
  explicit Conv(int k) : weight(std::make_shared<array>(noise({kChannels, k, 1}, 5))) {}
  Param weight;
  std::optional<Param> bias;
  State state;
  std::vector<int> done = std::vector<int>(kBatch, 0);

  /// The next lengths[b] tokens of each row of `all`, right padded with rubbish.
  Numbers feed(const Numbers& all, const std::vector<int>& lengths) {
    int longest = *std::max_element(lengths.begin(), lengths.end());
    Numbers x(noise({kBatch, longest, kChannels}, 99));
    for (int b = 0; b < kBatch; ++b)
      for (int t = 0; t < lengths[b]; ++t)
        for (int c = 0; c < kChannels; ++c) x(b, t, c) = all(b, done[b] + t, c);
    Layer layer{std::make_shared<Rows>(kBatch, longest, done, lengths), {}, {&state}};
    for (int b = 0; b < kBatch; ++b) done[b] += lengths[b];
    return causal_conv(x.as(), weight, bias, layer);
  }
};

TEST(CausalConv, in_one_pass_equals_the_loop) {
  array x = noise({kBatch, 9, kChannels}, 1);
  for (int k : {1, 2, 4}) {
    Conv conv(k);
    EXPECT_LT(difference(conv.feed(x, {9, 9}), conv_loop(x, *conv.weight, nullptr)), 1e-6) << k;
  }
}

TEST(CausalConv, adds_a_bias) {
  array x = noise({kBatch, 9, kChannels}, 1);
  Conv conv(4);
  conv.bias = std::make_shared<array>(noise({kChannels}, 2));
  Numbers bias(**conv.bias);
  EXPECT_LT(difference(conv.feed(x, {9, 9}), conv_loop(x, *conv.weight, &bias)), 1e-6);
}

TEST(CausalConv, shorter_than_its_kernel_counts_zeros_before_the_first_token) {
  array x = noise({kBatch, 2, kChannels}, 1);
  Conv conv(4);
  EXPECT_LT(difference(conv.feed(x, {2, 2}), conv_loop(x, *conv.weight, nullptr)), 1e-6);
}

TEST(CausalConv, in_ragged_pieces_equals_the_loop_over_the_whole) {
  Numbers x(noise({kBatch, 12, kChannels}, 1));
  for (int k : {1, 2, 4}) {
    Conv conv(k);
    Numbers expected = conv_loop(x, *conv.weight, nullptr);
    const std::vector<int> pieces[] = {{3, 1}, {1, 1}, {0, 2}, {2, 5}, {1, 0}, {5, 3}};
    for (auto& lengths : pieces) {
      auto start = conv.done;
      Numbers y = conv.feed(x, lengths);
      for (int b = 0; b < kBatch; ++b)
        for (int t = 0; t < lengths[b]; ++t)
          for (int c = 0; c < kChannels; ++c)
            EXPECT_NEAR(y(b, t, c), expected(b, start[b] + t, c), 1e-6)
                << "kernel " << k << " row " << b << " token " << start[b] + t;
    }
  }
}

TEST(CausalConv, keeps_the_last_inputs_of_each_row_as_its_state) {
  Numbers x(noise({kBatch, 8, kChannels}, 1));
  Conv conv(4);
  conv.feed(x, {6, 2});
  ASSERT_TRUE(conv.state);
  Numbers state(*conv.state);
  ASSERT_EQ(state.shape, (mx::Shape{kBatch, 3, kChannels}));
  for (int c = 0; c < kChannels; ++c) {
    for (int i = 0; i < 3; ++i) EXPECT_EQ(state(0, i, c), x(0, 3 + i, c));
    EXPECT_EQ(state(1, 0, c), 0);
    EXPECT_EQ(state(1, 1, c), x(1, 0, c));
    EXPECT_EQ(state(1, 2, c), x(1, 1, c));
  }
}

TEST(CausalConv, the_slot_picks_one_of_several_states) {
  State first, second;
  Layer layer{std::make_shared<Rows>(1, 2, std::vector{0}, std::vector{2}), {}, {&first, &second}};
  auto weight = std::make_shared<array>(noise({kChannels, 2, 1}, 5));
  causal_conv(noise({1, 2, kChannels}, 1), weight, {}, layer, 1);
  EXPECT_FALSE(first);
  EXPECT_TRUE(second);
}

}  // namespace
}  // namespace mlxcpp::ops
