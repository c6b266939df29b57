// Configs and checkpoints that an architecture refuses, and what it says.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/nn/checkpoint.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <string>

namespace mlxcpp::lm {
namespace {

using nlohmann::json;

/// What loading a golden's model says after some keys of its config changed (paths, such as
/// "text_config.vocab_size"; null: absent), and without one of its tensors.
std::string refusal(const std::string& golden,
                    const std::map<std::string, json>& changes,
                    const std::string& missing = "") {
  auto file = test::golden_files(golden + ".safetensors").at(0);
  test::TempDir dir;
  test::write_model(dir.path(), file);
  json config = json::parse(test::Golden::read(file).metadata.at("config"));
  for (auto& [key, value] : changes) {
    std::string path = "/" + key;
    std::ranges::replace(path, '.', '/');
    config[json::json_pointer(path)] = value;
  }
  auto text = config.dump();
  LoadedModel loaded{.config = parse_config(text),
                     .config_json = text,
                     .weights = nn::load_safetensors(io::find_weight_files(dir.path())),
                     .quantization = nn::Quantization::read(io::Fields::parse(text))};
  if (!missing.empty()) EXPECT_EQ(loaded.weights.erase(missing), 1u) << missing;
  ModelTypeRegistry registry;
  add_models(registry);
  return test::message_of<Error>([&] { registry.create(loaded); });
}

TEST(DeepseekV3, refuses_groups_of_experts_that_do_not_fit) {
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"n_group", 3}}),
            "config.n_routed_experts: expected a multiple of n_group (3), found 8");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"n_group", 0}}),
            "config.n_group: expected a positive number, found 0");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"topk_group", 5}}),
            "config.topk_group: expected a number from 1 to 4, found 5");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"num_experts_per_tok", 9}}),
            "config.num_experts_per_tok: expected a number from 1 to 4, found 9");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"num_experts_per_tok", 5}}),
            "config.num_experts_per_tok: expected a number from 1 to 4, found 5")
      << "two groups of two are open";
}

TEST(DeepseekV3, refuses_routers_that_it_does_not_know) {
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"topk_method", "greedy"}}),
            "config.topk_method: not supported; expected noaux_tc, found greedy");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"scoring_func", "softmax"}}),
            "config.scoring_func: not supported; expected sigmoid, found softmax");
}

TEST(DeepseekV3, refuses_numbers_that_nothing_can_be_made_of) {
  for (std::string key : {"n_routed_experts",
                          "moe_intermediate_size",
                          "n_shared_experts",
                          "moe_layer_freq",
                          "vocab_size",
                          "hidden_size"})
    EXPECT_EQ(refusal("deepseek_v3_plain", {{key, 0}}),
              "config." + key + ": expected a positive number, found 0");
  for (std::string key :
       {"kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"})
    EXPECT_EQ(refusal("deepseek_v3_plain", {{key, 0}}),
              "config." + key + ": expected a number from 1 to 1073741823, found 0");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"qk_nope_head_dim", 1 << 29}}),
            "config.qk_nope_head_dim: expected a product that fits 32 bits, found 4 * 536870920");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"n_shared_experts", 1 << 30}}),
            "config.n_shared_experts: expected a product that fits 32 bits, found 32 * 1073741824");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"partial_rotary_factor", 0.5}}),
            "config.partial_rotary_factor: expected a number from 1.0 to 1.0, found 0.5");
}

TEST(DeepseekV3, refuses_scales_of_the_softmax_that_are_none) {
  EXPECT_EQ(refusal("deepseek_v3_rope_yarn", {{"rope_scaling.mscale_all_dim", "x"}}),
            "config.rope_scaling.mscale_all_dim: expected number, found string \"x\"");
  EXPECT_EQ(refusal("deepseek_v3_rope_linear_mscale", {{"rope_scaling.factor", nullptr}}),
            "config.rope_scaling.factor: missing for rope type linear");
  EXPECT_EQ(refusal("deepseek_v3_rope_yarn", {{"rope_scaling.mscale_all_dim", 1e30}}),
            "config.rope_scaling.mscale_all_dim: expected a positive number, found Infinity");
}

TEST(DeepseekV3, names_an_expert_or_a_tensor_that_is_not_there) {
  EXPECT_EQ(refusal("deepseek_v3_plain", {}, "model.layers.1.mlp.experts.5.up_proj.weight"),
            "model.layers.1.mlp.switch_mlp.up_proj.weight: expert 5 is missing; expected 8 "
            "experts, found 7");
  EXPECT_EQ(refusal("deepseek_v3_plain", {}, "model.layers.0.self_attn.kv_b_proj.weight"),
            "model.layers.0.self_attn.embed_q.weight: missing; expected shape (4, 32, 32), found "
            "no such tensor");
  EXPECT_EQ(refusal("deepseek_v3_plain", {}, "model.layers.1.mlp.gate.e_score_correction_bias"),
            "model.layers.1.mlp.gate.e_score_correction_bias: missing; expected shape (8), found "
            "no such tensor");
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"v_head_dim", 8}}),
            "model.layers.0.self_attn.kv_b_proj.weight: wrong shape; expected (160, 32), found "
            "(192, 32)");
}

TEST(DeepseekV3, leaves_out_layers_beyond_the_last_as_multi_token_prediction_has_them) {
  EXPECT_EQ(refusal("deepseek_v3_plain", {{"num_hidden_layers", 2}}), "no error");
}

TEST(DeepseekV32, refuses_indexers_that_do_not_fit) {
  for (std::string key : {"index_n_heads", "index_topk"})
    EXPECT_EQ(refusal("deepseek_v32_plain", {{key, 0}}),
              "config." + key + ": expected a positive number, found 0");
  EXPECT_EQ(refusal("deepseek_v32_plain", {{"index_head_dim", 6}}),
            "config.index_head_dim: expected a number from 8 to 2147483647, found 6");
  EXPECT_EQ(refusal("deepseek_v32_plain", {{"index_head_dim", 1 << 30}}),
            "config.index_head_dim: expected a product that fits 32 bits, found 8 * 1073741824");
  EXPECT_EQ(refusal("deepseek_v32_plain", {}, "model.layers.1.self_attn.indexer.k_norm.bias"),
            "model.layers.1.self_attn.indexer.k_norm.bias: missing; expected shape (16), found no "
            "such tensor");
}

TEST(DeepseekV32, needs_a_known_type_for_each_layer) {
  EXPECT_EQ(refusal("deepseek_v32_plain", {{"mlp_layer_types", {"dense", "sparse"}}}),
            "config.mlp_layer_types: wrong length; expected 3, found 2");
  EXPECT_EQ(refusal("deepseek_v32_plain", {{"mlp_layer_types", {"dense", "moe", "sparse"}}}),
            "config.mlp_layer_types: unknown type; expected dense or sparse, found moe");
}

TEST(FalconH1, needs_widths_that_fit) {
  EXPECT_EQ(refusal("falcon_h1_plain", {{"mamba_d_ssm", 50}}),
            "config.mamba_d_ssm: expected a multiple of mamba_n_heads (6), found 50");
  EXPECT_EQ(refusal("falcon_h1_plain", {{"mamba_d_head", 9}}),
            "config.mamba_d_head: not the width of a head; expected 8, found 9");
  EXPECT_EQ(refusal("falcon_h1_plain", {{"mamba_n_heads", 0}}),
            "config.mamba_n_heads: expected a positive number, found 0");
  EXPECT_EQ(refusal("falcon_h1_plain", {{"mamba_n_groups", 4}}),
            "config.mamba_n_heads: expected a multiple of mamba_n_groups (4), found 6");
  EXPECT_EQ(refusal("falcon_h1_expand", {{"mamba_expand", 1 << 30}}),
            "config.mamba_expand: expected a product that fits 32 bits, found 1073741824 * 32");
}

TEST(FalconH1, needs_a_kernel_that_tells_the_layouts_apart) {
  EXPECT_EQ(refusal("falcon_h1_plain", {{"mamba_d_conv", 1}}),
            "config.mamba_d_conv: expected a number from 2 to 2147483647, found 1");
}

TEST(FalconH1, needs_a_multiplier_for_each_part) {
  EXPECT_EQ(refusal("falcon_h1_plain", {{"mlp_multipliers", json::array({0.5})}}),
            "config.mlp_multipliers: wrong length; expected 2, found 1");
  EXPECT_EQ(refusal("falcon_h1_plain", {{"ssm_multipliers", json::array({1, 1, 1, 1})}}),
            "config.ssm_multipliers: wrong length; expected 5, found 4");
}

TEST(FalconH1, refuses_biases_that_conversion_left_as_they_were) {
  for (auto key : {"attention_bias", "mlp_bias", "mamba_proj_bias", "projectors_bias"})
    EXPECT_EQ(refusal("falcon_h1_converted", {{key, true}}),
              "config." + std::string(key) +
                  ": mlx-lm's conversion multiplied weights but no biases; expected false, or the "
                  "original checkpoint, found true");
}

TEST(Gemma3Text, needs_a_type_for_each_layer) {
  EXPECT_EQ(refusal("gemma3_text_plain", {{"layer_types", json::array({"full_attention"})}}),
            "config.layer_types: wrong length; expected 3, found 1");
  EXPECT_EQ(refusal("gemma3_text_plain",
                    {{"layer_types", {"full_attention", "chunked_attention", "full_attention"}}}),
            "config.layer_types: unknown type; expected full_attention or sliding_attention, found "
            "chunked_attention");
}

TEST(Gemma3Text, has_the_extents_of_published_models_where_the_config_has_none) {
  EXPECT_EQ(refusal("gemma3_text_plain", {{"vocab_size", nullptr}}),
            "model.embed_tokens.weight: wrong shape; expected (262208, 64), found (128, 64)");
  EXPECT_EQ(refusal("gemma3_text_plain", {{"hidden_size", nullptr}}),
            "config.hidden_size: missing; expected integer");
}

TEST(Gemma3Text, refuses_numbers_that_nothing_can_be_divided_by) {
  EXPECT_EQ(refusal("gemma3_text_plain", {{"sliding_window_pattern", 0}}),
            "config.sliding_window_pattern: expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma3_text_plain", {{"sliding_window", 0}}),
            "config.sliding_window: expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma3_text_plain", {{"query_pre_attn_scalar", 0}}),
            "config.query_pre_attn_scalar: expected a positive number, found 0.0");
  EXPECT_EQ(refusal("gemma3_text_plain", {{"final_logit_softcapping", -1}}),
            "config.final_logit_softcapping: expected a positive number, found -1.0");
}

TEST(Gemma3Text, refuses_attention_that_sees_what_comes) {
  EXPECT_EQ(refusal("gemma3_text_plain", {{"use_bidirectional_attention", true}}),
            "config.use_bidirectional_attention: embeddings' attention is not supported; expected "
            "false, found true");
}

TEST(Gemma3Text, names_a_tensor_that_is_not_there) {
  EXPECT_EQ(refusal("gemma3_text_plain", {}, "model.layers.1.self_attn.k_norm.weight"),
            "model.layers.1.self_attn.k_norm.weight: missing; expected shape (24), found no such "
            "tensor");
}

TEST(Gemma3n, needs_a_width_and_a_sparsity_for_each_layer) {
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.intermediate_size", {48, 48}}}),
            "config.text_config.intermediate_size: wrong length; expected 4, found 2");
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.intermediate_size", {48, 48, 0, 32}}}),
            "config.text_config.intermediate_size: expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.intermediate_size", json::array()}}),
            "config.text_config.intermediate_size: wrong length; expected 4, found 0");
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.activation_sparsity_pattern", {0.5}}}),
            "config.text_config.activation_sparsity_pattern: wrong length; expected 4, found 1");
  EXPECT_EQ(
      refusal("gemma3n_plain", {{"text_config.activation_sparsity_pattern", {0.5, 1.0, 0.0, 0.0}}}),
      "config.text_config.activation_sparsity_pattern: expected a number from 0.0 to 0.9999, "
      "found 1.0");
}

TEST(Gemma3n, refuses_streams_that_are_none) {
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.altup_num_inputs", 0}}),
            "config.text_config.altup_num_inputs: expected a positive number, found 0");
  EXPECT_EQ(
      refusal("gemma3n_plain", {{"text_config.altup_num_inputs", 1 << 16}}),
      "config.text_config.altup_num_inputs: expected a product that fits 32 bits, found 65536 "
      "* 65536");
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.altup_active_idx", 3}}),
            "config.text_config.altup_active_idx: expected a number from 0 to 2, found 3");
}

TEST(Gemma3n, refuses_extents_that_are_none) {
  for (std::string key :
       {"laurel_rank", "hidden_size_per_layer_input", "vocab_size_per_layer_input"})
    EXPECT_EQ(refusal("gemma3n_plain", {{"text_config." + key, 0}}),
              "config.text_config." + key + ": expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.hidden_size_per_layer_input", 1 << 30}}),
            "config.text_config.hidden_size_per_layer_input: expected a product that fits 32 bits, "
            "found 4 * 1073741824");
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.final_logit_softcapping", 0}}),
            "config.text_config.final_logit_softcapping: expected a positive number, found 0.0");
  EXPECT_EQ(refusal("gemma3n_plain", {{"text_config.num_kv_shared_layers", 4}}),
            "config.text_config.num_kv_shared_layers: expected a number from 0 to 3, found 4");
}

TEST(Gemma4Text, refuses_layers_that_read_keys_of_no_layer) {
  EXPECT_EQ(refusal("gemma4_text_plain", {{"num_kv_shared_layers", 4}}),
            "config.num_kv_shared_layers: expected a number from 0 to 3, found 4");
  EXPECT_EQ(refusal("gemma4_text_plain", {{"num_kv_shared_layers", 3}}),
            "config.num_kv_shared_layers: no layer of its type has keys for layer 1; expected one "
            "of the first 1, found none");
  EXPECT_EQ(refusal("gemma4_text_plain",
                    {{"per_layer_config", {{"1", {{"head_dim", 16}}}, {"3", {{"head_dim", 8}}}}}}),
            "config.num_kv_shared_layers: layer 3 can not read keys of layer 1; expected head_dim "
            "8, found 16");
}

TEST(Gemma4Text, refuses_heads_that_do_not_fit) {
  EXPECT_EQ(refusal("gemma4_text_plain", {{"global_head_dim", 0}}),
            "config.global_head_dim: expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma4_text_plain", {{"global_head_dim", 1 << 30}}),
            "config.global_head_dim: expected a product that fits 32 bits, found 4 * 1073741824");
  EXPECT_EQ(
      refusal("gemma4_text_global_kv_heads", {{"num_global_key_value_heads", 3}}),
      "config.num_attention_heads: expected a multiple of num_global_key_value_heads (3), found 4");
  EXPECT_EQ(refusal("gemma4_text_global_kv_heads", {{"num_global_key_value_heads", 0}}),
            "config.num_global_key_value_heads: expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma4_text_per_layer_config", {{"per_layer_config.1.head_dim", -1}}),
            "config.per_layer_config.1.head_dim: expected a positive number, found -1");
  EXPECT_EQ(
      refusal("gemma4_text_per_layer_config", {{"per_layer_config.1.num_key_value_heads", 3}}),
      "config.num_attention_heads: expected a multiple of num_key_value_heads (3), found 4");
}

TEST(Gemma4Text, refuses_what_it_can_not_honour_in_a_single_layer) {
  EXPECT_EQ(refusal("gemma4_text_per_layer_config", {{"per_layer_config.1.sliding_window", 4}}),
            "config.per_layer_config.1.sliding_window: not supported for a single layer; expected "
            "head_dim or num_key_value_heads");
  for (auto key : {"4", "-1", "1x", "", "99999999999"})
    EXPECT_EQ(
        refusal("gemma4_text_per_layer_config", {{"per_layer_config", {{key, json::object()}}}}),
        std::string("config.per_layer_config.") + key + ": expected a number from 0 to 3, found " +
            (key == std::string("4") ? "4" : "-1"));
}

TEST(Gemma4Text, refuses_extents_that_are_none) {
  EXPECT_EQ(refusal("gemma4_text_plain", {{"hidden_size_per_layer_input", -1}}),
            "config.hidden_size_per_layer_input: expected a number from 0 to 2147483647, found -1");
  EXPECT_EQ(refusal("gemma4_text_plain", {{"hidden_size_per_layer_input", 1 << 30}}),
            "config.hidden_size_per_layer_input: expected a product that fits 32 bits, found 4 * "
            "1073741824");
  EXPECT_EQ(refusal("gemma4_text_plain", {{"vocab_size_per_layer_input", 0}}),
            "config.vocab_size_per_layer_input: expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma4_text_double_wide", {{"intermediate_size", 1 << 30}}),
            "config.intermediate_size: expected a product that fits 32 bits, found 2 * 1073741824");
  EXPECT_EQ(refusal("gemma4_text_plain", {{"final_logit_softcapping", 0}}),
            "config.final_logit_softcapping: expected a positive number, found 0.0");
  EXPECT_EQ(
      refusal("gemma4_text_plain", {{"rope_parameters.full_attention.partial_rotary_factor", 1.5}}),
      "config.rope_parameters.full_attention.partial_rotary_factor: expected a number from 0.0 to "
      "1.0, found 1.5");
}

TEST(Gemma4Text, refuses_experts_that_can_not_be_chosen) {
  EXPECT_EQ(refusal("gemma4_text_moe", {{"num_experts", 0}}),
            "config.num_experts: expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma4_text_moe", {{"top_k_experts", 5}}),
            "config.top_k_experts: expected a number from 1 to 4, found 5");
  EXPECT_EQ(refusal("gemma4_text_moe", {{"moe_intermediate_size", 0}}),
            "config.moe_intermediate_size: expected a positive number, found 0");
  EXPECT_EQ(
      refusal("gemma4_text_moe", {{"moe_intermediate_size", 1 << 30}}),
      "config.moe_intermediate_size: expected a product that fits 32 bits, found 2 * 1073741824");
  EXPECT_EQ(refusal("gemma4_text_moe", {{"moe_intermediate_size", 23}}),
            "model.layers.0.experts.switch_glu.gate_up_proj.weight: wrong shape; expected 46 "
            "outputs, found (4, 48, 64)");
  EXPECT_EQ(refusal("gemma4_text_moe", {{"num_experts", nullptr}}),
            "config.num_experts: missing; expected integer");
}

TEST(Gemma4Text, refuses_text_that_sees_what_comes) {
  EXPECT_EQ(refusal("gemma4_text_plain", {{"use_bidirectional_attention", "all"}}),
            "config.use_bidirectional_attention: attention of text to what follows is not "
            "supported; expected vision, found all");
}

TEST(Gemma4, names_keys_inside_of_the_text_part) {
  EXPECT_EQ(
      refusal("gemma4_plain", {{"text_config.hidden_activation", "mish"}}),
      "config.text_config.hidden_activation: activation not supported; expected silu, gelu or "
      "gelu_pytorch_tanh, found mish");
  EXPECT_EQ(refusal("gemma4_plain", {{"text_config", nullptr}}),
            "config.text_config: missing; expected object");
}

TEST(GlmMoeDsa, needs_an_indexer_before_layers_that_share_its_choice) {
  EXPECT_EQ(refusal("glm_moe_dsa_plain", {{"indexer_types", {"shared", "full", "full"}}}),
            "config.indexer_types: nothing to share yet; expected a first layer with an indexer, "
            "found none");
  EXPECT_EQ(refusal("glm_moe_dsa_plain", {{"indexer_types", {"full", "shared"}}}),
            "config.indexer_types: wrong length; expected 3, found 2");
  EXPECT_EQ(refusal("glm_moe_dsa_plain", {{"index_topk_pattern", "FXS"}}),
            "config.index_topk_pattern: unknown type; expected full or shared, found X");
  EXPECT_EQ(refusal("glm_moe_dsa_plain", {{"index_topk_pattern", "FS"}}),
            "config.index_topk_pattern: wrong length; expected 3, found 2");
  EXPECT_EQ(refusal("glm_moe_dsa_plain", {{"index_topk_freq", 0}}),
            "config.index_topk_freq: expected a positive number, found 0");
  EXPECT_EQ(refusal("glm_moe_dsa_plain", {{"index_topk_freq", 2}, {"index_skip_topk_offset", 0}}),
            "config.index_topk_freq: nothing to share yet; expected a first layer with an indexer, "
            "found none");
  EXPECT_EQ(refusal("glm_moe_dsa_plain", {{"index_skip_topk_offset", -1}}),
            "config.index_skip_topk_offset: expected a number from 0 to 2147483647, found -1");
}

TEST(Lfm2, needs_a_known_type_for_each_layer) {
  EXPECT_EQ(refusal("lfm2_layer_types", {{"layer_types", {"conv", "full_attention"}}}),
            "config.layer_types: wrong length; expected 3, found 2");
  EXPECT_EQ(refusal("lfm2_layer_types", {{"layer_types", {"conv", "mamba", "full_attention"}}}),
            "config.layer_types: unknown type; expected conv or full_attention, found mamba");
}

TEST(Lfm2, refuses_widths_that_are_none) {
  EXPECT_EQ(refusal("lfm2_plain", {{"conv_L_cache", 0}}),
            "config.conv_L_cache: expected a positive number, found 0");
  EXPECT_EQ(refusal("lfm2_plain", {{"block_multiple_of", 0}}),
            "config.block_multiple_of: expected a positive number, found 0");
  EXPECT_EQ(refusal("lfm2_plain", {{"block_ffn_dim_multiplier", 1e30}}),
            "config.block_ffn_dim_multiplier: expected a number from 1.0 to 2147483647.0, found "
            "4e+31");
  EXPECT_EQ(refusal("lfm2_plain", {}, "model.layers.0.conv.conv.weight"),
            "model.layers.0.conv.conv.weight: missing; expected shape (32, 3, 1), found no such "
            "tensor");
}

TEST(Mamba2, refuses_extents_that_do_not_fit) {
  EXPECT_EQ(refusal("mamba2_plain", {{"n_groups", 3}}),
            "config.num_heads: expected a multiple of n_groups (3), found 8");
  EXPECT_EQ(refusal("mamba2_plain", {{"conv_kernel", 0}}),
            "config.conv_kernel: expected a positive number, found 0");
  EXPECT_EQ(refusal("mamba2_plain", {{"num_hidden_layers", -1}}),
            "config.num_hidden_layers: expected a positive number, found -1");
  EXPECT_EQ(refusal("mamba2_plain", {{"hidden_size", nullptr}}),
            "config.hidden_size: missing; expected integer");
}

TEST(Mamba2, refuses_an_unknown_activation_and_half_a_range) {
  EXPECT_EQ(refusal("mamba2_plain", {{"hidden_act", "mish"}}),
            "config.hidden_act: activation not supported; expected silu, gelu or "
            "gelu_pytorch_tanh, found mish");
  EXPECT_EQ(refusal("mamba2_plain", {{"time_step_limit", json::array({0.5})}}),
            "config.time_step_limit: not a range; expected the least and the most, found 0.500000");
}

TEST(Mamba2, names_a_tensor_that_is_not_there) {
  EXPECT_EQ(refusal("mamba2_plain", {}, "backbone.layers.1.mixer.A_log"),
            "model.layers.1.mixer.A_log: missing; expected shape (8), found no such tensor");
}

TEST(Qwen35, says_where_in_the_text_part_a_number_can_not_be) {
  EXPECT_EQ(refusal("qwen3_5_plain", {{"text_config.linear_conv_kernel_dim", 1}}),
            "config.text_config.linear_conv_kernel_dim: expected a number from 2 to 2147483647, "
            "found 1");
  EXPECT_EQ(refusal("qwen3_5_plain", {{"text_config.layer_types", json::array({"conv"})}}),
            "config.text_config.layer_types: wrong length; expected 2, found 1");
  EXPECT_EQ(refusal("qwen3_5_plain", {{"text_config.head_dim", 300000000}}),
            "config.text_config.head_dim: expected a product that fits 32 bits, found 2 * "
            "1200000000");
  EXPECT_EQ(refusal("qwen3_5_plain", {{"text_config.hidden_act", "tanh"}}),
            "config.text_config.hidden_act: activation not supported; expected silu, gelu or "
            "gelu_pytorch_tanh, found tanh");
  EXPECT_EQ(refusal("qwen3_5_text_plain", {{"linear_num_key_heads", 3}}),
            "config.linear_num_value_heads: expected a multiple of linear_num_key_heads (3), found "
            "4");
}

TEST(Qwen35, names_a_projection_that_is_not_there) {
  EXPECT_EQ(
      refusal("qwen3_5_plain", {}, "model.language_model.layers.0.linear_attn.in_proj_z.weight"),
      "model.layers.0.linear_attn.in_proj_z.weight: missing; expected shape (32, 32), found "
      "no such tensor");
}

TEST(Qwen35Moe, needs_as_many_experts_as_are_chosen_and_all_of_them) {
  EXPECT_EQ(refusal("qwen3_5_moe_plain", {{"text_config.num_experts_per_tok", 5}}),
            "config.text_config.num_experts_per_tok: expected a number from 1 to 4, found 5");
  EXPECT_EQ(refusal("qwen3_5_moe_plain", {{"text_config.num_experts", nullptr}}),
            "config.text_config.num_experts: missing; expected integer");
  EXPECT_EQ(refusal("qwen3_5_moe_plain", {{"text_config.moe_intermediate_size", 15}}),
            "model.layers.0.mlp.switch_mlp.gate_up_proj.weight: wrong shape; expected 30 outputs, "
            "found (4, 32, 32)");
  EXPECT_EQ(refusal("qwen3_5_moe_one_by_one",
                    {},
                    "model.language_model.layers.1.mlp.experts.2.down_proj.weight"),
            "model.layers.1.mlp.switch_mlp.down_proj.weight: expert 2 is missing; expected 4 "
            "experts, found 3");
}

TEST(Qwen3Next, needs_a_known_type_for_each_layer_and_a_linear_one) {
  EXPECT_EQ(refusal("qwen3_next_plain", {{"layer_types", json::array({"linear_attention"})}}),
            "config.layer_types: wrong length; expected 2, found 1");
  EXPECT_EQ(refusal("qwen3_next_plain", {{"layer_types", {"linear_attention", "mamba"}}}),
            "config.layer_types: unknown type; expected linear_attention or full_attention, found "
            "mamba");
  EXPECT_EQ(refusal("qwen3_next_plain", {{"full_attention_interval", 1}}),
            "config.layer_types: attention alone is not supported; expected a layer of "
            "linear_attention, found none");
}

TEST(Qwen3Next, refuses_numbers_that_can_not_be) {
  EXPECT_EQ(refusal("qwen3_next_plain", {{"linear_num_value_heads", 5}}),
            "config.linear_num_value_heads: expected a multiple of linear_num_key_heads (2), found "
            "5");
  EXPECT_EQ(refusal("qwen3_next_plain", {{"num_experts_per_tok", 5}}),
            "config.num_experts_per_tok: expected a number from 1 to 4, found 5");
  EXPECT_EQ(refusal("qwen3_next_plain", {{"decoder_sparse_step", 0}}),
            "config.decoder_sparse_step: expected a positive number, found 0");
  EXPECT_EQ(refusal("qwen3_next_plain", {{"head_dim", 300000000}}),
            "config.head_dim: expected a product that fits 32 bits, found 2 * 1200000000");
  EXPECT_EQ(refusal("qwen3_next_plain", {{"hidden_act", "tanh"}}),
            "config.hidden_act: activation not supported; expected silu, gelu or "
            "gelu_pytorch_tanh, found tanh");
}

TEST(Qwen3Next, names_an_expert_or_a_convolution_that_is_not_there) {
  EXPECT_EQ(refusal("qwen3_next_plain", {}, "model.layers.0.mlp.experts.1.up_proj.weight"),
            "model.layers.0.mlp.switch_mlp.up_proj.weight: expert 1 is missing; expected 4 "
            "experts, found 3");
  EXPECT_EQ(refusal("qwen3_next_plain", {}, "model.layers.0.linear_attn.conv1d.weight"),
            "model.layers.0.linear_attn.conv1d.weight: missing; expected shape (80, 4, 1), found "
            "no such tensor");
}

TEST(NemotronH, needs_a_known_mixer_for_each_layer) {
  EXPECT_EQ(refusal("nemotron_h_plain", {{"hybrid_override_pattern", "M-*E"}}),
            "config.hybrid_override_pattern: wrong length; expected 5, found 4");
  EXPECT_EQ(refusal("nemotron_h_plain", {{"hybrid_override_pattern", "M-*EX"}}),
            "config.hybrid_override_pattern: unknown type; expected M or * or - or E, found X");
  EXPECT_EQ(refusal("nemotron_h_plain", {{"hybrid_override_pattern", nullptr}}),
            "config.hybrid_override_pattern: missing; expected string");
  EXPECT_EQ(refusal("nemotron_h_layer_types", {{"layer_types", {"mamba", "mlp"}}}),
            "config.layer_types: wrong length; expected 5, found 2");
  EXPECT_EQ(
      refusal("nemotron_h_layer_types", {{"layer_types", {"mamba", "mlp", "conv", "moe", "mlp"}}}),
      "config.layer_types: unknown type; expected linear_attention or full_attention or mlp or moe "
      "or mamba or attention, found conv");
}

TEST(NemotronH, needs_enough_experts_in_whole_groups) {
  EXPECT_EQ(refusal("nemotron_h_plain", {{"n_group", 3}}),
            "config.n_routed_experts: expected a multiple of n_group (3), found 8");
  EXPECT_EQ(refusal("nemotron_h_plain", {{"n_group", 2}, {"topk_group", 3}}),
            "config.topk_group: expected a number from 1 to 2, found 3");
  EXPECT_EQ(refusal("nemotron_h_groups_of_experts", {{"num_experts_per_tok", 5}}),
            "config.num_experts_per_tok: expected a number from 1 to 4, found 5");
  EXPECT_EQ(refusal("nemotron_h_plain", {{"n_routed_experts", 0}}),
            "config.n_routed_experts: expected a positive number, found 0");
  EXPECT_EQ(refusal("nemotron_h_latent", {{"moe_latent_size", 0}}),
            "config.moe_latent_size: expected a positive number, found 0");
  EXPECT_EQ(refusal("nemotron_h_plain", {}, "backbone.layers.3.mixer.experts.5.up_proj.weight"),
            "backbone.layers.3.mixer.switch_mlp.up_proj.weight: expert 5 is missing; expected 8 "
            "experts, found 7");
}

TEST(NemotronH, refuses_biases_of_attention_and_groups_that_do_not_divide) {
  EXPECT_EQ(refusal("nemotron_h_plain", {{"attention_bias", true}}),
            "config.attention_bias: not supported, as in transformers; expected false, found true");
  EXPECT_EQ(refusal("nemotron_h_plain", {{"n_groups", 3}}),
            "config.mamba_num_heads: expected a multiple of n_groups (3), found 8");
  EXPECT_EQ(refusal("nemotron_h_plain", {{"mlp_hidden_act", "mish"}}),
            "config.mlp_hidden_act: activation not supported; expected silu, gelu or "
            "gelu_pytorch_tanh, found mish");
}

}  // namespace
}  // namespace mlxcpp::lm
