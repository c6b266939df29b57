// Products with weights of every format against a loop over the numbers that they stand for.
#include "mlxcpp/ops/linear.h"

#include "mlxcpp/ops/device.h"
#include "tests/support/numbers.h"
#include "tests/support/packed.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::ints;
using test::noise;
using test::Numbers;
using test::Packed;
using test::Packer;
using test::relative;

constexpr int kIn = 256, kOut = 6;

/// Our kernels round activations to 16 bits before they meet packed weights.
double packed_bound() { return own_kernels() ? 1e-4 : 1e-5; }

Weight dense(const array& value) {
  auto w = std::make_shared<WeightData>();
  w->value = std::make_shared<array>(value);
  return w;
}

/// x: (B, L, in) -> (B, L, out).
Numbers product_loop(const Numbers& x, const Numbers& w) {
  Numbers flat = x;
  flat.shape = {x.shape[0] * x.shape[1], x.shape[2]};
  Numbers y = test::times_transposed(flat, w);
  y.shape = {x.shape[0], x.shape[1], w.shape[0]};
  return y;
}

Numbers rows_of(const Numbers& table, const std::vector<int>& ids) {
  Numbers out = test::zeros({int(ids.size()), table.shape[1]});
  for (int r = 0; r < int(ids.size()); ++r)
    for (int d = 0; d < table.shape[1]; ++d) out(r, d) = table(ids[r], d);
  return out;
}

class DenseLinear : public testing::TestWithParam<mx::Dtype> {};
INSTANTIATE_TEST_SUITE_P(,
                         DenseLinear,
                         testing::Values(mx::float32, mx::float16, mx::bfloat16),
                         [](const auto& c) {
                           return std::string(c.param == mx::float32   ? "float32"
                                              : c.param == mx::float16 ? "float16"
                                                                       : "bfloat16");
                         });

TEST_P(DenseLinear, with_float32_activations_is_exact_in_float32) {
  array x = noise({2, 3, kIn}, 1), w = noise({kOut, kIn}, 2, GetParam());
  array y = linear(x, dense(w));
  EXPECT_EQ(y.dtype(), mx::float32);
  EXPECT_LT(relative(y, product_loop(x, w)), 1e-5);
}

TEST_P(DenseLinear, keeps_the_dtype_of_half_activations) {
  array x = noise({2, 3, kIn}, 1, mx::bfloat16), w = noise({kOut, kIn}, 2, GetParam());
  array y = linear(x, dense(w));
  EXPECT_EQ(y.dtype(), mx::bfloat16);
  EXPECT_LT(relative(y, product_loop(x, w)), 0.05);
}

TEST_P(DenseLinear, embeds_rows_in_the_dtype_that_models_compute_in) {
  array table = noise({7, 16}, 2, GetParam());
  array y = embed(ints({6, 0, 3, 3, 1, 6}, {2, 3}), dense(table));
  EXPECT_EQ(y.dtype(), activation_dtype(GetParam()));
  EXPECT_EQ(y.shape(), (mx::Shape{2, 3, 16}));
  EXPECT_EQ(difference(mx::reshape(y, {6, 16}), rows_of(table, {6, 0, 3, 3, 1, 6})), 0);
}

TEST_P(DenseLinear, as_numbers_is_itself) {
  array w = noise({kOut, kIn}, 2, GetParam());
  EXPECT_EQ(dequantised(*dense(w)).dtype(), GetParam());
  EXPECT_EQ(difference(dequantised(*dense(w)), w), 0);
}

class PackedLinear : public testing::TestWithParam<Quant> {
 protected:
  bool affine() const { return GetParam().format == Format::affine; }
  std::vector<mx::Dtype> scale_dtypes() const {
    if (affine()) return {mx::float32, mx::float16, mx::bfloat16};
    return {mx::uint8};
  }
  Packed packed(mx::Dtype scales, int outputs = kOut) const {
    return Packer(GetParam(), outputs, kIn, scales).make(3);
  }
};
INSTANTIATE_TEST_SUITE_P(, PackedLinear, testing::ValuesIn(test::all_quants()), [](const auto& c) {
  return test::quant_name(c.param);
});

TEST_P(PackedLinear, with_float32_activations_is_exact_but_for_their_rounding) {
  for (mx::Dtype dtype : scale_dtypes()) {
    Packed w = packed(dtype);
    for (int length : {1, 5}) {
      array x = noise({2, length, kIn}, 1), y = linear(x, w.weight);
      EXPECT_EQ(y.dtype(), mx::float32);
      EXPECT_LT(relative(y, product_loop(x, w.numbers)), packed_bound()) << length << " tokens";
    }
  }
}

TEST_P(PackedLinear, embeds_rows_that_were_widened_before_they_were_unpacked) {
  for (mx::Dtype dtype : scale_dtypes()) {
    Packed w = packed(dtype);
    array y = embed(ints({5, 0, 3, 3}, {2, 2}), w.weight);
    EXPECT_EQ(y.dtype(), on_cpu() ? mx::float32 : w.weight->dtype());
    EXPECT_EQ(y.shape(), (mx::Shape{2, 2, kIn}));
    double bound = on_cpu() ? 1e-6 : 1e-2;
    EXPECT_LT(relative(mx::reshape(y, {4, kIn}), rows_of(w.numbers, {5, 0, 3, 3})), bound);
    EXPECT_EQ((*w.weight->scales)->dtype(), dtype) << "the table itself is left as it is";
    EXPECT_EQ((*w.weight->scales)->shape(0), kOut);
  }
}

TEST_P(PackedLinear, as_numbers_is_what_the_codes_stand_for) {
  for (mx::Dtype dtype : scale_dtypes()) {
    Packed w = packed(dtype);
    array y = dequantised(*w.weight);
    EXPECT_TRUE(!affine() || y.dtype() == dtype);
    double bound = dtype == mx::float16 ? 2e-3 : dtype == mx::bfloat16 ? 1.5e-2 : 1e-6;
    EXPECT_LT(relative(y, w.numbers), bound);
  }
}

TEST_P(PackedLinear, knows_the_dtype_that_its_numbers_have) {
  for (mx::Dtype dtype : scale_dtypes())
    EXPECT_EQ(packed(dtype).weight->dtype(), affine() ? dtype : mx::bfloat16);
  EXPECT_FALSE(packed(scale_dtypes()[0]).weight->dense());
  EXPECT_EQ(packed(scale_dtypes()[0]).weight->outputs(), kOut);
}

TEST_P(PackedLinear, adds_bias_and_residual_once_each) {
  Packed w = packed(scale_dtypes().back());
  w.weight->bias = std::make_shared<array>(noise({kOut}, 8, mx::float16));
  array x = noise({2, 3, kIn}, 1), residual = noise({2, 3, kOut}, 9);
  Numbers expected = product_loop(x, w.numbers), bias(**w.weight->bias), rest(residual);
  for (int b = 0; b < 2; ++b)
    for (int t = 0; t < 3; ++t)
      for (int o = 0; o < kOut; ++o) expected(b, t, o) += bias(o) + rest(b, t, o);
  array y = linear(x, w.weight, residual);
  EXPECT_EQ(y.dtype(), mx::float32);
  EXPECT_LT(relative(y, expected), packed_bound());
}

TEST(Linear, adds_a_bias_in_the_dtype_of_the_product) {
  array x = noise({2, 3, 8}, 1), w = noise({kOut, 8}, 2);
  auto weight = dense(w);
  for (mx::Dtype dtype : {mx::float32, mx::bfloat16}) {
    weight->bias = std::make_shared<array>(noise({kOut}, 8, dtype));
    Numbers expected = product_loop(x, w), bias(**weight->bias);
    for (int b = 0; b < 2; ++b)
      for (int t = 0; t < 3; ++t)
        for (int o = 0; o < kOut; ++o) expected(b, t, o) += bias(o);
    array y = linear(x, weight);
    EXPECT_EQ(y.dtype(), mx::float32);
    EXPECT_LT(relative(y, expected), 1e-6);
  }
}

/// Three rows: the second adapter, none, the first.
struct Adapted {
  array x = noise({3, 2, 8}, 1), w = noise({kOut, 8}, 2);
  Numbers a{noise({2, 4, 8}, 3)}, b{noise({2, kOut, 4}, 4)};
  std::vector<int> of_row = {2, 0, 1};

  Weight weight(std::optional<array> rows) const {
    auto made = dense(w);
    made->bias = std::make_shared<array>(noise({kOut}, 5));
    made->adapters =
        Adapters{a.as(), b.as(), std::make_shared<const std::optional<array>>(std::move(rows))};
    return made;
  }
  Numbers expected(bool with_adapters) const {
    Numbers in(x), y = product_loop(in, w), bias(noise({kOut}, 5));
    for (int row = 0; row < 3; ++row)
      for (int t = 0; t < 2; ++t)
        for (int o = 0; o < kOut; ++o) {
          y(row, t, o) += bias(o);
          int entry = of_row[row] - 1;
          for (int r = 0; with_adapters && entry >= 0 && r < 4; ++r)
            for (int i = 0; i < 8; ++i)
              y(row, t, o) += in(row, t, i) * a(entry, r, i) * b(entry, o, r);
        }
    return y;
  }
};

TEST(LinearAdapters, add_to_each_row_what_its_own_adapter_gives) {
  Adapted c;
  EXPECT_LT(relative(linear(c.x, c.weight(ints(c.of_row))), c.expected(true)), 1e-6);
}

TEST(LinearAdapters, are_left_out_when_no_row_has_one) {
  Adapted c;
  EXPECT_LT(relative(linear(c.x, c.weight({})), c.expected(false)), 1e-6);
}

TEST(LinearEach, gives_the_product_with_each_weight_in_order) {
  array x = noise({2, 3, kIn}, 1), w = noise({4, kIn}, 2);
  Packed q = Packer({Format::affine, 4, 64}, kOut, kIn).make(3);
  auto [first, second, third] = linear_each(x, dense(w), q.weight, dense(w));
  EXPECT_LT(relative(first, product_loop(x, w)), 1e-5);
  EXPECT_LT(relative(second, product_loop(x, q.numbers)), packed_bound());
  EXPECT_LT(relative(third, product_loop(x, w)), 1e-5);
}

TEST(Format, has_mlx_name_and_is_found_by_it) {
  const std::pair<Format, const char*> names[] = {{Format::affine, "affine"},
                                                  {Format::mxfp4, "mxfp4"},
                                                  {Format::mxfp8, "mxfp8"},
                                                  {Format::nvfp4, "nvfp4"}};
  for (auto& [format, name] : names) {
    EXPECT_EQ(mode_of(format), name);
    EXPECT_EQ(format_of(name), format);
  }
  EXPECT_EQ(format_of("dense"), std::nullopt);
  EXPECT_EQ(format_of("gptq"), std::nullopt);
}

TEST(Format, of_blocks_has_ggml_layout_and_no_name_in_mlx) {
  // Sizes from ggml-common.h, each struct's fields added up.
  constexpr int kHalf = 2;
  const std::tuple<Format, const char*, int, int> layouts[] = {
      {Format::q4_0, "q4_0", 32, kHalf + 16},
      {Format::q4_1, "q4_1", 32, 2 * kHalf + 16},
      {Format::q5_0, "q5_0", 32, kHalf + 4 + 16},
      {Format::q5_1, "q5_1", 32, 2 * kHalf + 4 + 16},
      {Format::q8_0, "q8_0", 32, kHalf + 32},
      {Format::q2_k, "q2_k", 256, 16 + 64 + 2 * kHalf},
      {Format::q3_k, "q3_k", 256, 32 + 64 + 12 + kHalf},
      {Format::q4_k, "q4_k", 256, 2 * kHalf + 12 + 128},
      {Format::q5_k, "q5_k", 256, 2 * kHalf + 12 + 32 + 128},
      {Format::q6_k, "q6_k", 256, 128 + 64 + 16 + kHalf},
      {Format::iq4_nl, "iq4_nl", 32, kHalf + 16},
      {Format::iq4_xs, "iq4_xs", 256, kHalf + 2 + 4 + 128}};
  for (auto& [format, name, numbers, bytes] : layouts) {
    EXPECT_TRUE(gguf_blocks(format)) << name;
    EXPECT_EQ(mode_of(format), name);
    EXPECT_EQ(format_of(name), std::nullopt);
    ASSERT_TRUE(block_layout(format)) << name;
    EXPECT_EQ(block_layout(format)->numbers, numbers) << name;
    EXPECT_EQ(block_layout(format)->bytes, bytes) << name;
  }
  for (auto format : {Format::dense, Format::affine, Format::mxfp4, Format::mxfp8, Format::nvfp4}) {
    EXPECT_FALSE(gguf_blocks(format));
    EXPECT_FALSE(block_layout(format));
  }
}

TEST(WeightData, counts_its_inputs_in_every_format) {
  auto inputs = [](Quant q, mx::Shape shape, mx::Dtype dtype) {
    return WeightData{.quant = q,
                      .value = std::make_shared<array>(mx::zeros(shape, dtype)),
                      .scales = {},
                      .zeros = {},
                      .global_scale = {},
                      .bias = {},
                      .adapters = {}}
        .inputs();
  };
  EXPECT_EQ(inputs({Format::dense, 0, 0}, {3, 24}, mx::float32), 24);
  EXPECT_EQ(inputs({Format::affine, 3, 32}, {3, 6}, mx::uint32), 64);
  EXPECT_EQ(inputs({Format::mxfp8, 8, 32}, {3, 8}, mx::uint32), 32);
  EXPECT_EQ(inputs(quant_of_blocks(Format::q4_k), {2, 3, 288}, mx::uint8), 512);
  EXPECT_EQ(inputs(quant_of_blocks(Format::q5_1), {3, 72}, mx::uint8), 96);
}

}  // namespace
}  // namespace mlxcpp::ops
