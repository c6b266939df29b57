// Latent attention binds what a converted checkpoint has, and split_kv_b makes that of a raw one;
// the indexer beside it chooses by a kernel of its own.
#include "mlxcpp/nn/latent_attention.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/nn/key_indexer.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace mlxcpp::nn {
namespace {

using test::noise;
using test::Numbers;

constexpr int kHeads = 3, kRank = 32, kNope = 5, kTurned = 4, kValue = 6;

LatentShape shape(std::optional<int> q_lora_rank = {}, bool bias = false) {
  return {.dim = 12,
          .heads = kHeads,
          .kv_lora_rank = kRank,
          .qk_nope_head_dim = kNope,
          .qk_rope_head_dim = kTurned,
          .v_head_dim = kValue,
          .q_lora_rank = q_lora_rank,
          .bias = bias};
}

/// Both parts of kv_b_proj, cut by hand.
void expect_parts(const WeightMap& map, const Numbers& whole) {
  Numbers k(map.arrays.at("a.embed_q.weight")), v(map.arrays.at("a.unembed_out.weight"));
  ASSERT_EQ(k.shape, (mx::Shape{kHeads, kRank, kNope}));
  ASSERT_EQ(v.shape, (mx::Shape{kHeads, kValue, kRank}));
  for (int h = 0; h < kHeads; ++h)
    for (int r = 0; r < kRank; ++r) {
      int first = h * (kNope + kValue);
      for (int n = 0; n < kNope; ++n) EXPECT_EQ(k(h, r, n), whole(first + n, r));
      for (int i = 0; i < kValue; ++i) EXPECT_EQ(v(h, i, r), whole(first + kNope + i, r));
    }
  EXPECT_EQ(map.arrays.size(), 2u) << "nothing is left of kv_b_proj";
}

TEST(SplitKvB, gives_each_head_its_matrices) {
  WeightMap map;
  map.arrays.emplace("a.kv_b_proj.weight", noise({kHeads * (kNope + kValue), kRank}, 1));
  Numbers whole(map.arrays.at("a.kv_b_proj.weight"));
  split_kv_b(map, Scope(map, "a"), shape());
  expect_parts(map, whole);
}

TEST(SplitKvB, reads_packed_ones_by_their_own_entry_and_makes_them_dense) {
  WeightMap map;
  auto packed = mx::quantize(noise({kHeads * (kNope + kValue), kRank}, 1), 32, 8);
  for (int i = 0; i < 3; ++i)
    map.arrays.emplace(std::string("a.kv_b_proj.") + std::array{"weight", "scales", "biases"}[i],
                       packed[i]);
  map.quantization.all = ops::Quant{ops::Format::affine, 4, 64};
  map.quantization.exceptions["a.kv_b_proj"] = ops::Quant{ops::Format::affine, 8, 32};
  Numbers whole(mx::dequantize(packed[0], packed[1], packed[2], 32, 8));
  split_kv_b(map, Scope(map, "a"), shape());
  expect_parts(map, whole);
  EXPECT_TRUE(map.manifest.params.empty()) << "what no model holds";
}

TEST(SplitKvB, leaves_a_converted_checkpoint_as_it_is_and_refuses_other_extents) {
  WeightMap map, wrong;
  map.arrays.emplace("a.embed_q.weight", noise({2}, 1));
  split_kv_b(map, Scope(map, "a"), shape());
  EXPECT_EQ(map.arrays.at("a.embed_q.weight").shape(), mx::Shape{2});
  wrong.arrays.emplace("a.kv_b_proj.weight", noise({kHeads * kNope, kRank}, 1));
  EXPECT_EQ(test::message_of<WeightError>([&] { split_kv_b(wrong, Scope(wrong, "a"), shape()); }),
            "a.kv_b_proj.weight: wrong shape; expected (33, 32), found (15, 32)");
}

TEST(LatentAttention, binds_low_ranks_and_biases_where_there_are_any) {
  std::map<std::string, mx::Shape> plain = {{"kv_a_proj_with_mqa.weight", {36, 12}},
                                            {"kv_a_layernorm.weight", {32}},
                                            {"embed_q.weight", {3, 32, 5}},
                                            {"unembed_out.weight", {3, 6, 32}},
                                            {"o_proj.weight", {12, 18}}},
                                   low = plain;
  plain.insert({{"q_proj.weight", {27, 12}}});
  low.insert({{"q_a_proj.weight", {7, 12}},
              {"q_a_proj.bias", {7}},
              {"q_a_layernorm.weight", {7}},
              {"q_b_proj.weight", {27, 7}},
              {"kv_a_proj_with_mqa.bias", {36}},
              {"o_proj.bias", {12}}});
  for (auto& [shapes, config] : {std::pair{plain, shape()}, {low, shape(7, true)}}) {
    WeightMap map;
    for (auto& [name, extents] : shapes) map.arrays.emplace("a." + name, noise(extents, 1));
    LatentAttention attention(Scope(map, "a"), config);
    EXPECT_TRUE(map.arrays.empty());
    auto kept = attention.layout().kv.at(0);
    EXPECT_EQ(kept.heads, 1);
    EXPECT_EQ(kept.k_dim, kRank);
    EXPECT_EQ(kept.v_dim, kTurned);
    EXPECT_FLOAT_EQ(attention.up.scale, 1 / std::sqrt(9.f));
  }
}

TEST(KeyIndexer, keeps_keys_of_its_own_and_chooses_only_where_there_are_more_than_it_leaves) {
  constexpr int kDim = 8;
  WeightMap map;
  for (auto& [name, extents] : std::map<std::string, mx::Shape>{{"wq_b.weight", {2 * kDim, 7}},
                                                                {"wk.weight", {kDim, 12}},
                                                                {"k_norm.weight", {kDim}},
                                                                {"k_norm.bias", {kDim}},
                                                                {"weights_proj.weight", {2, 12}}})
    map.arrays.emplace("a." + name, noise(extents, 1));
  KeyIndexer indexer(
      Scope(map, "a"), {.index_n_heads = 2, .index_head_dim = kDim, .index_topk = 3}, shape(7));
  EXPECT_TRUE(map.arrays.empty());
  EXPECT_EQ(indexer.layout().heads, 1);
  EXPECT_EQ(indexer.layout().k_dim, kDim);
  EXPECT_FALSE(indexer.rope.traditional) << "halves, where the attention turns pairs";
  for (int length : {3, 5}) {
    ops::Layer layer{std::make_shared<ops::Rows>(1, length, std::vector{0}, std::vector{length}),
                     {nullptr, nullptr},
                     {}};
    auto chosen = indexer(noise({1, length, 12}, 2), noise({1, length, 7}, 3), layer)[0];
    ASSERT_EQ(chosen.has_value(), length > 3);
    if (!chosen) continue;
    Numbers left(*chosen);
    for (int i = 0; i < length; ++i) {
      int count = 0;
      for (int j = 0; j < length; ++j) count += left(0, 0, i, j) != 0;
      EXPECT_GE(count, std::min(i + 1, 3));
      EXPECT_LE(count, i + 1);
    }
  }
}

}  // namespace
}  // namespace mlxcpp::nn
