// Recurrent mixers against loops over each row's whole history, in float64.
#include "mlxcpp/ops/recurrent.h"

#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

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

/// What a mixer with one state is given, by name, each (B, T, ...): fed in ragged pieces, the
/// outputs put together again.
struct Mixer {
  using Inputs = std::map<std::string, Numbers>;
  using Run = std::function<array(const std::map<std::string, array>&, const Layer&)>;
  Run run;
  State state;

  Numbers feed(const Inputs& all, const std::vector<std::vector<int>>& pieces) {
    std::vector<int> done(kBatch, 0);
    Numbers whole = test::zeros(all.at("out").shape);
    for (auto& lengths : pieces) {
      int longest = *std::max_element(lengths.begin(), lengths.end());
      std::map<std::string, array> in;
      for (auto& [name, x] : all) in.emplace(name, piece(x, done, lengths, longest));
      Layer layer{std::make_shared<Rows>(kBatch, longest, done, lengths), {}, {&state}};
      Numbers y = run(in, layer);
      size_t inner = y.data.size() / (kBatch * longest);
      size_t tokens = whole.data.size() / (kBatch * inner);
      for (int b = 0; b < kBatch; ++b) {
        auto from = y.data.begin() + b * longest * inner;
        std::copy(
            from, from + lengths[b] * inner, whole.data.begin() + (b * tokens + done[b]) * inner);
        done[b] += lengths[b];
      }
    }
    return whole;
  }

 private:
  /// The next lengths[b] tokens of each row, right padded with rubbish.
  static array piece(const Numbers& x,
                     const std::vector<int>& done,
                     const std::vector<int>& lengths,
                     int longest) {
    mx::Shape shape = x.shape;
    shape[1] = longest;
    Numbers out(noise(shape, 99));
    size_t inner = x.data.size() / (x.shape[0] * x.shape[1]);
    for (int b = 0; b < kBatch; ++b) {
      auto from = x.data.begin() + (b * x.shape[1] + done[b]) * inner;
      std::copy(from, from + lengths[b] * inner, out.data.begin() + b * longest * inner);
    }
    return out.as();
  }
};

constexpr int kHeads = 4, kGroups = 2, kWidth = 3, kState = 5;
using Pieces = std::vector<std::vector<int>>;

/// Short passes go token by token, long ones in chunks; pieces have some of both.
struct Sizes {
  int tokens;
  Pieces ragged;
  Pieces whole() const { return {{tokens, tokens}}; }
};
const Sizes kShort{9, {{3, 1}, {1, 1}, {0, 2}, {2, 5}, {3, 0}}},
    kLong{67, {{20, 1}, {1, 17}, {0, 32}, {45, 0}, {1, 17}}};
class Passes : public testing::TestWithParam<Sizes> {};
INSTANTIATE_TEST_SUITE_P(Of, Passes, testing::Values(kShort, kLong), [](auto& i) {
  return std::to_string(i.param.tokens) + "_tokens";
});

struct Outcome {
  explicit Outcome(int tokens) : y(test::zeros({kBatch, tokens, kHeads, kWidth})) {}
  Numbers y, state = test::zeros({kBatch, kHeads, kWidth, kState});
};

struct Ssm {
  explicit Ssm(int n) : tokens(n) {}
  int tokens;
  Param a_log = std::make_shared<array>(noise({kHeads}, 11)),
        d = std::make_shared<array>(noise({kHeads}, 12)),
        dt_bias = std::make_shared<array>(noise({kHeads}, 13));
  float dt_min = 0, dt_max = INFINITY;
  Mixer::Inputs in = {{"x", noise({kBatch, tokens, kHeads, kWidth}, 1)},
                      {"dt", noise({kBatch, tokens, kHeads}, 2)},
                      {"b", noise({kBatch, tokens, kGroups, kState}, 3)},
                      {"c", noise({kBatch, tokens, kGroups, kState}, 4)},
                      {"out", Outcome(tokens).y}};
  Mixer mixer{[this](auto& given, const Layer& layer) {
                SsmArgs args{a_log, d, dt_bias, dt_min, dt_max};
                return ssm_scan(
                    given.at("x"), given.at("dt"), given.at("b"), given.at("c"), args, layer, 0);
              },
              {}};

  /// s = exp(-exp(a_log) dt) s + dt x b, y = s c + d x, dt = softplus(dt + bias) inside its limits.
  Outcome loop() const {
    Outcome o(tokens);
    Numbers a(*a_log), skip(*d), bias(*dt_bias);
    const Numbers &x = in.at("x"), &b = in.at("b"), &c = in.at("c"), &raw = in.at("dt");
    for (int r = 0; r < kBatch; ++r)
      for (int t = 0; t < tokens; ++t)
        for (int h = 0; h < kHeads; ++h) {
          double dt = std::log1p(std::exp(raw(r, t, h) + bias(h)));
          dt = std::min(std::max(dt, double(dt_min)), double(dt_max));
          int g = h / (kHeads / kGroups);
          for (int p = 0; p < kWidth; ++p) {
            o.y(r, t, h, p) = skip(h) * x(r, t, h, p);
            for (int n = 0; n < kState; ++n) {
              double& s = o.state(r, h, p, n);
              s = std::exp(-std::exp(a(h)) * dt) * s + dt * x(r, t, h, p) * b(r, t, g, n);
              o.y(r, t, h, p) += s * c(r, t, g, n);
            }
          }
        }
    return o;
  }
};

TEST_P(Passes, of_ssm_scan_equal_the_loop_and_leave_its_state) {
  Ssm ssm(GetParam().tokens);
  Outcome expected = ssm.loop();
  EXPECT_LT(difference(ssm.mixer.feed(ssm.in, GetParam().whole()), expected.y), 1e-5);
  EXPECT_LT(difference(*ssm.mixer.state, expected.state), 1e-5);
}

TEST_P(Passes, of_ssm_scan_in_ragged_pieces_equal_the_loop_over_the_whole) {
  Ssm ssm(GetParam().tokens);
  Outcome expected = ssm.loop();
  EXPECT_LT(difference(ssm.mixer.feed(ssm.in, GetParam().ragged), expected.y), 1e-5);
  EXPECT_LT(difference(*ssm.mixer.state, expected.state), 1e-5);
}

TEST(SsmScan, keeps_time_steps_inside_their_limits) {
  Ssm ssm(kShort.tokens);
  Numbers free = ssm.loop().y;
  ssm.dt_min = 0.5f, ssm.dt_max = 0.8f;
  Numbers expected = ssm.loop().y;
  ASSERT_GT(difference(free, expected), 0.1);
  EXPECT_LT(difference(ssm.mixer.feed(ssm.in, kShort.ragged), expected), 1e-5);
}

TEST(SsmScan, keeps_its_state_in_float32_when_inputs_are_halves) {
  Ssm ssm(1);
  Layer layer{std::make_shared<Rows>(kBatch, 1, std::vector{0, 0}, std::vector{1, 1}),
              {},
              {&ssm.mixer.state}};
  auto half = [](mx::Shape shape) { return noise(shape, 1, mx::bfloat16); };
  array y = ssm_scan(half({kBatch, 1, kHeads, kWidth}),
                     half({kBatch, 1, kHeads}),
                     half({kBatch, 1, kGroups, kState}),
                     half({kBatch, 1, kGroups, kState}),
                     {ssm.a_log, ssm.d, ssm.dt_bias},
                     layer,
                     0);
  EXPECT_EQ(y.dtype(), mx::bfloat16);
  EXPECT_EQ(ssm.mixer.state->dtype(), mx::float32);
}

struct Delta {
  explicit Delta(int n) : tokens(n) {}
  int tokens;
  Mixer::Inputs in = {
      {"q", noise({kBatch, tokens, kGroups, kState}, 1)},
      {"k", noise({kBatch, tokens, kGroups, kState}, 2)},
      {"v", noise({kBatch, tokens, kHeads, kWidth}, 3)},
      {"decay",
       test::map(noise({kBatch, tokens, kHeads}, 4), [](double x) { return std::exp(x - 1); })},
      {"beta", test::map(noise({kBatch, tokens, kHeads}, 5), [](double x) { return (x + 1) / 2; })},
      {"out", Outcome(tokens).y}};
  Mixer mixer{[](auto& given, const Layer& layer) {
                return gated_delta(given.at("q"),
                                   given.at("k"),
                                   given.at("v"),
                                   given.at("decay"),
                                   given.at("beta"),
                                   layer,
                                   0);
              },
              {}};

  /// s = decay s, then s += beta (v - s k) k^T, y = s q.
  Outcome loop() const {
    Outcome o(tokens);
    const Numbers &q = in.at("q"), &k = in.at("k"), &v = in.at("v"), &decay = in.at("decay"),
                  &beta = in.at("beta");
    for (int r = 0; r < kBatch; ++r)
      for (int t = 0; t < tokens; ++t)
        for (int h = 0; h < kHeads; ++h)
          for (int p = 0; p < kWidth; ++p) {
            int g = h / (kHeads / kGroups);
            double known = 0;
            for (int n = 0; n < kState; ++n)
              known += (o.state(r, h, p, n) *= decay(r, t, h)) * k(r, t, g, n);
            for (int n = 0; n < kState; ++n) {
              o.state(r, h, p, n) += beta(r, t, h) * (v(r, t, h, p) - known) * k(r, t, g, n);
              o.y(r, t, h, p) += o.state(r, h, p, n) * q(r, t, g, n);
            }
          }
    return o;
  }
};

TEST_P(Passes, of_gated_delta_equal_the_loop_and_leave_its_state) {
  Delta delta(GetParam().tokens);
  Outcome expected = delta.loop();
  EXPECT_LT(difference(delta.mixer.feed(delta.in, GetParam().whole()), expected.y), 1e-5);
  EXPECT_LT(difference(*delta.mixer.state, expected.state), 1e-5);
}

TEST_P(Passes, of_gated_delta_in_ragged_pieces_equal_the_loop_over_the_whole) {
  Delta delta(GetParam().tokens);
  Outcome expected = delta.loop();
  EXPECT_LT(difference(delta.mixer.feed(delta.in, GetParam().ragged), expected.y), 1e-5);
  EXPECT_LT(difference(*delta.mixer.state, expected.state), 1e-5);
}

// A pass of the same key over and over, as a repeated token gives: all that was written is taken
// off.
TEST(GatedDelta, in_chunks_takes_off_what_the_same_key_wrote_before) {
  Delta delta(kLong.tokens);
  auto& k = delta.in.at("k");
  for (size_t i = 0; i < k.data.size(); ++i) k.data[i] = 1 / std::sqrt(kState);
  for (double& d : delta.in.at("decay").data) d = 1;
  for (double& d : delta.in.at("beta").data) d = 1;
  Outcome expected = delta.loop();
  EXPECT_LT(difference(delta.mixer.feed(delta.in, kLong.whole()), expected.y), 1e-5);
  EXPECT_LT(difference(*delta.mixer.state, expected.state), 1e-5);
}

TEST(GatedDelta, in_chunks_keeps_weak_decays_behind_one_that_leaves_nothing) {
  Delta delta(kLong.tokens);
  auto& decay = delta.in.at("decay").data;
  for (size_t i = 0; i < decay.size(); ++i) decay[i] = i / kHeads % 5 == 2 ? 0 : 0.999;
  Outcome expected = delta.loop();
  EXPECT_LT(difference(delta.mixer.feed(delta.in, kLong.whole()), expected.y), 1e-5);
  EXPECT_LT(difference(*delta.mixer.state, expected.state), 1e-5);
}

TEST(GatedDelta, writes_a_value_that_the_same_key_reads_back) {
  State state;
  Layer layer{std::make_shared<Rows>(1, 1, std::vector{0}, std::vector{1}), {}, {&state}};
  array key({0.6f, 0.8f}, {1, 1, 1, 2}), value({5.f, -3.f, 2.f}, {1, 1, 1, 3});
  array one = mx::ones({1, 1, 1});
  EXPECT_LT(difference(gated_delta(key, key, value, one, one, layer, 0), value), 1e-6);
}

}  // namespace
}  // namespace mlxcpp::ops
