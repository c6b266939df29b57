// Low-rank adapters against loops: of products, tables, experts, and the forms that are fused.
#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/device.h"
#include "mlxcpp/ops/experts.h"
#include "mlxcpp/ops/plan.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/packed.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mlxcpp::ops {
namespace {

using test::ints;
using test::message_of;
using test::noise;
using test::Numbers;
using test::relative;

constexpr int kIn = 64, kOut = 48, kRank = 3;

std::shared_ptr<const std::optional<array>> rows_of(std::vector<int> rows) {
  return std::make_shared<const std::optional<array>>(ints(rows));
}

Weight dense(const array& value) {
  auto w = std::make_shared<WeightData>();
  w->value = std::make_shared<array>(value);
  return w;
}

/// A weight and the numbers that each adapter makes of it.
struct Subject {
  Weight weight;
  std::vector<Numbers> whole;  // [0]: without; (out, in)

  void adapt(std::vector<int> rows, bool dora) {
    int out = whole[0].shape[0], in = whole[0].shape[1];
    array a = noise({2, kRank, in}, 3), b = noise({2, out, kRank}, 4), f = noise({2, out}, 5);
    weight->adapters = Adapters{.a = a, .b = b, .rows = rows_of(rows)};
    if (dora) weight->adapters->factor = f;
    Numbers A(a), B(b), F(f);
    for (int n = 0; n < 2; ++n) {
      Numbers w = whole[0];
      for (int o = 0; o < out; ++o)
        for (int i = 0; i < in; ++i) {
          for (int r = 0; r < kRank; ++r) w(o, i) += B(n, o, r) * A(n, r, i);
          if (dora) w(o, i) *= F(n, o);
        }
      whole.push_back(w);
    }
  }
};

Subject of_numbers() {
  array w = noise({kOut, kIn}, 2);
  return {dense(w), {Numbers(w)}};
}
Subject of_codes() {
  auto p = test::Packer({Format::affine, 4, 32}, kOut, kIn).make(3);
  return {p.weight, {p.numbers}};
}

double bound(const Subject& s) { return s.weight->dense() ? 1e-5 : 2e-3; }

TEST(AdaptedLinear, is_the_product_with_the_changed_weight_for_each_row) {
  for (bool dora : {false, true})
    for (int length : {1, 2, 40})
      for (auto make : {of_numbers, of_codes}) {
        Subject s = make();
        std::vector<int> rows{2, 0, 1, 1};
        s.adapt(rows, dora);
        s.weight->bias = std::make_shared<array>(noise({kOut}, 6));
        array x = noise({4, length, kIn}, 1), rest = noise({4, length, kOut}, 7);
        Numbers X(x), bias(**s.weight->bias), R(rest), want(rest);
        for (int b = 0; b < 4; ++b)
          for (int t = 0; t < length; ++t)
            for (int o = 0; o < kOut; ++o) {
              want(b, t, o) = bias(o) + R(b, t, o);
              for (int i = 0; i < kIn; ++i)
                want(b, t, o) += X(b, t, i) * s.whole[size_t(rows[size_t(b)])](o, i);
            }
        EXPECT_LT(relative(linear(x, s.weight, rest), want), bound(s)) << dora << " " << length;
        Numbers less = want;
        for (size_t i = 0; i < less.data.size(); ++i) less.data[i] -= R.data[i];
        EXPECT_LT(relative(linear(x, s.weight), less), bound(s)) << dora << " " << length;
      }
}

TEST(AdaptedLinear, leaves_the_dtype_of_half_activations) {
  Subject s = of_numbers();
  s.adapt({1, 0}, true);
  array x = noise({2, 3, kIn}, 1, mx::bfloat16);
  EXPECT_EQ(linear(x, s.weight).dtype(), mx::bfloat16);
}

TEST(AdaptedLinear, takes_one_adapter_of_all_rows_for_any_number_of_them) {
  Subject s = of_numbers();
  s.adapt({2, 2, 2}, false);
  array x = noise({1, 5, kIn}, 1);
  Numbers want = test::times_transposed(mx::reshape(x, {5, kIn}), s.whole[2]);
  EXPECT_LT(relative(mx::reshape(linear(x, s.weight), {5, kOut}), want), 1e-5);
  s.weight->adapters->rows = rows_of({1, 2, 2});
  EXPECT_EQ(message_of<InputError>([&] { linear(x, s.weight); }),
            "input.adapters: of other rows than what is computed; expected 1, found 3");
}

TEST(AdaptedLinear, of_several_weights_on_one_input_is_each_alone) {
  Subject first = of_numbers(), second = of_codes();
  first.adapt({1, 2}, false);
  array x = noise({2, 3, kIn}, 1);
  auto [y, z] = linear_each(x, first.weight, second.weight);
  EXPECT_EQ(relative(y, linear(x, first.weight)), 0);
  EXPECT_LT(relative(z, linear(x, second.weight)), 1e-6);
}

TEST(AdaptedLinear, of_a_weight_that_is_used_head_by_head_is_refused) {
  auto w = dense(noise({2, kOut, kIn}, 1));
  w->adapters = Adapters{noise({1, 2, 2, kIn}, 1), noise({1, 2, kOut, 2}, 1), rows_of({1})};
  EXPECT_EQ(message_of<UnsupportedError>([&] {
              linear(noise({1, 2, 3, kIn}, 1), w);
            }),
            "adapter: of a weight that is used head by head");
}

TEST(AdaptedTable, gives_rows_of_the_changed_table) {
  for (bool dora : {false, true})
    for (auto make : {of_numbers, of_codes}) {
      Subject s = make();
      std::vector<int> rows{1, 0, 2}, ids{5, 0, kOut - 1, 3, 3, 9};
      s.adapt(rows, dora);
      Numbers want(mx::Shape{3, 2, kIn});
      for (int b = 0; b < 3; ++b)
        for (int t = 0; t < 2; ++t)
          for (int i = 0; i < kIn; ++i)
            want(b, t, i) = s.whole[size_t(rows[size_t(b)])](ids[size_t(b * 2 + t)], i);
      EXPECT_LT(relative(embed(ints(ids, {3, 2}), s.weight), want), 1e-5) << dora;
    }
}

// --- Experts ------------------------------------------------------------------------------------

constexpr int kExperts = 5, kChosen = 2, kHidden = 40;

/// A stack of experts and, for each adapter, the numbers of the changed stack.
struct Stack {
  Weight weight;
  std::vector<Numbers> whole;  // (E, out, in)
};

Stack stack(int out, int in, int seed, std::vector<int> rows) {
  array w = noise({kExperts, out, in}, seed);
  array a = noise({2, kExperts, kRank, in}, seed + 1),
        b = noise({2, kExperts, out, kRank}, seed + 2);
  Stack s{dense(w), {Numbers(w)}};
  s.weight->adapters = Adapters{.a = a, .b = b, .rows = rows_of(rows)};
  Numbers A(a), B(b);
  for (int n = 0; n < 2; ++n) {
    Numbers changed(w);
    for (int e = 0; e < kExperts; ++e)
      for (int o = 0; o < out; ++o)
        for (int i = 0; i < in; ++i)
          for (int r = 0; r < kRank; ++r) changed(e, o, i) += B(n, e, o, r) * A(n, e, r, i);
    s.whole.push_back(changed);
  }
  return s;
}

std::vector<double> product(const Numbers& w, int e, const std::vector<double>& x) {
  std::vector<double> y(size_t(w.shape[1]), 0);
  for (int o = 0; o < w.shape[1]; ++o)
    for (int i = 0; i < w.shape[2]; ++i) y[size_t(o)] += w(e, o, i) * x[size_t(i)];
  return y;
}

TEST(AdaptedExperts, are_those_of_each_rows_adapter) {
  std::vector<int> rows{0, 2, 1};
  for (int length : {1, 4, 30}) {  // few, and so many that they are sorted
    Stack gate = stack(kHidden, kIn, 10, rows), up = stack(kHidden, kIn, 20, rows),
          down = stack(kIn, kHidden, 30, rows);
    up.weight->adapters.reset();  // one without
    array x = noise({3, length, kIn}, 1), weights = noise({3, length, kChosen}, 2);
    std::vector<int> choice;
    for (int i = 0; i < 3 * length * kChosen; ++i) choice.push_back(i * 7 / 3 % kExperts);
    Numbers X(x), W(weights), want = test::zeros(x.shape());
    for (int b = 0; b < 3; ++b)
      for (int t = 0; t < length; ++t)
        for (int k = 0; k < kChosen; ++k) {
          int e = choice[size_t((b * length + t) * kChosen + k)];
          size_t n = size_t(rows[size_t(b)]);
          std::vector<double> in(kIn);
          for (int i = 0; i < kIn; ++i) in[size_t(i)] = X(b, t, i);
          auto g = product(gate.whole[n], e, in), u = product(up.whole[0], e, in);
          for (size_t h = 0; h < u.size(); ++h) u[h] *= g[h] / (1 + std::exp(-g[h]));
          auto y = product(down.whole[n], e, u);
          for (int i = 0; i < kIn; ++i) want(b, t, i) += W(b, t, k) * y[size_t(i)];
        }
    ExpertWeights all{.gate = gate.weight, .up = up.weight, .down = down.weight, .glu = {}};
    array y = experts(x, ints(choice, {3, length, kChosen}), weights, all);
    EXPECT_LT(relative(y, want), 1e-5) << length;
  }
}

// --- Fused forms --------------------------------------------------------------------------------

TEST(AdaptedMlp, is_not_passed_over_by_the_fused_form) {
  Subject gate = of_numbers(), up = of_codes(), down{dense(noise({kIn, kOut}, 8)), {}};
  down.whole = {Numbers(*down.weight->value)};
  Mlp mlp_{.gate = gate.weight, .up = up.weight, .down = down.weight, .glu = {}};
  array x = noise({2, 3, kIn}, 1);
  Numbers plain(mlp(x, mlp_));
  for (Subject* s : {&gate, &up, &down}) {
    s->adapt({1, 2}, false);
    Numbers got(mlp(x, mlp_)), want = test::zeros({2, 3, kIn}), X(x);
    for (int b = 0; b < 2; ++b)
      for (int t = 0; t < 3; ++t) {
        auto of = [&](const Subject& p) {
          return p.weight->adapters ? p.whole[size_t(b + 1)] : p.whole[0];
        };
        Numbers g = of(gate), u = of(up), d = of(down);
        for (int h = 0; h < kOut; ++h) {
          double sum = 0, other = 0;
          for (int i = 0; i < kIn; ++i) sum += g(h, i) * X(b, t, i), other += u(h, i) * X(b, t, i);
          for (int i = 0; i < kIn; ++i)
            want(b, t, i) += d(i, h) * other * sum / (1 + std::exp(-sum));
        }
      }
    EXPECT_LT(relative(got, want), 2e-3);
    s->weight->adapters.reset();
    EXPECT_EQ(relative(mlp(x, mlp_), plain), 0);
  }
}

}  // namespace
}  // namespace mlxcpp::ops
