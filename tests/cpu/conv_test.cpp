// Convolutions against loops in float64, on every tier.
#include "mlxcpp/ops/cpu/recurrent.h"
#include "tests/cpu/tiers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace mlxcpp::cpu {
namespace {

using test::normal;
using test::on_every_tier;
using test::relative_rms;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

/// (channels) of each token, and more beside: `stride` numbers a token.
struct Causal {
  int rows = 1, tokens = 9, channels = 5, kernel = 3, stride = 0;
  bool silu = false, gated = false, bias = true;
  std::vector<int> lengths = {};
};

double silu(double x) { return x / (1 + std::exp(-x)); }

/// Feeds tokens up to each of the cuts; y, and the state at the end, against the loop.
void expect_causal(Causal c, const std::vector<int>& cuts, const std::string& what) {
  c.stride = 3 * c.channels + 1;
  if (c.lengths.empty()) c.lengths.assign(c.rows, c.tokens);
  int keep = c.kernel - 1;
  size_t all = size_t(c.rows) * c.tokens;
  Floats x = normal(all * c.stride, 1), w = normal(size_t(c.channels) * c.kernel, 2);
  Floats bias = normal(c.channels, 3), state = normal(size_t(c.rows) * keep * c.channels, 4);
  auto in = [&](int r, int t, int ch) {  // t < 0: the state
    if (t < 0) return double(state[(size_t(r) * keep + keep + t) * c.channels + ch]);
    const float* token = &x[(size_t(r) * c.tokens + t) * c.stride];
    return c.gated ? double(token[ch] * token[c.channels + ch]) : double(token[ch]);
  };
  Doubles want(all * c.channels), want_state(state.size());
  for (int r = 0; r < c.rows; ++r)
    for (int ch = 0; ch < c.channels; ++ch) {
      for (int t = 0; t < c.lengths[r]; ++t) {
        double s = c.bias ? bias[ch] : 0;
        for (int i = 0; i < c.kernel; ++i)
          s += double(w[size_t(ch) * c.kernel + i]) * in(r, t - keep + i, ch);
        if (c.silu) s = silu(s);
        if (c.gated) s *= x[(size_t(r) * c.tokens + t) * c.stride + 2 * c.channels + ch];
        want[(size_t(r) * c.tokens + t) * c.channels + ch] = s;
      }
      for (int i = 0; i < keep; ++i)
        want_state[(size_t(r) * keep + i) * c.channels + ch] = in(r, c.lengths[r] - keep + i, ch);
    }
  Floats y(want.size()), kept = state;
  int from = 0;
  for (int to : cuts) {
    std::vector<int> lengths;
    for (int n : c.lengths) lengths.push_back(std::clamp(n - from, 0, to - from));
    Floats part(size_t(c.rows) * (to - from) * c.channels, 77);
    auto columns = [&](int first) {
      return Sequence{
          x.data() + size_t(from) * c.stride + first, long(c.tokens) * c.stride, c.stride, 0};
    };
    causal_conv({.rows = c.rows,
                 .tokens = to - from,
                 .channels = c.channels,
                 .kernel = c.kernel,
                 .x = columns(0),
                 .before = c.gated ? columns(c.channels) : Sequence{},
                 .after = c.gated ? columns(2 * c.channels) : Sequence{},
                 .weight = {w.data(), Number::f32},
                 .bias = {c.bias ? bias.data() : nullptr, Number::f32},
                 .silu = c.silu,
                 .lengths = lengths.data(),
                 .old = kept.data(),
                 .next = kept.data(),
                 .y = part.data()});
    for (int r = 0; r < c.rows; ++r)
      std::copy_n(part.begin() + long(r) * (to - from) * c.channels,
                  long(to - from) * c.channels,
                  y.begin() + (long(r) * c.tokens + from) * c.channels);
    from = to;
  }
  EXPECT_LT(relative_rms(y, want), 3e-6) << what;
  if (keep) EXPECT_LT(relative_rms(kept, want_state), 1e-7) << what;
}

TEST(CpuCausalConv, equals_the_loop_for_every_kernel_and_count_of_channels) {
  on_every_tier([](const std::string& tier) {
    for (int kernel : {1, 2, 3, 4, 7})
      for (int channels : {1, 5, 16, 64, 100, 1100})
        for (int tokens : {1, 2, 11})
          for (bool more : {false, true})
            expect_causal({.tokens = tokens,
                           .channels = channels,
                           .kernel = kernel,
                           .silu = more,
                           .gated = more,
                           .bias = !more},
                          {tokens},
                          tier + " " + std::to_string(kernel) + " " + std::to_string(channels));
  });
}

TEST(CpuCausalConv, of_ragged_rows_in_pieces_equals_the_loop_over_the_whole) {
  on_every_tier([](const std::string& tier) {
    for (int kernel : {2, 3, 4, 7})
      expect_causal(
          {.rows = 3, .tokens = 12, .channels = 37, .kernel = kernel, .lengths = {12, 0, 7}},
          {1, 2, 6, 8, 12},
          tier);
  });
}

std::uint16_t half_of(float x, Number type) {  // exact for small multiples of 1/8
  std::uint32_t u;
  std::memcpy(&u, &x, 4);
  if (type == Number::bf16) return std::uint16_t(u >> 16);
  if (x == 0) return 0;
  return std::uint16_t((u >> 16 & 0x8000) | (((u >> 23 & 255) - 112) << 10) | (u >> 13 & 1023));
}

TEST(CpuCausalConv, reads_weights_as_they_are_stored) {
  on_every_tier([](const std::string& tier) {
    for (int kernel : {3, 4}) {
      int channels = 70;
      Floats x = normal(channels, 1), w(channels * kernel), bias(channels);
      for (size_t i = 0; i < w.size(); ++i) w[i] = float(int(i * 7 % 31) - 15) / 8;
      for (size_t i = 0; i < bias.size(); ++i) bias[i] = float(int(i * 5 % 17) - 8) / 8;
      auto run = [&](const void* weight, const void* b, Number type) {
        Floats y(channels), state(channels * (kernel - 1));
        causal_conv({.rows = 1,
                     .tokens = 1,
                     .channels = channels,
                     .kernel = kernel,
                     .x = {x.data(), 0, channels, 0},
                     .before = {},
                     .after = {},
                     .weight = {weight, type},
                     .bias = {b, type},
                     .next = state.data(),
                     .y = y.data()});
        return y;
      };
      Floats want = run(w.data(), bias.data(), Number::f32);
      for (Number type : {Number::f16, Number::bf16}) {
        std::vector<std::uint16_t> half, half_bias;
        for (float f : w) half.push_back(half_of(f, type));
        for (float f : bias) half_bias.push_back(half_of(f, type));
        EXPECT_EQ(run(half.data(), half_bias.data(), type), want) << tier;
      }
    }
  });
}

TEST(CpuCausalConv, lets_what_is_not_a_number_through_in_its_channel_only) {
  on_every_tier([](const std::string& tier) {
    int channels = 20, tokens = 6;
    Floats x = normal(size_t(channels) * tokens, 1), w = normal(size_t(channels) * 3, 2),
           y(x.size()), state(2 * channels);
    x[2 * channels + 7] = std::numeric_limits<float>::quiet_NaN();
    causal_conv({.rows = 1,
                 .tokens = tokens,
                 .channels = channels,
                 .kernel = 3,
                 .x = {x.data(), 0, channels, 0},
                 .before = {},
                 .after = {},
                 .weight = {w.data(), Number::f32},
                 .bias = {},
                 .silu = true,
                 .next = state.data(),
                 .y = y.data()});
    for (int t = 0; t < tokens; ++t)
      for (int c = 0; c < channels; ++c)
        EXPECT_EQ(std::isnan(y[t * channels + c]), c == 7 && t >= 2 && t < 5) << tier << t;
  });
}

}  // namespace
}  // namespace mlxcpp::cpu
