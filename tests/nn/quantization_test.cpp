// config.json's `quantization`: what is read, and what shapes say where it says nothing.
#include "mlxcpp/base/error.h"
#include "mlxcpp/nn/weights.h"
#include "tests/support/errors.h"
#include "tests/support/packed.h"

#include <gtest/gtest.h>

namespace mlxcpp::nn {
namespace {

using ops::Format;
using ops::Quant;

Quantization read(const std::string& text) { return Quantization::read(io::Fields::parse(text)); }
std::string error_of(const std::string& block) {
  return test::message_of<ConfigError>([&] { read(R"({"quantization": )" + block + "}"); });
}

TEST(QuantizationBlock, absent_means_that_nothing_is_packed) {
  for (auto text : {"{}", R"({"quantization": null})", R"({"quantization_config": null})"}) {
    EXPECT_EQ(read(text).all, std::nullopt) << text;
    EXPECT_TRUE(read(text).exceptions.empty()) << text;
  }
}

TEST(QuantizationBlock, with_group_and_bits_alone_is_affine) {
  EXPECT_EQ(read(R"({"quantization": {"group_size": 32, "bits": 6}})").all,
            (Quant{Format::affine, 6, 32}));
}

TEST(QuantizationBlock, names_each_mode) {
  for (const Quant& q : test::all_quants()) {
    std::string text = R"({"quantization": {"group_size": )" + std::to_string(q.group_size) +
                       R"(, "bits": )" + std::to_string(q.bits) + R"(, "mode": ")" +
                       ops::mode_of(q.format) + "\"}}";
    EXPECT_EQ(read(text).all, q) << text;
  }
}

TEST(QuantizationBlock, has_an_entry_for_single_paths) {
  Quantization q = read(R"({"quantization": {
      "group_size": 64, "bits": 4, "quant_method": "x", "linear_class": "y",
      "a.own": {"group_size": 32, "bits": 8},
      "a.mx": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
      "a.dense": false, "a.other": true, "a.null": null}})");
  EXPECT_EQ(q.all, (Quant{Format::affine, 4, 64}));
  ASSERT_EQ(q.exceptions.size(), 3u);
  EXPECT_EQ(q.exceptions.at("a.own"), (Quant{Format::affine, 8, 32}));
  EXPECT_EQ(q.exceptions.at("a.mx"), (Quant{Format::mxfp4, 4, 32}));
  EXPECT_EQ(q.exceptions.at("a.dense"), std::nullopt);
}

TEST(QuantizationBlock, of_a_path_does_not_inherit_the_mode_of_the_others) {
  Quantization q = read(R"({"quantization": {"group_size": 32, "bits": 4, "mode": "mxfp4",
      "a": {"group_size": 64, "bits": 8}}})");
  EXPECT_EQ(q.exceptions.at("a"), (Quant{Format::affine, 8, 64}));
}

TEST(QuantizationBlock, in_quantization_config_counts_when_the_other_is_absent) {
  EXPECT_EQ(read(R"({"quantization_config": {"group_size": 64, "bits": 4}})").all,
            (Quant{Format::affine, 4, 64}));
  EXPECT_EQ(read(R"({"quantization": {"group_size": 32, "bits": 8},
                     "quantization_config": {"quant_method": "x", "bits": 4}})")
                .all,
            (Quant{Format::affine, 8, 32}));
}

TEST(QuantizationBlock, leaves_no_key_unread) {
  auto fields = io::Fields::parse(R"({"quantization": {"group_size": 64, "bits": 4,
      "mode": "affine", "quant_method": "x", "linear_class": "y", "quantization_mode": "z",
      "a": {"group_size": 32, "bits": 8}, "b": false, "c": true}})");
  Quantization::read(fields);
  EXPECT_EQ(fields.unread(), std::vector<std::string>{});
}

TEST(QuantizationErrors, another_method_is_not_supported_whatever_keys_it_shares_with_mlx) {
  const std::pair<const char*, const char*> blocks[] = {
      {"bitsandbytes", R"("load_in_4bit": true)"},
      {"gptq", R"("bits": 4, "group_size": 128, "sym": true)"},
      {"awq", R"("bits": 4, "group_size": 128, "version": "gemm")"},
      {"fp8", R"("weight_block_size": [128, 128])"}};
  for (auto& [method, others] : blocks) {
    std::string text = R"({"quantization_config": {"quant_method": ")" + std::string(method) +
                       "\", " + others + "}}";
    EXPECT_EQ(test::message_of<UnsupportedError>([&] { read(text); }),
              "config.quantization_config.quant_method: quantisation method not supported; "
              "expected an MLX quantisation, found \"" +
                  std::string(method) + "\"");
  }
}

TEST(QuantizationErrors, name_the_key_and_what_it_may_be) {
  EXPECT_EQ(error_of(R"({"group_size": 64, "bits": 4, "mode": "int4"})"),
            "config.quantization.mode: unknown; expected affine, mxfp4, mxfp8 or nvfp4, "
            "found \"int4\"");
  EXPECT_EQ(error_of(R"({"group_size": 64, "bits": 7})"),
            "config.quantization.bits: not supported in mode affine; expected 2, 3, 4, 5, 6, 8, "
            "found 7");
  EXPECT_EQ(error_of(R"({"group_size": 16, "bits": 4})"),
            "config.quantization.group_size: not supported in mode affine; expected 32, 64, 128, "
            "found 16");
  EXPECT_EQ(error_of(R"({"group_size": 64, "bits": 4, "mode": "mxfp4"})"),
            "config.quantization.group_size: not supported in mode mxfp4; expected 32, found 64");
  EXPECT_EQ(error_of(R"({"group_size": 64, "bits": 4, "a.b": {"group_size": 64, "bits": 1}})"),
            "config.quantization.a.b.bits: not supported in mode affine; expected 2, 3, 4, 5, 6, "
            "8, found 1");
  EXPECT_EQ(error_of(R"({"group_size": 64, "bits": 4, "a.b": 3})"),
            "config.quantization.a.b: wrong type; expected an object, true or false, found 3");
}

TEST(QuantizationErrors, miss_what_is_required) {
  for (auto block : {R"({"group_size": 64})",
                     R"({"bits": 4})",
                     "{}",
                     R"({"group_size": 64, "bits": null})",
                     R"({"group_size": 64, "bits": 4, "a": {"bits": 4}})",
                     R"({"group_size": 64, "bits": 4.0})",
                     R"({"group_size": 64, "bits": true})",
                     "4"})
    EXPECT_NE(error_of(block), "no error") << block;
}

/// What shapes of an input of 128 say about this form.
PackedShape shape_of(const Quant& q) {
  return {.inputs = 128,
          .columns = 128 * q.bits / 32,
          .groups = 128 / q.group_size,
          .affine = q.format == Format::affine};
}

TEST(QuantizationOfPath, follows_the_shapes_where_no_entry_names_it) {
  Quantization q{.all = Quant{Format::affine, 4, 64}, .exceptions = {}};
  for (const Quant& form : test::all_quants())
    EXPECT_EQ(q.of("a", shape_of(form)), form) << test::quant_name(form);
}

TEST(QuantizationOfPath, follows_its_entry_whatever_the_shapes_say) {
  Quantization q{.all = Quant{Format::affine, 4, 64},
                 .exceptions = {{"a", Quant{Format::affine, 8, 32}}, {"b", std::nullopt}}};
  EXPECT_EQ(q.of("a", shape_of({Format::affine, 2, 128})), (Quant{Format::affine, 8, 32}));
  EXPECT_EQ(q.of("b", shape_of({Format::affine, 2, 128})), std::nullopt);
}

TEST(QuantizationOfPath, is_nothing_in_a_checkpoint_without_a_block) {
  EXPECT_EQ(Quantization{}.of("a", shape_of({Format::affine, 4, 64})), std::nullopt);
}

TEST(QuantizationOfPath, falls_back_to_the_common_form_where_shapes_fit_no_kernel) {
  Quant all{Format::affine, 4, 64};
  Quantization q{.all = all, .exceptions = {}};
  EXPECT_EQ(q.of("a", {.inputs = 128, .columns = 28, .groups = 4, .affine = true}), all);
  EXPECT_EQ(q.of("a", {.inputs = 128, .columns = 16, .groups = 8, .affine = true}), all);
  EXPECT_EQ(q.of("a", {.inputs = 128, .columns = 17, .groups = 3, .affine = true}), all);
  EXPECT_EQ(q.of("a", {.inputs = 128, .columns = 0, .groups = 0, .affine = true}), all);
  EXPECT_EQ(q.of("a", {.inputs = 0, .columns = 16, .groups = 2, .affine = true}), all);
  EXPECT_EQ(q.of("a", {.inputs = 128, .columns = 16, .groups = 2, .affine = false}), all);
}

}  // namespace
}  // namespace mlxcpp::nn
