// The Mamba-2 mixer: what configs may say, the tensors it binds, and its gate against loops.  The
// convolution and the scan have tests of their own in ops.
#include "mlxcpp/nn/mamba2.h"

#include "mlxcpp/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

namespace mlxcpp::nn {
namespace {

using test::noise;
using test::Numbers;

constexpr Mamba2Shape::Keys kKeys{.heads = "heads",
                                  .head_dim = "width",
                                  .groups = "groups",
                                  .state = "state",
                                  .kernel = "kernel",
                                  .conv_bias = "conv_bias"};

Mamba2Shape read(const std::string& json) {
  Mamba2Shape shape;
  auto f = io::Fields::parse(json);
  shape.fields(f, kKeys);
  return shape;
}
std::string refusal(const std::string& json) {
  return test::message_of<ConfigError>([&] { read(json); });
}

TEST(Mamba2Shape, reads_the_keys_that_it_is_told) {
  auto s = read(
      R"({"heads": 4, "width": 3, "groups": 2, "state": 5, "kernel": 4, "conv_bias": false,
          "time_step_limit": [0.5, Infinity]})");
  EXPECT_EQ(s.inner(), 12);
  EXPECT_EQ(s.shared(), 10);
  EXPECT_EQ(s.mixed(), 32);
  EXPECT_FALSE(s.conv_bias);
  EXPECT_EQ(s.time_step_limit, (std::vector{0.5f, INFINITY}));
}

TEST(Mamba2Shape, refuses_extents_that_are_none_or_too_large) {
  EXPECT_EQ(refusal(R"({"heads": 4, "width": 3, "groups": 2, "state": 5})"),
            "config.kernel: missing; expected integer");
  EXPECT_EQ(refusal(R"({"heads": 4, "width": 3, "groups": 2, "state": 5, "kernel": 0})"),
            "config.kernel: expected a positive number, found 0");
  EXPECT_EQ(refusal(R"({"heads": 4, "width": 3, "groups": 3, "state": 5, "kernel": 4})"),
            "config.heads: expected a multiple of groups (3), found 4");
  EXPECT_EQ(refusal(R"({"heads": 65536, "width": 65536, "groups": 2, "state": 5, "kernel": 4})"),
            "config.heads: expected a product that fits 32 bits, found 65536 * 65536");
  EXPECT_EQ(
      refusal(R"({"heads": 65536, "width": 3, "groups": 65536, "state": 65536, "kernel": 4})"),
      "config.state: expected a product that fits 32 bits, found 65536 * 65536");
  EXPECT_EQ(refusal(R"({"heads": 32768, "width": 32768, "groups": 2, "state": 5, "kernel": 4})"),
            "config.heads: expected a number from 1 to 2147483647, found 2147516436");
}

TEST(Mamba2Shape, needs_a_range_of_time_steps) {
  const std::string rest = R"("heads": 4, "width": 3, "groups": 2, "state": 5, "kernel": 4})";
  EXPECT_EQ(refusal(R"({"time_step_limit": [0.5], )" + rest),
            "config.time_step_limit: not a range; expected the least and the most, found 0.500000");
  EXPECT_EQ(refusal(R"({"time_step_limit": [2, 1], )" + rest),
            "config.time_step_limit: not a range; expected the least and the most, found 2.000000, "
            "1.000000");
}

constexpr int kDim = 12, kHeads = 4, kWidth = 3, kGroups = 2, kState = 5, kKernel = 4;
constexpr int kInner = 12, kMixed = 32;
const Mamba2Shape kShape{
    .heads = kHeads, .head_dim = kWidth, .groups = kGroups, .state = kState, .kernel = kKernel};

using Shapes = std::map<std::string, mx::Shape>;
const Shapes kTensors = {{"a.in_proj.weight", {kInner + kMixed + kHeads, kDim}},
                         {"a.conv1d.weight", {kMixed, kKernel, 1}},
                         {"a.conv1d.bias", {kMixed}},
                         {"a.A_log", {kHeads}},
                         {"a.D", {kHeads}},
                         {"a.dt_bias", {kHeads}},
                         {"a.norm.weight", {kInner}},
                         {"a.out_proj.weight", {kDim, kInner}}};

WeightMap map_of(const Shapes& shapes) {
  WeightMap map;
  int seed = 1;
  for (auto& [name, shape] : shapes) map.arrays.emplace(name, noise(shape, seed++));
  return map;
}

void expect_takes(const Shapes& tensors, const Mamba2Shape& shape, const Mamba2Kind& kind) {
  WeightMap whole = map_of(tensors);
  Mamba2(Scope(whole, "a"), kDim, shape, kind);
  EXPECT_NO_THROW(whole.expect_empty());
  for (auto& [name, extents] : tensors) {
    WeightMap without = map_of(tensors);
    without.arrays.erase(name);
    EXPECT_EQ(
        test::message_of<WeightError>([&] { Mamba2(Scope(without, "a"), kDim, shape, kind); }),
        name + ": missing; expected shape " + to_string(extents) + ", found no such tensor");
  }
}

TEST(Mamba2, binds_its_tensors) { expect_takes(kTensors, kShape, {.norm_eps = 1e-5f}); }

TEST(Mamba2, binds_biases_and_a_norm_only_where_told) {
  Mamba2Shape shape = kShape;
  shape.conv_bias = false, shape.in_bias = true, shape.out_bias = true;
  Shapes tensors = kTensors;
  tensors.erase("a.conv1d.bias");
  tensors.erase("a.norm.weight");
  tensors.insert({{"a.in_proj.bias", {kInner + kMixed + kHeads}}, {"a.out_proj.bias", {kDim}}});
  expect_takes(tensors, shape, {});
}

/// The mixer's output for three tokens of two rows, after `change` of its weights.
Numbers run(const Mamba2Kind& kind, const std::map<std::string, array>& change = {}) {
  WeightMap map = map_of(kTensors);
  if (!kind.norm_eps) map.arrays.erase("a.norm.weight");
  for (auto& [name, value] : change) map.arrays.insert_or_assign(name, value);
  Mamba2 mixer(Scope(map, "a"), kDim, kShape, kind);
  ops::State conv, scan;
  ops::Layer layer{
      std::make_shared<ops::Rows>(2, 3, std::vector{0, 0}, std::vector{3, 3}), {}, {&conv, &scan}};
  Numbers y(mixer(noise({2, 3, kDim}, 77), layer));
  EXPECT_EQ(mx::Shape(conv->shape().begin() + 1, conv->shape().end()), mixer.layout().states[0]);
  EXPECT_EQ(mx::Shape(scan->shape().begin() + 1, scan->shape().end()), mixer.layout().states[1]);
  return y;
}

/// y over each group's root of its mean square, times the norm's weight.
Numbers normed(Numbers y, double eps) {
  Numbers weight(map_of(kTensors).arrays.at("a.norm.weight"));
  constexpr int kPart = kInner / kGroups;
  for (int b = 0; b < 2; ++b)
    for (int t = 0; t < 3; ++t)
      for (int start = 0; start < kInner; start += kPart) {
        double sum = 0;
        for (int i = start; i < start + kPart; ++i) sum += y(b, t, i) * y(b, t, i);
        for (int i = start; i < start + kPart; ++i)
          y(b, t, i) *= weight(i) / std::sqrt(sum / kPart + eps);
      }
  return y;
}

/// y times silu of the gate, or divided by it.
Numbers opened(Numbers y, bool divide = false) {
  Numbers x(mx::reshape(noise({2, 3, kDim}, 77), {6, kDim}));
  Numbers all = test::times_transposed(x, map_of(kTensors).arrays.at("a.in_proj.weight"));
  for (int token = 0; token < 6; ++token)
    for (int i = 0; i < kInner; ++i) {
      double gate = all(token, i), silu = gate / (1 + std::exp(-gate));
      y(token / 3, token % 3, i) *= divide ? 1 / silu : silu;
    }
  return y;
}

TEST(Mamba2, norms_each_group_after_the_gate_or_before_it) {
  const std::map<std::string, array> show = {{"a.out_proj.weight", mx::eye(kInner)}};
  Numbers plain = run({}, show);
  EXPECT_LT(test::relative(run({.norm_eps = 0.1f}, show), normed(plain, 0.1f)), 1e-5);
  EXPECT_LT(test::relative(run({.norm_eps = 0.1f, .norm_before_gate = true}, show),
                           opened(normed(opened(plain, true), 0.1f))),
            1e-5);
}

TEST(Mamba2, multiplies_the_gate_the_scan_and_the_steps_apart) {
  // The products are those of a projection whose rows were multiplied.
  const std::vector<float> by = {0.5f, 2, 3, 0.25f, 1.5f};
  const int widths[] = {kInner, kInner, kGroups * kState, kGroups * kState, kHeads};
  Numbers weight(map_of(kTensors).arrays.at("a.in_proj.weight"));
  int row = 0;
  for (int part = 0; part < 5; ++part)
    for (int end = row + widths[part]; row < end; ++row)
      for (int d = 0; d < kDim; ++d) weight(row, d) *= by[part];
  EXPECT_LT(test::relative(run({.norm_eps = 1e-5f, .multipliers = by}),
                           run({.norm_eps = 1e-5f}, {{"a.in_proj.weight", weight.as()}})),
            1e-5);
}

}  // namespace
}  // namespace mlxcpp::nn
