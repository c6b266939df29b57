// Blocks bind the names and shapes that checkpoints have.
#include "mlxcpp/nn/blocks.h"

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
using test::Shapes;

const AttentionShape kShape{.dim = 12, .heads = 4, .kv_heads = 2, .head_dim = 6};
const Shapes kAttention = {{"a.q_proj.weight", {24, 12}},
                           {"a.k_proj.weight", {12, 12}},
                           {"a.v_proj.weight", {12, 12}},
                           {"a.o_proj.weight", {12, 24}}};

TEST(Attention, binds_four_projections) {
  expect_contract(kAttention, [](Scope s) { Attention(s, kShape, {.dims = 6}); });
}

TEST(Attention, binds_biases_of_the_inputs_and_of_the_output_apart) {
  Shapes in = kAttention, both = kAttention;
  in.insert({{"a.q_proj.bias", {24}}, {"a.k_proj.bias", {12}}, {"a.v_proj.bias", {12}}});
  both = in;
  both.insert({"a.o_proj.bias", {12}});
  AttentionShape shape = kShape;
  shape.bias = true;
  expect_contract(in, [&](Scope s) { Attention(s, shape, {.dims = 6}); });
  shape.out_bias = true;
  expect_contract(both, [&](Scope s) { Attention(s, shape, {.dims = 6}); });
}

TEST(Attention, scales_by_the_root_of_the_head_unless_told_otherwise) {
  WeightMap map = map_of(kAttention), other = map_of(kAttention);
  Attention plain(Scope(map, "a"), kShape, {.dims = 6, .base = 7});
  EXPECT_FLOAT_EQ(plain.args.scale, 1 / std::sqrt(6.f));
  EXPECT_EQ(plain.args.window, 0);
  EXPECT_TRUE(plain.args.causal);
  EXPECT_EQ(plain.head_dim, 6);
  EXPECT_EQ(plain.rope.base, 7);
  AttentionShape shape = kShape;
  shape.scale = 0.3f, shape.window = 9;
  Attention told(Scope(other, "a"), shape, {.dims = 6});
  EXPECT_EQ(told.args.scale, 0.3f);
  EXPECT_EQ(told.args.window, 9);
}

TEST(Attention, puts_each_projection_in_its_own_place) {
  WeightMap map = map_of(kAttention);
  auto expected = map.arrays;
  Attention a(Scope(map, "a"), kShape, {.dims = 6});
  EXPECT_EQ(test::difference(*a.q->value, expected.at("a.q_proj.weight")), 0);
  EXPECT_EQ(test::difference(*a.k->value, expected.at("a.k_proj.weight")), 0);
  EXPECT_EQ(test::difference(*a.v->value, expected.at("a.v_proj.weight")), 0);
  EXPECT_EQ(test::difference(*a.o->value, expected.at("a.o_proj.weight")), 0);
}

const Shapes kMlp = {{"a.gate_proj.weight", {20, 12}},
                     {"a.up_proj.weight", {20, 12}},
                     {"a.down_proj.weight", {12, 20}}};

TEST(GatedMlp, binds_three_projections) {
  expect_contract(kMlp, [](Scope s) { GatedMlp(s, 12, 20, ops::Activation::silu); });
}

TEST(GatedMlp, binds_three_biases_when_told) {
  Shapes with = kMlp;
  with.insert({{"a.gate_proj.bias", {20}}, {"a.up_proj.bias", {20}}, {"a.down_proj.bias", {12}}});
  expect_contract(with, [](Scope s) { GatedMlp(s, 12, 20, ops::Activation::silu, true); });
}

TEST(GatedMlp, puts_each_projection_in_its_own_place) {
  WeightMap map = map_of(kMlp);
  auto expected = map.arrays;
  GatedMlp m(Scope(map, "a"), 12, 20, ops::Activation::gelu);
  EXPECT_EQ(test::difference(*m.gate->value, expected.at("a.gate_proj.weight")), 0);
  EXPECT_EQ(test::difference(*m.up->value, expected.at("a.up_proj.weight")), 0);
  EXPECT_EQ(test::difference(*m.down->value, expected.at("a.down_proj.weight")), 0);
  EXPECT_EQ(m.glu.act, ops::Activation::gelu);
}

TEST(Linear, binds_a_weight_of_outputs_by_inputs) {
  expect_contract({{"a.weight", {7, 12}}}, [](Scope s) { Linear(s, 12, 7); });
  expect_contract({{"a.weight", {7, 12}}, {"a.bias", {7}}},
                  [](Scope s) { Linear(s, 12, 7, true); });
  WeightMap map = map_of({{"a.weight", {7, 12}}});
  test::Numbers w(map.arrays.at("a.weight"));
  array x = noise({3, 12}, 9);
  EXPECT_LT(test::relative(Linear(Scope(map, "a"), 12, 7)(x), test::times_transposed(x, w)), 1e-6);
}

TEST(Embedding, binds_a_table_of_words_by_dims) {
  expect_contract({{"a.weight", {30, 12}}}, [](Scope s) { Embedding(s, 30, 12); });
}

TEST(RmsNorm, binds_one_weight_of_its_dims) {
  expect_contract({{"a.weight", {12}}}, [](Scope s) { RmsNorm(s, 12, 1e-5f); });
  WeightMap map = map_of({{"a.weight", {12}}});
  EXPECT_EQ(RmsNorm(Scope(map, "a"), 12, 0.5f).eps, 0.5f);
}

TEST(Head, has_a_weight_of_its_own_unless_it_is_tied) {
  WeightMap map = map_of({{"e.weight", {30, 12}}, {"a.weight", {30, 12}}});
  Embedding embed(Scope(map, "e"), 30, 12);
  EXPECT_EQ(Head(Scope(map, "a"), embed, 30, 12, true).w, embed.w);
  EXPECT_TRUE(map.has("a.weight")) << "a tied head takes nothing";
  EXPECT_NE(Head(Scope(map, "a"), embed, 30, 12, false).w, embed.w);
  EXPECT_FALSE(map.has("a.weight"));
  expect_contract({{"a.weight", {30, 12}}}, [&](Scope s) { Head(s, embed, 30, 12, false); });
}

TEST(Block, says_what_its_attention_keeps) {
  WeightMap map = map_of(kAttention), mlp = map_of(kMlp);
  AttentionShape shape = kShape;
  shape.window = 9;
  Block block{{.pre_attn = {},
               .attn = Attention(Scope(map, "a"), shape, {.dims = 6}),
               .pre_mlp = {},
               .mlp = GatedMlp(Scope(mlp, "a"), 12, 20, ops::Activation::silu)}};
  auto kept = block.layout();
  ASSERT_EQ(kept.kv.size(), 1u);
  EXPECT_TRUE(kept.states.empty());
  EXPECT_EQ(kept.kv[0].heads, 2);
  EXPECT_EQ(kept.kv[0].k_dim, 6);
  EXPECT_EQ(kept.kv[0].v_dim, 6);
  EXPECT_EQ(kept.kv[0].window, 9);
}

TEST(Build, makes_things_in_order_without_a_default) {
  struct Thing {
    explicit Thing(int i) : index(i) {}
    int index;
  };
  auto things = build(3, [](int i) { return Thing(i); });
  ASSERT_EQ(things.size(), 3u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(things[i].index, i);
}

/// A layer that is no plan: it notes the pass's layer and adds one.
struct Plain {
  array operator()(const array& h, const ops::Layer& layer) const {
    seen->push_back(int(layer.kv.size()));
    return mx::add(h, array(1.f));
  }
  ops::LayerLayout layout() const { return {.kv = {{1, 2, 3, 4}}, .states = {}}; }
  std::vector<int>* seen;
};

TEST(Decoder, runs_layers_that_are_no_plans_in_order_and_norms_the_last) {
  WeightMap map = map_of({{"e.weight", {30, 12}}, {"n.weight", {12}}});
  test::Numbers weight(map.arrays.at("n.weight"));
  std::vector<int> seen;
  Decoder<Plain> decoder{Embedding(Scope(map, "e"), 30, 12),
                         {Plain{&seen}, Plain{&seen}},
                         RmsNorm(Scope(map, "n"), 12, 0)};
  ops::Layer first{{}, {nullptr}, {}}, second{{}, {nullptr, nullptr}, {}};
  test::Numbers h(noise({1, 2, 12}, 3)), y(decoder(h.as(), {{}, {first, second}}));
  EXPECT_EQ(seen, (std::vector{1, 2}));
  EXPECT_EQ(decoder.layout().size(), 2u);
  for (int t = 0; t < 2; ++t) {
    double sum = 0;
    for (int d = 0; d < 12; ++d) sum += (h(0, t, d) + 2) * (h(0, t, d) + 2);
    for (int d = 0; d < 12; ++d)
      EXPECT_NEAR(y(0, t, d), (h(0, t, d) + 2) / std::sqrt(sum / 12) * weight(d), 1e-5);
  }
}

}  // namespace
}  // namespace mlxcpp::nn
