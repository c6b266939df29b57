// Recurrent mixers as nodes of MLX's graph: gradients by finite differences, vmap, states that
// somebody else holds, parts of larger arrays, and that MLXCPP_OPS=mlx gives the same.
#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/recurrent.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::noise;
using test::Numbers;

Param param(const array& a) { return std::make_shared<array>(a); }

/// Two rows, the second with padding.
struct OnePass {
  int tokens;
  std::vector<State> states = std::vector<State>(1);
  Layer layer() {
    std::vector<int> offsets = {3, 0}, lengths = {tokens, tokens - (tokens > 1)};
    return {std::make_shared<Rows>(2, tokens, offsets, lengths), {}, {&states[0]}};
  }
};

/// What depends on x, with the state that follows.
struct Case {
  std::string name;
  mx::Shape shape;
  std::function<array(const array& x, OnePass& run)> f;
  mx::Shape state;
};

constexpr int kHeads = 4, kGroups = 2, n = 5, p = 3, kKeys = kGroups * n;

std::vector<Case> cases(int tokens) {
  auto in = [=](int size, int seed) { return noise({2, tokens, size}, seed); };
  std::vector<Case> all;
  for (int k : {2, 3, 4})
    all.push_back(
        {"causal_conv" + std::to_string(k),
         {2, tokens, 10},
         [=](const array& x, OnePass& run) {
           auto bias = param(noise({6}, 3));
           return causal_conv(
               {x, 3, 1, 6}, param(noise({6, k, 1}, 2)), bias, run.layer(), 0, Activation::silu);
         },
         {2, k - 1, 6}});
  all.push_back(
      {"causal_conv_gelu",
       {2, tokens, 6},
       [](const array& x, OnePass& run) {
         return causal_conv(x, param(noise({6, 3, 1}, 2)), {}, run.layer(), 0, Activation::gelu);
       },
       {2, 2, 6}});
  all.push_back({"gated_conv",
                 {2, tokens, 18},
                 [](const array& x, OnePass& run) {
                   return gated_conv(x, param(noise({6, 3, 1}, 2)), {}, run.layer());
                 },
                 {2, 2, 6}});
  all.push_back({"ssm_scan",
                 {2, tokens, kHeads * p + 2 * kKeys + kHeads},
                 [](const array& x, OnePass& run) {
                   SsmArgs args{param(noise({kHeads}, 5)),
                                param(noise({kHeads}, 6, mx::bfloat16)),
                                param(noise({kHeads}, 7)),
                                0.1f,
                                3};
                   int inner = kHeads * p;
                   return ssm_scan({x, 0, kHeads, p},
                                   {x, inner + 2 * kKeys, 1, kHeads},
                                   {x, inner, kGroups, n},
                                   {x, inner + kKeys, kGroups, n},
                                   args,
                                   run.layer(),
                                   0);
                 },
                 {2, kHeads, p, n}});
  all.push_back({"gated_delta",
                 {2, tokens, kHeads, p},
                 [=](const array& x, OnePass& run) {
                   array decay = mx::sigmoid(in(kHeads, 3)), beta = mx::sigmoid(in(kHeads, 4));
                   return gated_delta(mx::unflatten(in(kKeys, 1), 2, {kGroups, n}),
                                      mx::unflatten(in(kKeys, 2), 2, {kGroups, n}),
                                      x,
                                      decay,
                                      beta,
                                      run.layer(),
                                      0);
                 },
                 {2, kHeads, p, n}});
  all.push_back({"gated_delta_net",
                 {2, tokens, 2 * kKeys + kHeads * p},
                 [=](const array& x, OnePass& run) {
                   DeltaArgs args{param(noise({kHeads}, 5)), param(noise({kHeads}, 6))};
                   return gated_delta_net({x, 0, kGroups, n},
                                          {x, kKeys, kGroups, n},
                                          {x, 2 * kKeys, kHeads, p},
                                          in(kHeads, 3),
                                          in(kHeads, 4),
                                          args,
                                          run.layer(),
                                          0);
                 },
                 {2, kHeads, p, n}});
  for (bool first : {false, true})
    for (int weights : {0, 3, 12})
      all.push_back({"gated_norm" + std::to_string(weights),
                     {2, tokens, 12},
                     [=](const array& x, OnePass&) {
                       Param w = weights ? param(noise({weights}, 3)) : nullptr;
                       return gated_norm(x, {in(20, 4), 5, 1, 12}, w, {4, 0.01f, first});
                     },
                     {}});
  return all;
}

/// Output and, where there is one, the state, as one row of numbers for each row of the batch.
array all_of(const Case& c, const array& x, int tokens) {
  OnePass run{tokens};
  if (!c.state.empty()) run.states[0] = noise(c.state, 20);
  array y = mx::reshape(c.f(x, run), {2, -1});
  // Padding is garbage.
  int valid = int(y.shape(1)) / tokens * (tokens - (tokens > 1));
  array whole = mx::slice(y, {0, 0}, {1, y.shape(1)}), part = mx::slice(y, {1, 0}, {2, valid});
  std::vector<array> parts = {mx::flatten(whole), mx::flatten(part)};
  if (!c.state.empty()) parts.push_back(mx::flatten(*run.states[0]));
  return mx::concatenate(parts);
}

TEST(RecurrentNodes, give_the_same_as_the_composition) {
  for (int tokens : {1, 3, 20})
    for (auto& c : cases(tokens)) {
      array x = noise(c.shape, 1);
      cpu::use({.mlx = true});
      Numbers want = all_of(c, x, tokens);
      cpu::use(cpu::Settings::read());
      EXPECT_LT(difference(all_of(c, x, tokens), want), 5e-6) << c.name << " " << tokens;
    }
}

TEST(RecurrentNodes, have_the_gradients_of_finite_differences) {
  for (int tokens : {1, 3})
    for (auto& c : cases(tokens)) {
      array x = noise(c.shape, 1), way = noise(c.shape, 9);
      array weight = noise(all_of(c, x, tokens).shape(), 8);
      auto value = [&](const array& at) {
        return mx::sum(mx::multiply(all_of(c, at, tokens), weight));
      };
      double found = Numbers(mx::sum(mx::multiply(mx::grad(value)(x), way)))();
      float step = 1e-2f;
      auto at = [&](float s) { return Numbers(value(mx::add(x, mx::multiply(way, array(s)))))(); };
      double expected = (at(step) - at(-step)) / (2 * step);
      EXPECT_NEAR(found, expected, 4e-3 + 4e-3 * std::abs(expected)) << c.name << " " << tokens;
    }
}

TEST(RecurrentNodes, are_mapped_over_an_axis) {
  for (auto& c : cases(3)) {
    mx::Shape shape = c.shape;
    shape.insert(shape.begin(), 2);
    array x = noise(shape, 1);
    array y = mx::vmap([&](const array& a) { return all_of(c, a, 3); })(x);
    for (int i = 0; i < 2; ++i)
      EXPECT_LT(difference(mx::take(y, i, 0), all_of(c, mx::take(x, i, 0), 3)), 5e-6) << c.name;
  }
}

TEST(RecurrentNodes, read_columns_that_lie_apart) {
  for (auto& c : cases(3)) {
    array x = noise(c.shape, 1);
    mx::eval(x);
    int last = int(c.shape.size()) - 1;
    array turned = mx::contiguous(mx::swapaxes(x, 1, last));
    mx::eval(turned);
    EXPECT_EQ(difference(all_of(c, mx::swapaxes(turned, 1, last), 3), all_of(c, x, 3)), 0)
        << c.name;
  }
}

TEST(RecurrentNodes, leave_a_state_alone_that_somebody_holds) {
  for (int tokens : {1, 20})
    for (auto& c : cases(tokens)) {
      if (c.state.empty()) continue;
      OnePass run{tokens};
      array held = noise(c.state, 20);
      held.eval();
      Numbers before = held;
      run.states[0] = held;
      c.f(noise(c.shape, 1), run).eval();
      run.states[0]->eval();
      EXPECT_EQ(difference(held, before), 0) << c.name;
    }
}

TEST(RecurrentNodes, advance_a_state_in_its_own_memory) {
  for (auto& c : cases(1)) {
    if (c.state.empty()) continue;
    OnePass run{1};
    run.states[0] = noise(c.state, 20);
    run.states[0]->eval();
    const void* memory = run.states[0]->data<float>();
    for (int i = 0; i < 3; ++i) {
      array y = c.f(noise(c.shape, i), run);
      mx::eval({y, *run.states[0]});
      EXPECT_EQ(run.states[0]->data<float>(), memory) << c.name;
    }
  }
}

}  // namespace
}  // namespace mlxcpp::ops
