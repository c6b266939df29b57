// Inputs that each layer has for itself, against loops.
#include "mlxcpp/nn/layer_inputs.h"

#include "tests/support/contract.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mlxcpp::nn {
namespace {

using test::expect_contract;
using test::map_of;
using test::noise;
using test::Numbers;
using test::Shapes;

const LayerInputShape kShape{.vocab = 10, .layers = 3, .size = 4, .dim = 12, .eps = 1e-5f};
const Shapes kInputs = {{"a.embed_tokens_per_layer.weight", {10, 12}},
                        {"a.per_layer_model_projection.weight", {12, 12}},
                        {"a.per_layer_projection_norm.weight", {4}}};
const Shapes kGate = {{"a.per_layer_input_gate.weight", {4, 12}},
                      {"a.per_layer_projection.weight", {12, 4}},
                      {"a.post_per_layer_input_norm.weight", {12}}};

TEST(LayerInputs, binds_a_table_a_projection_and_a_norm) {
  expect_contract(kInputs, [](Scope s) { LayerInputs(s, kShape); });
}

TEST(LayerInputGate, binds_two_projections_and_a_norm) {
  expect_contract(kGate, [](Scope s) { LayerInputGate(s, kShape, ops::Activation::silu); });
}

/// x / rms(x) * weight, over the entries [from, from + n) of a row.
Numbers normed(Numbers x, int row, int from, int n, const Numbers& weight) {
  double sum = 0;
  for (int i = 0; i < n; ++i) sum += x(row, from + i) * x(row, from + i);
  for (int i = 0; i < n; ++i) x(row, from + i) *= weight(i) / std::sqrt(sum / n + kShape.eps);
  return x;
}

/// Of two tokens; `own`: what the table (scaled) or the caller gives each, (2, layers * size).
void expect_inputs(const std::vector<array>& got, const Numbers& h, const Numbers& own) {
  WeightMap map = map_of(kInputs);
  Numbers w(map.arrays.at("a.per_layer_model_projection.weight")),
      weight(map.arrays.at("a.per_layer_projection_norm.weight"));
  Numbers projected =
      test::map(test::times_transposed(h, w), [](double x) { return x / std::sqrt(12.0); });
  ASSERT_EQ(got.size(), 3u);
  for (int layer = 0; layer < 3; ++layer) {
    Numbers input(got[layer]);
    for (int token = 0; token < 2; ++token) {
      Numbers y = normed(projected, token, 4 * layer, 4, weight);
      for (int i = 0; i < 4; ++i) {
        int at = 4 * layer + i;
        EXPECT_NEAR(input(0, token, i), (y(token, at) + own(token, at)) / std::sqrt(2.0), 1e-5);
      }
    }
  }
}

Numbers looked_up(int first, int second) {
  WeightMap map = map_of(kInputs);
  Numbers table(map.arrays.at("a.embed_tokens_per_layer.weight")), own = test::zeros({2, 12});
  for (int i = 0; i < 12; ++i) own(0, i) = 2 * table(first, i), own(1, i) = 2 * table(second, i);
  return own;
}

TEST(LayerInputs, are_the_token_s_own_and_what_its_embedding_gives) {
  WeightMap map = map_of(kInputs);
  LayerInputs inputs(Scope(map, "a"), kShape);
  Numbers h(noise({2, 12}, 8));
  array embeddings = mx::expand_dims(h.as(), 0);
  expect_inputs(inputs(test::ints({7, 2}, {1, 2}), embeddings, {}), h, looked_up(7, 2));
}

TEST(LayerInputs, of_a_token_that_the_table_lacks_are_those_of_token_0) {
  WeightMap map = map_of(kInputs);
  LayerInputs inputs(Scope(map, "a"), kShape);
  Numbers h(noise({2, 12}, 8));
  array embeddings = mx::expand_dims(h.as(), 0);
  expect_inputs(inputs(test::ints({9, 10}, {1, 2}), embeddings, {}), h, looked_up(9, 0));
}

TEST(LayerInputs, may_be_given_in_place_of_the_table) {
  WeightMap map = map_of(kInputs);
  LayerInputs inputs(Scope(map, "a"), kShape);
  Numbers h(noise({2, 12}, 8)), own(noise({2, 12}, 9));
  array embeddings = mx::expand_dims(h.as(), 0), tokens = test::ints({7, 2}, {1, 2});
  expect_inputs(inputs(tokens, embeddings, mx::reshape(own.as(), {1, 2, 3, 4})), h, own);
  EXPECT_EQ(test::message_of<InputError>([&] {
              inputs(tokens, embeddings, mx::reshape(own.as(), {1, 2, 4, 3}));
            }),
            "input.per_layer: does not fit; expected 3 layers of 4, found (1, 2, 4, 3)");
}

TEST(LayerInputGate, lets_the_hidden_state_decide_how_much_of_the_input_is_added) {
  WeightMap map = map_of(kGate);
  Numbers down(map.arrays.at("a.per_layer_input_gate.weight")),
      up(map.arrays.at("a.per_layer_projection.weight")),
      weight(map.arrays.at("a.post_per_layer_input_norm.weight"));
  LayerInputGate gate(Scope(map, "a"), kShape, ops::Activation::silu);
  Numbers h(noise({2, 12}, 8)), input(noise({2, 4}, 9));
  Numbers mid =
      test::map(test::times_transposed(h, down), [](double x) { return x / (1 + std::exp(-x)); });
  for (int token = 0; token < 2; ++token)
    for (int i = 0; i < 4; ++i) mid(token, i) *= input(token, i);
  Numbers y = test::times_transposed(mid, up);
  for (int token = 0; token < 2; ++token) y = normed(y, token, 0, 12, weight);
  EXPECT_LT(test::relative(gate(h.as(), input.as()), y), 1e-5);
}

}  // namespace
}  // namespace mlxcpp::nn
