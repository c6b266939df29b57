// The verbs that turn a raw checkpoint into the names and shapes that modules take.
#include "mlxcpp/base/error.h"
#include "mlxcpp/nn/weights.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

namespace mlxcpp::nn {
namespace {

using test::difference;
using test::message_of;
using test::noise;
using test::Numbers;

std::vector<std::string> names(const WeightMap& w) {
  std::vector<std::string> all;
  for (auto& [name, value] : w.arrays) all.push_back(name);
  return all;
}

WeightMap with(std::initializer_list<std::pair<const char*, mx::Shape>> tensors) {
  WeightMap w;
  int seed = 1;
  for (auto& [name, shape] : tensors) w.arrays.emplace(name, noise(shape, seed++));
  return w;
}

TEST(DropLayers, takes_layers_from_a_number_on_and_nothing_that_only_looks_like_one) {
  auto w = with({{"model.layers.9.a", {1}},
                 {"model.layers.10.a", {1}},
                 {"model.layers.11.b.weight", {1}},
                 {"model.layers.x.a", {1}},
                 {"model.layers2.11.a", {1}},
                 {"mtp.layers.11.a", {1}}});
  w.drop_layers("model.layers", 10);
  EXPECT_EQ(names(w),
            (std::vector<std::string>{
                "model.layers.9.a", "model.layers.x.a", "model.layers2.11.a", "mtp.layers.11.a"}));
}

TEST(Rename, changes_prefixes_and_the_paths_of_quantisation_with_them) {
  auto w = with({{"language_model.model.a.weight", {1}}, {"other.language_model.b", {1}}});
  w.quantization.exceptions["language_model.model.a"] = ops::Quant{};
  w.rename_prefix("language_model.", "");
  EXPECT_EQ(names(w), (std::vector<std::string>{"model.a.weight", "other.language_model.b"}));
  EXPECT_EQ(w.quantization.exceptions.count("model.a"), 1u);
  EXPECT_EQ(w.quantization.exceptions.size(), 1u);
}

TEST(Rename, changes_whole_parts_only) {
  auto w = with({{"m.w1.weight", {1}}, {"m.w10.weight", {1}}, {"w1", {1}}, {"m.aw1", {1}}});
  w.rename_part("w1", "gate_proj");
  EXPECT_EQ(names(w),
            (std::vector<std::string>{"gate_proj", "m.aw1", "m.gate_proj.weight", "m.w10.weight"}));
}

TEST(Rename, onto_a_name_that_is_taken_is_an_error) {
  auto w = with({{"a.x", {1}}, {"b.x", {2}}});
  EXPECT_EQ(message_of<WeightError>([&] { w.rename_prefix("b.", "a."); }),
            "b.x: renamed to a name that is taken; found a.x");
}

TEST(AddOne, moves_what_ends_so_and_nothing_else) {
  auto w = with({{"x.norm.weight", {3}}, {"x.norm.bias", {3}}});
  w.add_one("norm.weight");
  Numbers want(noise({3}, 1));
  for (double& v : want.data) v += 1;
  EXPECT_LT(difference(w.arrays.at("x.norm.weight"), want), 1e-6);
  EXPECT_EQ(difference(w.arrays.at("x.norm.bias"), noise({3}, 2)), 0);
}

TEST(AddOne, keeps_what_a_half_type_would_round_away) {
  WeightMap w;
  w.arrays.emplace("norm.weight", mx::full({1}, 0.001f, mx::bfloat16));
  w.add_one("norm.weight");
  EXPECT_NEAR(w.arrays.at("norm.weight").item<float>(), 1.001f, 1e-5f);
}

TEST(Scale, keeps_the_dtype) {
  WeightMap w;
  w.arrays.emplace("a.weight", noise({2, 2}, 1, mx::float16));
  w.scale("a.weight", array(2.f));
  EXPECT_EQ(w.arrays.at("a.weight").dtype(), mx::float16);
  EXPECT_LT(difference(w.arrays.at("a.weight"), mx::multiply(noise({2, 2}, 1), array(2.f))), 2e-3);
}

TEST(TransposeConv, turns_torchs_order_and_leaves_mlxs) {
  auto w = with({{"a.conv.weight", {4, 1, 3}}, {"b.conv.weight", {4, 3, 1}}});
  w.transpose_conv("conv.weight");
  Numbers raw(noise({4, 1, 3}, 1)), got(w.arrays.at("a.conv.weight"));
  EXPECT_EQ(got.shape, (mx::Shape{4, 3, 1}));
  for (int c = 0; c < 4; ++c)
    for (int k = 0; k < 3; ++k) EXPECT_EQ(got(c, k, 0), raw(c, 0, k));
  EXPECT_EQ(difference(w.arrays.at("b.conv.weight"), noise({4, 3, 1}, 2)), 0);
  auto bad = with({{"conv.weight", {4, 2, 3}}});
  EXPECT_EQ(message_of<WeightError>([&] { bad.transpose_conv("conv.weight"); }),
            "conv.weight: wrong shape; expected (C, 1, k) or (C, k, 1), found (4, 2, 3)");
}

TEST(SplitRows, cuts_weights_and_biases_and_shares_the_quantisation) {
  auto w = with({{"l.qkv.weight", {6, 3}},
                 {"l.qkv.bias", {6}},
                 {"l.qkv.scales", {6, 2}},
                 {"l.qkv2.weight", {6, 3}}});
  w.quantization.exceptions["l.qkv"] = ops::Quant{};
  w.split_rows("qkv", {{"q", 4}, {"k", 2}});
  EXPECT_EQ(names(w),
            (std::vector<std::string>{"l.k.bias",
                                      "l.k.scales",
                                      "l.k.weight",
                                      "l.q.bias",
                                      "l.q.scales",
                                      "l.q.weight",
                                      "l.qkv2.weight"}));
  Numbers whole(noise({6, 3}, 1)), k(w.arrays.at("l.k.weight")), bias(w.arrays.at("l.k.bias"));
  EXPECT_EQ(k.shape, (mx::Shape{2, 3}));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(k(1, i), whole(5, i));
  EXPECT_EQ(bias(0), Numbers(noise({6}, 2))(4));
  EXPECT_EQ(w.quantization.exceptions.count("l.q"), 1u);
  EXPECT_EQ(w.quantization.exceptions.count("l.k"), 1u);
}

TEST(SplitRows, cuts_stacked_experts_along_their_outputs) {
  auto w = with({{"e.up.weight", {2, 6, 3}}, {"e.up.bias", {2, 6}}});
  w.split_rows("up", {{"a", 2}, {"b", 4}});
  EXPECT_EQ(w.arrays.at("e.b.weight").shape(), (mx::Shape{2, 4, 3}));
  EXPECT_EQ(w.arrays.at("e.b.bias").shape(), (mx::Shape{2, 4}));
  EXPECT_EQ(Numbers(w.arrays.at("e.b.bias"))(1, 0), Numbers(noise({2, 6}, 2))(1, 2));
}

TEST(SplitRows, of_another_size_is_an_error) {
  auto w = with({{"l.qkv.weight", {5, 3}}});
  EXPECT_EQ(message_of<WeightError>([&] {
              w.split_rows("qkv", {{"q", 4}, {"k", 2}});
            }),
            "l.qkv.weight: wrong shape; expected 6 outputs, found (5, 3)");
  EXPECT_EQ(message_of<WeightError>([&] {
              w.split_rows("qkv", {{"q", 1 << 30}, {"k", 1 << 30}});
            }),
            "l.qkv.weight: wrong shape; expected 2147483648 outputs, found (5, 3)");
}

TEST(StackExperts, joins_each_projection_in_the_order_of_its_experts) {
  WeightMap w;
  for (int e = 0; e < 12; ++e)
    w.arrays.emplace("m.experts." + std::to_string(e) + ".up.weight", noise({2, 3}, e));
  w.arrays.emplace("m.experts_gate.weight", noise({1}, 50));
  w.stack_experts("experts", "switch_mlp", 12);
  EXPECT_EQ(names(w),
            (std::vector<std::string>{"m.experts_gate.weight", "m.switch_mlp.up.weight"}));
  Numbers whole(w.arrays.at("m.switch_mlp.up.weight"));
  EXPECT_EQ(whole.shape, (mx::Shape{12, 2, 3}));
  EXPECT_EQ(whole(10, 1, 2), Numbers(noise({2, 3}, 10))(1, 2));
}

TEST(StackExperts, names_the_expert_that_is_missing_or_unlike_the_others) {
  auto w = with({{"m.experts.0.up.weight", {2, 3}}, {"m.experts.2.up.weight", {2, 3}}});
  EXPECT_EQ(message_of<WeightError>([&] { w.stack_experts("experts", "switch_mlp", 3); }),
            "m.switch_mlp.up.weight: expert 1 is missing; expected 3 experts, found 2");
  auto uneven = with({{"m.experts.0.up.weight", {2, 3}}, {"m.experts.1.up.weight", {3, 3}}});
  EXPECT_EQ(
      message_of<WeightError>([&] { uneven.stack_experts("experts", "switch_mlp", 2); }),
      "m.experts.1.up.weight: another shape or type than expert 0; expected (2, 3), found (3, 3)");
}

TEST(StackExperts, leaves_experts_beyond_the_last_to_be_reported) {
  auto w = with({{"m.experts.0.up.weight", {2}}, {"m.experts.1.up.weight", {2}}});
  w.stack_experts("experts", "switch_mlp", 1);
  EXPECT_TRUE(w.has("m.experts.1.up.weight"));
}

/// Bytes 0, 1, 2 ... in rows of two q4_0 blocks, and what says so.
void add_blocks(WeightMap& w, const std::string& path, int rows, int first = 0) {
  std::vector<std::uint8_t> bytes(std::size_t(rows) * 36);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = std::uint8_t(i + std::size_t(first));
  w.arrays.insert_or_assign(path + ".weight", array(bytes.data(), {rows, 36}, mx::uint8));
  w.quantization.exceptions[path] = ops::quant_of_blocks(ops::Format::q4_0);
}

TEST(Blocks, are_split_by_rows) {
  WeightMap w;
  add_blocks(w, "m.qkv", 6);
  w.split_rows("qkv", {{"q", 4}, {"k", 2}});
  EXPECT_EQ(names(w), (std::vector<std::string>{"m.k.weight", "m.q.weight"}));
  EXPECT_EQ(w.quantization.blocks_of("m.k.weight"), ops::Format::q4_0);
  array k = mx::contiguous(w.arrays.at("m.k.weight"));
  EXPECT_EQ(k.shape(), (mx::Shape{2, 36}));
  EXPECT_EQ(Numbers(k)(0, 0), 4 * 36);
}

TEST(Blocks, of_experts_are_stacked) {
  WeightMap w;
  for (int e = 0; e < 3; ++e) add_blocks(w, "m.experts." + std::to_string(e) + ".up", 2, e);
  w.stack_experts("experts", "switch", 3);
  EXPECT_EQ(names(w), std::vector<std::string>{"m.switch.up.weight"});
  EXPECT_EQ(w.quantization.blocks_of("m.switch.up.weight"), ops::Format::q4_0);
  Numbers all(w.arrays.at("m.switch.up.weight"));
  EXPECT_EQ(all.shape, (mx::Shape{3, 2, 36}));
  for (int e = 0; e < 3; ++e) EXPECT_EQ(all.data[std::size_t(e) * 72], e);
}

TEST(Blocks, of_several_kinds_are_not_stacked) {
  WeightMap w;
  for (int e = 0; e < 2; ++e) add_blocks(w, "experts." + std::to_string(e) + ".up", 2);
  w.quantization.exceptions["experts.1.up"] = ops::quant_of_blocks(ops::Format::iq4_nl);  // as long
  EXPECT_EQ(message_of<WeightError>([&] { w.stack_experts("experts", "switch", 2); }),
            "experts.1.up.weight: packed in another way than expert 0");
}

TEST(Blocks, refuse_changes_of_their_numbers) {
  WeightMap w;
  add_blocks(w, "a", 2);
  std::string message =
      "a.weight: packed, where its numbers must be changed; expected F32, F16 or BF16, found q4_0";
  EXPECT_EQ(message_of<WeightError>([&] { w.add_one("a.weight"); }), message);
  EXPECT_EQ(message_of<WeightError>([&] { w.scale("a.weight", array(2.f)); }), message);
  EXPECT_EQ(message_of<WeightError>([&] { w.transpose_conv("a.weight"); }), message);
}

}  // namespace
}  // namespace mlxcpp::nn
