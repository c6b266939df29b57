// Binding tensors by name: what is moved out, what is recorded, and what each mistake is called.
#include "mlxcpp/nn/weights.h"

#include "mlxcpp/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/packed.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

namespace mlxcpp::nn {
namespace {

using ops::Format;
using ops::Quant;
using test::noise;
using test::Packer;

constexpr Quant kAffine{Format::affine, 4, 32};

std::string error_of(auto call) { return test::message_of<WeightError>(call); }

/// A packed (6, 128) weight at `path`, made by hand.
void add_packed(WeightMap& map, const std::string& path, Quant q, mx::Dtype scales = mx::float32) {
  ops::WeightData w = *Packer(q, 6, 128, scales).make(1).weight;
  map.arrays.insert_or_assign(path + ".weight", *w.value);
  map.arrays.insert_or_assign(path + ".scales", **w.scales);
  if (w.zeros) map.arrays.insert_or_assign(path + ".biases", **w.zeros);
}

WeightMap packed_map(Quant q) {
  WeightMap map;
  map.quantization.all = q;
  add_packed(map, "a", q);
  return map;
}

std::vector<std::string> names(const auto& by_name) {
  std::vector<std::string> all;
  for (auto& [name, value] : by_name) all.push_back(name);
  return all;
}

TEST(Scope, joins_children_and_indices_with_dots) {
  WeightMap map;
  EXPECT_EQ((Scope(map) / "model" / "layers" / 3 / "mlp").path(), "model.layers.3.mlp");
  EXPECT_EQ((Scope(map, "lm") / "head").path(), "lm.head");
  EXPECT_EQ(Scope(map).path(), "");
}

TEST(Scope, takes_a_tensor_out_of_the_map_and_records_its_path) {
  WeightMap map;
  map.arrays.emplace("norm.weight", noise({5}, 1));
  Scope scope = Scope(map) / "norm";
  EXPECT_TRUE(scope.has("weight"));
  EXPECT_FALSE(scope.has("bias"));
  ops::Param taken = scope.take("weight", {5});
  EXPECT_EQ(test::difference(*taken, noise({5}, 1)), 0);
  EXPECT_FALSE(scope.has("weight"));
  EXPECT_EQ(names(map.manifest.params), std::vector<std::string>{"norm.weight"});
  EXPECT_EQ(map.manifest.params.at("norm.weight"), taken) << "the slot is shared";
  EXPECT_NO_THROW(map.expect_empty());
}

TEST(Scope, says_which_tensor_is_missing) {
  WeightMap map;
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "norm").take("weight", {5, 2});
            }),
            "norm.weight: missing; expected shape (5, 2), found no such tensor");
}

TEST(Scope, says_which_shape_is_wrong_and_leaves_the_tensor) {
  WeightMap map;
  map.arrays.emplace("norm.weight", noise({5, 2}, 1));
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "norm").take("weight", {2, 5});
            }),
            "norm.weight: wrong shape; expected (2, 5), found (5, 2)");
  EXPECT_TRUE(map.has("norm.weight"));
}

TEST(Scope, refuses_a_parameter_that_is_not_floating_point) {
  WeightMap map;
  map.arrays.emplace("norm.weight", test::ints({1, 2}));
  EXPECT_EQ(error_of([&] { (Scope(map) / "norm").take("weight", {2}); }),
            "norm.weight: wrong dtype; expected floating point, found int32");
}

TEST(TakeLinear, binds_a_dense_weight_with_its_bias) {
  WeightMap map;
  map.arrays.emplace("a.weight", noise({6, 4}, 1, mx::float16));
  map.arrays.emplace("a.bias", noise({6}, 2));
  ops::Weight w = (Scope(map) / "a").take_linear({6, 4}, true);
  EXPECT_TRUE(w->dense());
  EXPECT_EQ(w->dtype(), mx::float16);
  EXPECT_EQ(w->outputs(), 6);
  ASSERT_TRUE(w->bias);
  EXPECT_EQ(test::difference(**w->bias, noise({6}, 2)), 0);
  EXPECT_EQ(names(map.manifest.params), (std::vector<std::string>{"a.bias", "a.weight"}));
  EXPECT_EQ(map.manifest.linears.at("a"), w) << "the slot is shared";
  EXPECT_NO_THROW(map.expect_empty());
}

TEST(TakeLinear, needs_the_bias_that_it_is_told_of_and_takes_none_otherwise) {
  WeightMap map;
  map.arrays.emplace("a.weight", noise({6, 4}, 1));
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 4}, true);
            }),
            "a.bias: missing; expected shape (6), found no such tensor");
  WeightMap extra;
  extra.arrays.emplace("a.weight", noise({6, 4}, 1));
  extra.arrays.emplace("a.bias", noise({6}, 1));
  EXPECT_FALSE((Scope(extra) / "a").take_linear({6, 4})->bias);
  EXPECT_TRUE(extra.has("a.bias"));
}

class TakePacked : public testing::TestWithParam<Quant> {};
INSTANTIATE_TEST_SUITE_P(Formats,
                         TakePacked,
                         testing::ValuesIn(test::all_quants()),
                         [](const auto& c) { return test::quant_name(c.param); });

TEST_P(TakePacked, binds_every_part_of_a_packed_weight) {
  Quant q = GetParam();
  WeightMap map = packed_map(q);
  ops::Weight w = (Scope(map) / "a").take_linear({6, 128});
  EXPECT_EQ(w->quant, q);
  bool affine = q.format == Format::affine;
  EXPECT_EQ(w->zeros.has_value(), affine);
  EXPECT_EQ(names(map.manifest.params),
            affine ? (std::vector<std::string>{"a.biases", "a.scales", "a.weight"})
                   : (std::vector<std::string>{"a.scales", "a.weight"}));
  EXPECT_NO_THROW(map.expect_empty());
  test::Packed made = Packer(q, 6, 128).make(1);
  EXPECT_LT(test::relative(ops::dequantised(*w), made.numbers), 1e-6);
}

TEST(TakePackedErrors, a_packed_weight_without_parameters) {
  WeightMap map = packed_map(kAffine);
  map.quantization = {};
  std::string expected =
      "a.scales: packed weight without parameters; expected an entry for it in "
      "config.quantization, found none";
  EXPECT_EQ(error_of([&] { (Scope(map) / "a").take_linear({6, 128}); }), expected);
  map.quantization.all = kAffine;
  map.quantization.exceptions["a"] = std::nullopt;  // said to be dense
  EXPECT_EQ(error_of([&] { (Scope(map) / "a").take_linear({6, 128}); }), expected);
}

TEST(TakePackedErrors, an_input_that_is_no_multiple_of_the_group) {
  WeightMap map = packed_map(kAffine);
  map.quantization.exceptions["a"] = kAffine;
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 120});
            }),
            "a: input size is no multiple of the group size; expected a multiple of 32, found 120");
}

TEST(TakePackedErrors, parts_of_a_wrong_shape) {
  WeightMap map = packed_map(kAffine);
  map.quantization.exceptions["a"] = kAffine;
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 256});
            }),
            "a.weight: wrong shape; expected (6, 32), found (6, 16)");
  map.arrays.insert_or_assign("a.scales", noise({6, 5}, 1));
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 128});
            }),
            "a.scales: wrong shape; expected (6, 4), found (6, 5)");
}

TEST(TakePackedErrors, affine_without_biases) {
  WeightMap map = packed_map(kAffine);
  map.quantization.exceptions["a"] = kAffine;
  map.arrays.erase("a.biases");
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 128});
            }),
            "a.biases: missing; expected shape (6, 4), found no such tensor");
}

TEST(TakePackedErrors, no_packed_weight_beside_the_scales) {
  WeightMap map = packed_map(kAffine);
  map.arrays.erase("a.weight");
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 128});
            }),
            "a.weight: missing; expected shape (6, 16), found no such tensor");
}

TEST(TakePackedErrors, parts_of_a_wrong_dtype) {
  WeightMap map = packed_map(kAffine);
  map.arrays.insert_or_assign("a.weight", noise({6, 16}, 1));
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 128});
            }),
            "a.weight: wrong dtype; expected uint32, found float32");

  map = packed_map({Format::mxfp4, 4, 32});
  map.arrays.insert_or_assign("a.scales", noise({6, 4}, 1));
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 128});
            }),
            "a.scales: wrong dtype; expected uint8, found float32");

  map = packed_map(kAffine);
  map.arrays.insert_or_assign("a.biases", mx::zeros({6, 4}, mx::uint8));
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 128});
            }),
            "a.biases: wrong dtype; expected floating point, found uint8");
}

TEST(TakePackedErrors, scales_without_extents) {
  WeightMap map = packed_map(kAffine);
  map.arrays.insert_or_assign("a.weight", array(1.f));
  map.arrays.insert_or_assign("a.scales", array(1.f));
  EXPECT_EQ(error_of([&] {
              (Scope(map) / "a").take_linear({6, 128});
            }),
            "a.weight: wrong shape; expected (6, 16), found ()");
}

TEST(WeightMap, lists_up_to_three_tensors_that_nobody_took) {
  WeightMap map;
  EXPECT_NO_THROW(map.expect_empty());
  map.arrays.emplace("b", noise({2, 3}, 1));
  map.arrays.emplace("a", noise({4}, 1));
  std::string start = "weights: tensors that the model has no place for; found ";
  EXPECT_EQ(error_of([&] { map.expect_empty(); }), start + "a (4), b (2, 3)");
  for (auto name : {"c", "d", "e"}) map.arrays.emplace(name, array(1.f));
  EXPECT_EQ(error_of([&] { map.expect_empty(); }), start + "a (4), b (2, 3), c () and 2 more");
}

TEST(WeightMap, drops_tensors_by_a_part_of_their_name_or_by_its_start) {
  WeightMap map;
  for (auto name : {"x.rotary.inv_freq", "rotary.a", "y.weight", "yy"})
    map.arrays.emplace(name, array(1.f));
  map.drop_prefix("rotary");
  EXPECT_EQ(names(map.arrays), (std::vector<std::string>{"x.rotary.inv_freq", "y.weight", "yy"}));
  map.drop_containing("inv_freq");
  EXPECT_EQ(names(map.arrays), (std::vector<std::string>{"y.weight", "yy"}));
  map.drop_containing("absent");
  EXPECT_EQ(map.arrays.size(), 2u);
}

TEST(ShapeText, is_written_as_a_tuple) {
  EXPECT_EQ(to_string(mx::Shape{}), "()");
  EXPECT_EQ(to_string(mx::Shape{7}), "(7)");
  EXPECT_EQ(to_string(mx::Shape{64, 128, 1}), "(64, 128, 1)");
}

/// q4_0: 2 rows of 64 inputs.
WeightMap block_map(mx::Shape shape = {2, 36}, mx::Dtype dtype = mx::uint8) {
  WeightMap map;
  map.arrays.emplace("a.weight", mx::zeros(shape, dtype));
  map.quantization.exceptions["a"] = ops::quant_of_blocks(Format::q4_0);
  return map;
}

TEST(Blocks, of_another_size_are_an_error) {
  auto error = [](WeightMap map, const mx::Shape& shape) {
    return test::message_of<WeightError>([&] { Scope(map, "a").take_linear(shape); });
  };
  EXPECT_EQ(error(block_map(), {2, 64}), "no error");
  EXPECT_EQ(error(block_map(), {2, 65}),
            "a.weight: input size is no multiple of a block; expected a multiple of 32, found 65");
  EXPECT_EQ(error(block_map(), {2, 96}), "a.weight: wrong shape; expected (2, 54), found (2, 36)");
  EXPECT_EQ(error(block_map(), {3, 64}), "a.weight: wrong shape; expected (3, 36), found (2, 36)");
  EXPECT_EQ(error(block_map({2, 36}, mx::uint32), {2, 64}),
            "a.weight: wrong dtype; expected bytes, found uint32");
  EXPECT_EQ(error(block_map(), {2, 2147483616}),
            "a.weight: wrong shape; expected (2, 1207959534), found (2, 36)");
  WeightMap eight = block_map();
  eight.quantization.exceptions["a"] = ops::quant_of_blocks(Format::q8_0);
  EXPECT_EQ(error(eight, {2, 2147483616}),
            "a.weight: row too large; expected at most 2147483647 bytes, found 2281701342");
  EXPECT_EQ(error(block_map(), {}),
            "a.weight: input size is no multiple of a block; expected a multiple of 32, found 1");
}

}  // namespace
}  // namespace mlxcpp::nn
