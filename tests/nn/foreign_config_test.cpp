// config.json's quantization_config where another program wrote it.
#include "mlxcpp/base/error.h"
#include "mlxcpp/nn/foreign.h"
#include "tests/support/errors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>

namespace mlxcpp::nn {
namespace {

using Method = Foreign::Method;

std::optional<Foreign> read(const std::string& block) {
  return Foreign::read(io::Fields::parse(R"({"quantization_config": )" + block + "}"));
}

TEST(ForeignConfig, is_none_where_weights_are_dense_or_mlx_has_packed_them) {
  EXPECT_FALSE(Foreign::read(io::Fields::parse("{}")));
  EXPECT_FALSE(read("null"));
  EXPECT_FALSE(read(R"({"group_size": 64, "bits": 4})"));
  EXPECT_FALSE(read(R"({"group_size": 64, "bits": 4, "mode": "affine", "quant_method": "x"})"));
  EXPECT_FALSE(Foreign::read(io::Fields::parse(R"({"quantization": {"group_size": 64, "bits": 4},
      "quantization_config": {"quant_method": "awq"}})")));
}

TEST(ForeignConfig, of_a_text_model_inside_of_another_is_found) {
  auto f = Foreign::read(io::Fields::parse(
      R"({"text_config": {"quantization_config": {"quant_method": "awq", "bits": 4}}})"));
  ASSERT_TRUE(f);
  EXPECT_EQ(f->method, Method::awq);
}

TEST(ForeignConfig, is_read_as_each_program_writes_it) {
  auto f = read(R"({"quant_method": "awq", "w_bit": 4, "q_group_size": 64, "version": "GEMM",
                    "zero_point": false})");
  EXPECT_EQ(f->schemes.at(0).group_size, 64);
  EXPECT_FALSE(f->schemes.at(0).zeros);
  f = read(R"({"quant_method": "gptq", "bits": 4, "group_size": -1, "desc_act": false})");
  EXPECT_EQ(f->method, Method::gptq);
  EXPECT_EQ(f->schemes.at(0).group_size, 0);
  EXPECT_TRUE(f->zeros_less_one);
  f = read(R"({"quant_method": "gptq", "bits": 4, "checkpoint_format": "gptq_v2",
               "dynamic": {"-:.*gate.*": {}}})");
  EXPECT_FALSE(f->zeros_less_one);
  EXPECT_EQ(f->schemes.at(0).group_size, 128);
  f = read(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {
      "a": {"targets": ["Linear"], "weights": {"num_bits": 8, "group_size": 64,
            "strategy": "group", "symmetric": false, "actorder": "static"}},
      "b": {"weights": {"num_bits": 4, "strategy": "channel"}}}})");
  EXPECT_EQ(f->method, Method::packed_int);
  ASSERT_EQ(f->schemes.size(), 2u);
  EXPECT_EQ(f->schemes[0].bits, 8);
  EXPECT_EQ(f->schemes[0].group_size, 64);
  EXPECT_TRUE(f->schemes[0].zeros);
  EXPECT_EQ(f->schemes[1].group_size, 0);
  EXPECT_FALSE(f->schemes[1].zeros);
  f = read(R"({"quant_method": "compressed-tensors", "config_groups": {"a": {
      "format": "nvfp4-pack-quantized", "weights": {"num_bits": 4, "type": "float"}}}})");
  EXPECT_EQ(f->method, Method::nvfp4);
  f = read(R"({"quant_method": "fp8", "weight_block_size": [64, 32]})");
  EXPECT_EQ(f->block, (std::array{64, 32}));
  EXPECT_FALSE(f->may_be_whole);
  EXPECT_TRUE(read(R"({"quant_method": "fp8", "weight_block_size": null})")->may_be_whole);
}

TEST(ForeignConfig, names_what_we_do_not_have) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({"quant_method": "bitsandbytes"})",
       "quant_method: quantisation method not supported; expected MLX's, awq, gptq, "
       "compressed-tensors or fp8, found \"bitsandbytes\""},
      {R"({"quant_method": "awq", "bits": 3})", "bits: not supported; expected 4, found 3"},
      {R"({"quant_method": "awq", "version": "gemv"})",
       "version: not supported; expected \"gemm\", found \"gemv\""},
      {R"({"quant_method": "awq", "backend": "llm-awq"})",
       "backend: not supported; expected AutoAWQ's, found \"llm-awq\""},
      {R"({"quant_method": "gptq", "bits": 8})", "bits: not supported; expected 4, found 8"},
      {R"({"quant_method": "gptq", "desc_act": true})",
       "desc_act: groups in the order of activations (act-order) are not supported; expected "
       "groups of neighbouring columns, found true"},
      {R"({"quant_method": "gptq", "checkpoint_format": "marlin"})",
       "checkpoint_format: not supported; expected \"gptq\" or \"gptq_v2\", found \"marlin\""},
      {R"({"quant_method": "gptq", "is_marlin_format": true})",
       "checkpoint_format: not supported; expected \"gptq\" or \"gptq_v2\", found marlin"},
      {R"({"quant_method": "gptq", "pack_dtype": "int16"})",
       "pack_dtype: not supported; expected \"int32\", found \"int16\""},
      {R"({"quant_method": "gptq", "dynamic": {"+:.*": {"bits": 8}}})",
       "dynamic: not supported; expected patterns of modules that are left out, found \"+:.*\""},
      {R"({"quant_method": "fp8", "fmt": "e5m2"})",
       "fmt: not supported; expected \"e4m3\", found \"e5m2\""},
      {R"({"quant_method": "fp8", "expert_dtype": "fp4"})",
       "expert_dtype: not supported; expected \"fp8\", found \"fp4\""},
  };
  for (auto& [block, message] : cases)
    EXPECT_EQ(test::message_of<UnsupportedError>([&, b = block] { read(b); }),
              std::string("config.quantization_config.") + message);
}

TEST(ForeignConfig, of_compressed_tensors_names_what_we_do_not_have) {
  auto error = [](const std::string& group, const std::string& more = "") {
    return test::message_of<UnsupportedError>([&] {
      read(R"({"quant_method": "compressed-tensors", "format": "pack-quantized", )" + more +
           R"("config_groups": {"a": )" + group + "}}");
    });
  };
  std::string base = "config.quantization_config.", weights = base + "config_groups.a.weights.";
  EXPECT_EQ(error(R"({"weights": {"num_bits": 3}})"),
            weights + "num_bits: not supported; expected 4 or 8, found 3");
  EXPECT_EQ(error(R"({"weights": {"num_bits": 4, "type": "float"}})"),
            weights + "type: not supported; expected \"int\", found \"float\"");
  EXPECT_EQ(error(R"({"weights": {"num_bits": 4, "strategy": "tensor"}})"),
            weights +
                "strategy: not supported; expected \"group\" or \"channel\", found "
                "\"tensor\"");
  EXPECT_EQ(error(R"({"weights": {"num_bits": 4, "actorder": "group", "group_size": 32}})"),
            weights +
                "actorder: groups in the order of activations (act-order) are not "
                "supported; expected groups of neighbouring columns, found \"group\"");
  EXPECT_EQ(error(R"({"format": "naive-quantized", "weights": {"num_bits": 8}})"),
            base +
                "format: not supported; expected \"pack-quantized\" or "
                "\"nvfp4-pack-quantized\", found \"naive-quantized\"");
  EXPECT_EQ(error(R"({"format": "nvfp4-pack-quantized", "weights": {"num_bits": 4,
                      "type": "float", "group_size": 32}})"),
            weights + "group_size: not supported; expected 16, found 32");
  std::string good = R"({"weights": {"num_bits": 4, "group_size": 32}})";
  EXPECT_EQ(error(good), "no error");
  EXPECT_EQ(error(good, R"("kv_cache_scheme": {"num_bits": 8}, )"),
            base + "kv_cache_scheme: not supported; expected null, found an object");
  EXPECT_EQ(error(good, R"("transform_config": {"config_groups": {}}, )"),
            base + "transform_config: not supported; expected null, found an object");
  EXPECT_EQ(error(good, R"("sparsity_config": {"format": "sparse-24-bitmask"}, )"),
            base +
                "sparsity_config.format: not supported; expected \"dense\", found "
                "\"sparse-24-bitmask\"");
  EXPECT_EQ(error(good, R"("quantization_status": "frozen", )"),
            base +
                "quantization_status: not supported; expected \"compressed\", found "
                "\"frozen\"");
}

TEST(ForeignConfig, refuses_values_that_make_no_sense) {
  auto error = [](const std::string& block) {
    std::string message = test::message_of<ConfigError>([&] { read(block); });
    return message.substr(std::min(message.size(), message.find("config.") + 27));
  };
  for (auto group : {"0", "-2"}) {
    auto block = R"({"quant_method": "awq", "group_size": )" + std::string(group) + "}";
    EXPECT_EQ(error(block), "group_size: expected a positive number, found " + std::string(group));
  }
  EXPECT_EQ(error(R"({"quant_method": "fp8", "weight_block_size": [128, 0]})"),
            "weight_block_size: not a block; expected two positive numbers, found [128,0]");
  EXPECT_EQ(error(R"({"quant_method": "fp8", "weight_block_size": [128]})"),
            "weight_block_size: not a block; expected two positive numbers, found [128]");
  EXPECT_EQ(error(R"({"quant_method": "compressed-tensors", "config_groups": {}})"),
            "config_groups: empty; expected a group");
  EXPECT_EQ(error(R"({"quant_method": "gptq", "bits": "x"})"),
            "bits: expected integer, found string \"x\"");
}

TEST(ForeignConfig, is_for_safetensors) {
  io::WeightFiles npz{io::WeightFiles::Kind::npz, {"model.npz"}, {}};
  EXPECT_EQ(test::message_of<WeightError>([&] {
              load_foreign(npz, {Method::awq, {{}}});
            }),
            "model.npz: not a file that this quantisation method writes; expected safetensors");
}

}  // namespace
}  // namespace mlxcpp::nn
