// ops::experts against a loop over tokens, and the joints of gated networks.
#include "mlxcpp/ops/experts.h"

#include "mlxcpp/ops/device.h"
#include "tests/support/numbers.h"
#include "tests/support/packed.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace mlxcpp::ops {
namespace {

using test::noise;
using test::Numbers;

constexpr int kExperts = 5, kDim = 32, kHidden = 64, kChosen = 2;

struct Stack {
  Weight weight;
  Numbers numbers;  // (E, out, in)
  std::optional<Numbers> bias;
};

Stack dense(int outputs, int inputs, int seed, bool bias) {
  array value = noise({kExperts, outputs, inputs}, seed);
  Stack s{std::make_shared<WeightData>(), Numbers(value), {}};
  s.weight->value = std::make_shared<array>(value);
  if (bias) {
    array b = noise({kExperts, outputs}, seed + 50);
    s.weight->bias = std::make_shared<array>(b);
    s.bias = Numbers(b);
  }
  return s;
}

/// One after the other, stacked as a converted checkpoint has them.
Stack packed(int outputs, int inputs, int seed, const Quant& quant) {
  Stack s{std::make_shared<WeightData>(), Numbers(mx::Shape{kExperts, outputs, inputs}), {}};
  std::vector<array> values, scales, zeros;
  for (int e = 0; e < kExperts; ++e) {
    test::Packed one = test::Packer(quant, outputs, inputs).make(seed + 7 * e);
    values.push_back(*one.weight->value);
    scales.push_back(**one.weight->scales);
    if (one.weight->zeros) zeros.push_back(**one.weight->zeros);
    for (int o = 0; o < outputs; ++o)
      for (int i = 0; i < inputs; ++i) s.numbers(e, o, i) = one.numbers(o, i);
  }
  s.weight->quant = quant;
  s.weight->value = std::make_shared<array>(mx::stack(values));
  s.weight->scales = std::make_shared<array>(mx::stack(scales));
  if (!zeros.empty()) s.weight->zeros = std::make_shared<array>(mx::stack(zeros));
  return s;
}

std::vector<double> product(const Stack& s, int expert, const std::vector<double>& x) {
  std::vector<double> y(s.numbers.shape[1], 0);
  for (size_t o = 0; o < y.size(); ++o) {
    for (size_t i = 0; i < x.size(); ++i) y[o] += s.numbers(expert, int(o), int(i)) * x[i];
    if (s.bias) y[o] += (*s.bias)(expert, int(o));
  }
  return y;
}

struct Network {
  std::optional<Stack> gate;
  Stack up, down;
  Glu glu;

  ExpertWeights weights() const {
    return {
        .gate = gate ? gate->weight : nullptr, .up = up.weight, .down = down.weight, .glu = glu};
  }

  std::vector<double> run(int expert, const std::vector<double>& x) const {
    auto h = product(up, expert, x);
    auto g = gate ? product(*gate, expert, x) : h;
    for (size_t i = 0; i < h.size(); ++i) {
      double u = h[i], a = g[i];
      if (!gate) {
        h[i] = std::max(u, 0.0) * std::max(u, 0.0);
        continue;
      }
      if (glu.limit)
        u = std::clamp<double>(u, -glu.limit, glu.limit), a = std::min<double>(a, glu.limit);
      h[i] = a / (1 + std::exp(-glu.slope * a)) * (u + glu.shift);
    }
    return product(down, expert, h);
  }
};

Numbers loop(const Numbers& x, const Numbers& chosen, const Numbers& weights, const Network& n) {
  Numbers y = test::zeros(x.shape);
  for (int b = 0; b < x.shape[0]; ++b)
    for (int t = 0; t < x.shape[1]; ++t)
      for (int k = 0; k < kChosen; ++k) {
        std::vector<double> in(kDim);
        for (int d = 0; d < kDim; ++d) in[d] = x(b, t, d);
        auto out = n.run(int(chosen(b, t, k)), in);
        for (int d = 0; d < kDim; ++d) y(b, t, d) += weights(b, t, k) * out[d];
      }
  return y;
}

/// (B, L, k): every token another pair, every expert somewhere.
array choices(int batch, int length) {
  std::vector<int> all;
  for (int i = 0; i < batch * length; ++i) {
    all.push_back(i * 3 % kExperts);
    all.push_back((i * 3 + 1 + i % (kExperts - 1)) % kExperts);
  }
  return test::ints(all, {batch, length, kChosen});
}

double error_of(const Network& n, int batch, int length) {
  array x = noise({batch, length, kDim}, 1), weights = noise({batch, length, kChosen}, 2);
  array chosen = choices(batch, length);
  return test::relative(experts(x, chosen, weights, n.weights()), loop(x, chosen, weights, n));
}

Network gated_network(bool bias) {
  return {dense(kHidden, kDim, 10, bias),
          dense(kHidden, kDim, 20, bias),
          dense(kDim, kHidden, 30, bias),
          {}};
}

TEST(Experts, equal_a_loop_over_tokens) { EXPECT_LT(error_of(gated_network(false), 2, 3), 1e-5); }

TEST(Experts, equal_it_when_tokens_are_sorted_by_expert) {
  EXPECT_LT(error_of(gated_network(false), 3, 20), 1e-5);
}

TEST(Experts, have_biases_of_their_own) {
  EXPECT_LT(error_of(gated_network(true), 1, 4), 1e-5);
  EXPECT_LT(error_of(gated_network(true), 2, 40), 1e-5) << "sorted";
}

TEST(Experts, may_clamp_and_shift_as_gpt_oss_does) {
  Network n = gated_network(true);
  n.glu = {.limit = 0.7f, .slope = 1.702f, .shift = 1};
  EXPECT_LT(error_of(n, 1, 4), 1e-5);
}

TEST(Experts, may_have_no_gate) {
  Network n{{}, dense(kHidden, kDim, 20, false), dense(kDim, kHidden, 30, false), {}};
  n.glu.act = Activation::relu2;
  EXPECT_LT(error_of(n, 1, 4), 1e-5);
  EXPECT_LT(error_of(n, 2, 40), 1e-5) << "sorted";
}

/// Our kernels round activations to 16 bits before they meet packed weights.
double packed_bound() { return own_kernels() ? 3e-4 : 2e-5; }

class PackedExperts : public testing::TestWithParam<Quant> {};

TEST_P(PackedExperts, equal_the_loop_over_what_they_stand_for) {
  Quant q = GetParam();
  Network n{
      packed(kHidden, kDim, 10, q), packed(kHidden, kDim, 40, q), packed(kDim, kHidden, 70, q), {}};
  EXPECT_LT(error_of(n, 1, 4), packed_bound());
  EXPECT_LT(error_of(n, 2, 40), packed_bound()) << "sorted";
}

INSTANTIATE_TEST_SUITE_P(Formats,
                         PackedExperts,
                         testing::Values(Quant{Format::affine, 4, 32},
                                         Quant{Format::affine, 8, 32},
                                         Quant{Format::mxfp4, 4, 32},
                                         Quant{Format::nvfp4, 4, 16}),
                         [](const auto& c) { return test::quant_name(c.param); });

/// Each expert's numbers are those of its bytes times largest / (6 * 448).
void scale_each(Stack& s) {
  std::vector<float> largest;
  for (int e = 0; e < kExperts; ++e) {
    largest.push_back(6 * 448 * (0.5f + 0.25f * float(e)));
    for (int o = 0; o < s.numbers.shape[1]; ++o)
      for (int i = 0; i < s.numbers.shape[2]; ++i) s.numbers(e, o, i) *= 0.5 + 0.25 * e;
  }
  s.weight->global_scale =
      std::make_shared<array>(largest.data(), mx::Shape{kExperts}, mx::float32);
}

TEST(Experts, have_each_the_global_scale_of_its_nvfp4) {
  Quant q{Format::nvfp4, 4, 16};
  Network n{
      packed(kHidden, kDim, 10, q), packed(kHidden, kDim, 40, q), packed(kDim, kHidden, 70, q), {}};
  for (Stack* s : {&*n.gate, &n.up, &n.down}) scale_each(*s);
  EXPECT_LT(error_of(n, 1, 4), packed_bound());
  EXPECT_LT(error_of(n, 2, 40), packed_bound()) << "sorted";
}

TEST(Experts, pass_gradients_to_their_inputs) {
  Network n = gated_network(false);
  array x = noise({2, 40, kDim}, 1), weights = noise({2, 40, kChosen}, 2), chosen = choices(2, 40);
  auto loss = [&](const array& in) {
    array y = experts(in, chosen, weights, n.weights());
    return mx::sum(mx::square(mx::slice(y, {1, 33, 0}, {2, 34, kDim})));
  };
  Numbers got(mx::grad(loss)(x));
  Numbers at(x);
  for (int d : {0, 7, 31}) {
    double h = 1e-2, sides[2];
    for (int side : {0, 1}) {
      Numbers moved = at;
      moved(1, 33, d) += side ? h : -h;
      sides[side] = Numbers(loss(moved.as())).data[0];
    }
    double slope = (sides[1] - sides[0]) / (2 * h);
    EXPECT_NEAR(got(1, 33, d), slope, 1e-2 * std::max(1.0, std::abs(slope))) << d;
  }
}

TEST(TopK, are_the_largest_in_any_order) {
  array scores = noise({3, 4, 9}, 3);
  Numbers s(scores), chosen(top_k(scores, 4));
  EXPECT_EQ(chosen.shape, (mx::Shape{3, 4, 4}));
  for (int b = 0; b < 3; ++b)
    for (int t = 0; t < 4; ++t) {
      std::vector<int> order(9);
      for (int e = 0; e < 9; ++e) order[e] = e;
      std::ranges::sort(order, [&](int i, int j) { return s(b, t, i) > s(b, t, j); });
      std::set<int> want(order.begin(), order.begin() + 4), got;
      for (int k = 0; k < 4; ++k) got.insert(int(chosen(b, t, k)));
      EXPECT_EQ(got, want);
    }
}

TEST(TopK, of_all_are_all) {
  Numbers chosen(top_k(noise({2, 3}, 1), 3));
  EXPECT_EQ(chosen.shape, (mx::Shape{2, 3}));
  EXPECT_EQ(chosen(1, 0) + chosen(1, 1) + chosen(1, 2), 3);
}

}  // namespace
}  // namespace mlxcpp::ops
