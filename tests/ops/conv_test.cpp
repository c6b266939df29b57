// Convolutions against loops in float64, and what nodes of MLX's graph owe: gradients, vmap.
#include "mlxcpp/ops/conv.h"

#include "mlxcpp/ops/cpu/features.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::noise;
using test::Numbers;

struct Case {
  mx::Shape x, weight;
  std::pair<int, int> stride = {1, 1}, padding = {0, 0}, dilation = {1, 1};
  int groups = 1;
};
const Case kCases[] = {{{2, 9, 7, 3}, {5, 3, 3, 3}},
                       {{1, 8, 8, 4}, {6, 1, 1, 4}},
                       {{1, 32, 32, 3}, {20, 8, 8, 3}, {8, 8}},  // patches
                       {{2, 11, 6, 4}, {8, 3, 2, 2}, {2, 1}, {1, 2}, {1, 1}, 2},
                       {{1, 12, 10, 6}, {6, 3, 3, 1}, {1, 2}, {2, 1}, {2, 3}, 6},
                       {{1, 40, 40, 16}, {17, 3, 3, 16}, {1, 1}, {1, 1}},
                       {{1, 1, 1, 2}, {3, 3, 3, 2}, {1, 1}, {1, 1}}};

array convolved(const Case& c, const array& x, const array& w) {
  return ops::conv2d(x, w, c.stride, c.padding, c.dilation, c.groups);
}

/// y[b, i, j, o] = sum of w[o, u, v, c] x[b, i stride - padding + u dilation, ..., c of o's group].
Numbers loop(const Case& c, const Numbers& x, const Numbers& w) {
  auto extent = [](int n, int k, int stride, int padding, int dilation) {
    return (n + 2 * padding - dilation * (k - 1) - 1) / stride + 1;
  };
  int H = x.shape[1], W = x.shape[2], kh = w.shape[1], kw = w.shape[2], each = w.shape[3];
  int h = extent(H, kh, c.stride.first, c.padding.first, c.dilation.first),
      v = extent(W, kw, c.stride.second, c.padding.second, c.dilation.second);
  Numbers y = test::zeros({x.shape[0], h, v, w.shape[0]});
  for (int b = 0; b < x.shape[0]; ++b)
    for (int i = 0; i < h; ++i)
      for (int j = 0; j < v; ++j)
        for (int o = 0; o < w.shape[0]; ++o)
          for (int p = 0; p < kh; ++p)
            for (int q = 0; q < kw; ++q) {
              int line = i * c.stride.first - c.padding.first + p * c.dilation.first,
                  column = j * c.stride.second - c.padding.second + q * c.dilation.second;
              if (line < 0 || line >= H || column < 0 || column >= W) continue;
              int first = o / (w.shape[0] / c.groups) * each;
              for (int e = 0; e < each; ++e)
                y(b, i, j, o) += w(o, p, q, e) * x(b, line, column, first + e);
            }
  return y;
}

TEST(Conv2d, equals_the_loop_on_every_tier) {
  cpu::use({});
  auto tiers = cpu::machine().tiers;
  for (auto& tier : tiers) {
    if (tier.standing == cpu::Standing::absent) continue;
    cpu::use({.tier = tier.tier});
    for (size_t i = 0; i < std::size(kCases); ++i) {
      array x = noise(kCases[i].x, 1), w = noise(kCases[i].weight, 2);
      EXPECT_LT(test::relative(convolved(kCases[i], x, w), loop(kCases[i], x, w)), 1e-6)
          << name_of(tier.tier) << " case " << i;
    }
  }
  cpu::use(cpu::Settings::read());
}

TEST(Conv1d, equals_the_loop_over_an_image_of_one_line) {
  for (int groups : {1, 2, 4})
    for (int stride : {1, 2})
      for (int dilation : {1, 2}) {
        Case c{{2, 1, 13, 4}, {8, 1, 3, 4 / groups}, {1, stride}, {0, 2}, {1, dilation}, groups};
        if (groups == 4) c.weight[0] = 4;  // one channel each
        array x = noise(c.x, 1), w = noise(c.weight, 2);
        Numbers want = loop(c, x, w);
        array y = ops::conv1d(mx::squeeze(x, 1), mx::squeeze(w, 1), stride, 2, dilation, groups);
        EXPECT_LT(test::relative(mx::expand_dims(y, 1), want), 1e-6) << groups << stride;
      }
}

TEST(Conv2d, gives_the_same_bits_for_any_number_of_threads) {
  for (auto& c : kCases) {
    array x = noise(c.x, 1), w = noise(c.weight, 2);
    cpu::use({.threads = 1});
    Numbers one = convolved(c, x, w);
    cpu::use({.threads = 3});
    EXPECT_EQ(difference(convolved(c, x, w), one), 0);
  }
  cpu::use(cpu::Settings::read());
}

TEST(Conv2d, has_the_gradients_of_finite_differences) {
  for (size_t i : {0, 3, 4}) {
    auto& c = kCases[i];
    array x = noise(c.x, 1), w = noise(c.weight, 2), way = noise(c.weight, 3);
    array weight = noise(convolved(c, x, w).shape(), 4);
    auto value = [&](const array& at) {
      return mx::sum(mx::multiply(convolved(c, x, at), weight));
    };
    double found = Numbers(mx::sum(mx::multiply(mx::grad(value)(w), way)))();
    auto at = [&](float s) { return Numbers(value(mx::add(w, mx::multiply(way, array(s)))))(); };
    double expected = (at(0.5f) - at(-0.5f));  // linear in w
    EXPECT_NEAR(found, expected, 1e-4 * std::abs(expected) + 1e-3) << i;
  }
}

TEST(Conv2d, refuses_shapes_that_do_not_fit) {
  EXPECT_THROW(ops::conv2d(noise({1, 8, 8, 3}, 1), noise({4, 3, 3, 2}, 2)), std::invalid_argument);
  EXPECT_THROW(ops::conv1d(noise({1, 2, 3}, 1), noise({4, 5, 3}, 2)), std::invalid_argument);
}

TEST(Conv2d, keeps_the_dtype_of_its_input) {
  EXPECT_EQ(ops::conv2d(noise({1, 8, 8, 3}, 1, mx::bfloat16), noise({4, 3, 3, 3}, 2)).dtype(),
            mx::bfloat16);
}

}  // namespace
}  // namespace mlxcpp::ops
