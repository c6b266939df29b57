// Norms, activations and other small operations against their formulas.
#include "mlxcpp/ops/basic.h"

#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::map;
using test::noise;
using test::Numbers;

Numbers norm_loop(const Numbers& x, const Numbers* weight, double eps) {
  Numbers y = x;
  int rows = x.shape[0], dim = x.shape[1];
  for (int r = 0; r < rows; ++r) {
    double sum = 0;
    for (int d = 0; d < dim; ++d) sum += x(r, d) * x(r, d);
    for (int d = 0; d < dim; ++d)
      y(r, d) = x(r, d) / std::sqrt(sum / dim + eps) * (weight ? (*weight)(d) : 1);
  }
  return y;
}

TEST(RmsNorm, equals_the_formula_with_and_without_a_weight) {
  array x = noise({5, 24}, 1), w = noise({24}, 2);
  Numbers weight(w);
  EXPECT_LT(difference(rms_norm(x, std::make_shared<array>(w), 0.01f), norm_loop(x, &weight, 0.01)),
            1e-5);
  EXPECT_LT(difference(rms_norm(x, nullptr, 0.01f), norm_loop(x, nullptr, 0.01)), 1e-5);
}

TEST(LayerNorm, takes_out_the_mean_and_adds_a_bias) {
  array x = noise({5, 24}, 1), w = noise({24}, 2), b = noise({24}, 3);
  auto param = [](const array& a) { return std::make_shared<array>(a); };
  Numbers in(x), weight(w), bias(b), want = in;
  for (int r = 0; r < 5; ++r) {
    double mean = 0, sum = 0;
    for (int d = 0; d < 24; ++d) mean += in(r, d) / 24;
    for (int d = 0; d < 24; ++d) sum += (in(r, d) - mean) * (in(r, d) - mean);
    for (int d = 0; d < 24; ++d)
      want(r, d) = (in(r, d) - mean) / std::sqrt(sum / 24 + 0.01) * weight(d) + bias(d);
  }
  EXPECT_LT(difference(layer_norm(x, param(w), param(b), 0.01f), want), 1e-5);
}

TEST(RmsNorm, keeps_the_dtype_of_its_input_whatever_the_weights_is) {
  array x = noise({5, 24}, 1), half = noise({24}, 2, mx::float16);
  Numbers weight(half);
  array y = rms_norm(x, std::make_shared<array>(half), 1e-5f);
  EXPECT_EQ(y.dtype(), mx::float32);
  EXPECT_LT(difference(y, norm_loop(x, &weight, 1e-5)), 1e-5);

  array small = mx::astype(x, mx::bfloat16);
  Numbers w(noise({24}, 2));
  array z = rms_norm(small, std::make_shared<array>(w.as()), 1e-5f);
  EXPECT_EQ(z.dtype(), mx::bfloat16);
  EXPECT_LT(difference(z, norm_loop(small, &w, 1e-5)), 0.03);
}

TEST(RmsNorm, sums_half_inputs_in_float32) {
  array x = mx::full({1, 4096}, 100.f, mx::float16);  // the sum of squares is beyond float16
  EXPECT_LT(difference(rms_norm(x, nullptr, 1e-5f), map(Numbers(x), [](double) { return 1; })),
            1e-3);
}

double silu(double x) { return x / (1 + std::exp(-x)); }
double gelu(double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2.0))); }
double gelu_tanh(double x) {
  return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

struct ActivationCase {
  Activation activation;
  double (*formula)(double);
};
class Activations : public testing::TestWithParam<ActivationCase> {};

TEST_P(Activations, equal_their_formula) {
  auto [activation, formula] = GetParam();
  array x = mx::multiply(noise({400}, 1), array(8.f));
  EXPECT_LT(difference(activate(x, activation), map(x, formula)), 2e-6);
}

TEST_P(Activations, keep_half_types) {
  auto [activation, formula] = GetParam();
  for (mx::Dtype dtype : {mx::float16, mx::bfloat16}) {
    array x = noise({400}, 1, dtype), y = activate(x, activation);
    EXPECT_EQ(y.dtype(), dtype);
    EXPECT_LT(difference(y, map(x, formula)), dtype == mx::float16 ? 2e-3 : 1.5e-2);
  }
}

INSTANTIATE_TEST_SUITE_P(,
                         Activations,
                         testing::Values(ActivationCase{Activation::silu, silu},
                                         ActivationCase{Activation::gelu, gelu},
                                         ActivationCase{Activation::gelu_tanh, gelu_tanh}));

TEST(Activation, is_found_by_hugging_faces_name) {
  EXPECT_EQ(activation_of("silu"), Activation::silu);
  EXPECT_EQ(activation_of("swish"), Activation::silu);
  EXPECT_EQ(activation_of("gelu"), Activation::gelu);
  for (auto name : {"gelu_pytorch_tanh", "gelu_new", "gelu_fast"})
    EXPECT_EQ(activation_of(name), Activation::gelu_tanh) << name;
  EXPECT_EQ(activation_of("relu6"), std::nullopt);
  EXPECT_EQ(activation_of(""), std::nullopt);
}

TEST(Softcap, bends_large_values_towards_the_cap) {
  array x = mx::multiply(noise({200}, 1), array(100.f));
  EXPECT_LT(difference(softcap(x, 30), map(x, [](double v) { return 30 * std::tanh(v / 30); })),
            1e-5);
  EXPECT_EQ(softcap(mx::astype(x, mx::float16), 30).dtype(), mx::float16);
}

TEST(Scale, multiplies_in_the_dtype_of_its_input) {
  array x = noise({50}, 1);
  EXPECT_LT(difference(scale(x, 0.3f), map(x, [](double v) { return 0.3f * v; })), 1e-7);
  EXPECT_EQ(difference(scale(x, 1), x), 0);
  EXPECT_EQ(scale(mx::astype(x, mx::bfloat16), 0.3f).dtype(), mx::bfloat16);
}

TEST(SplitAt, cuts_before_each_index_along_any_axis) {
  array x = noise({2, 7, 3}, 1);
  Numbers in(x);
  auto parts = split_at(x, {2, 3}, 1);
  ASSERT_EQ(parts.size(), 3u);
  int starts[] = {0, 2, 3}, ends[] = {2, 3, 7};
  for (int p = 0; p < 3; ++p) {
    Numbers part(parts[p]);
    ASSERT_EQ(part.shape, (mx::Shape{2, ends[p] - starts[p], 3}));
    for (int i = 0; i < ends[p] - starts[p]; ++i)
      for (int c = 0; c < 3; ++c) EXPECT_EQ(part(1, i, c), in(1, starts[p] + i, c));
  }
  auto last = split_at(x, {1});
  ASSERT_EQ(last.size(), 2u);
  EXPECT_EQ(last[0].shape(), (mx::Shape{2, 7, 1}));
  EXPECT_EQ(last[1].shape(), (mx::Shape{2, 7, 2}));
}

TEST(Add, adds) {
  array a = noise({3, 4}, 1), b = noise({3, 4}, 2);
  Numbers expected(a), other(b);
  for (size_t i = 0; i < expected.data.size(); ++i) expected.data[i] += other.data[i];
  EXPECT_LT(difference(ops::add(a, b), expected), 1e-6);
}

}  // namespace
}  // namespace mlxcpp::ops
