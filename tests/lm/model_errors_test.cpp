// Configs and checkpoints that an architecture refuses, and what it says.
#include "mlxcpp/base/log.h"
#include "tests/support/refusal.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

namespace mlxcpp::lm {
namespace {

using nlohmann::json;
using test::refusal;
using test::refusal_with;

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

TEST(GptOss, needs_whole_blocks_of_mxfp4) {
  auto with = [](const std::string& leaf, const mx::Shape& shape, mx::Dtype dtype) {
    std::string name = "model.layers.1.mlp.experts.gate_up_proj_" + leaf;
    return refusal_with("gpt_oss_mxfp4", {}, [&](auto& tensors) {
      EXPECT_EQ(tensors.erase(name), 1u);
      tensors.emplace(name, mx::zeros(shape, dtype));
    });
  };
  EXPECT_EQ(with("blocks", {4, 64, 2, 16}, mx::uint8),
            "model.layers.1.mlp.experts.gate_up_proj_blocks: wrong shape or dtype; expected (4, "
            "64, 1, 16) of bytes, found (4, 64, 2, 16)");
  EXPECT_EQ(with("blocks", {4, 64, 1, 15}, mx::uint8),
            "model.layers.1.mlp.experts.gate_up_proj_blocks: wrong shape or dtype; expected (4, "
            "64, 1, 16) of bytes, found (4, 64, 1, 15)");
  EXPECT_EQ(with("blocks", {4, 64, 1, 16}, mx::int32),
            "model.layers.1.mlp.experts.gate_up_proj_blocks: wrong shape or dtype; expected (4, "
            "64, 1, 16) of bytes, found (4, 64, 1, 16)");
  EXPECT_EQ(with("scales", {4, 63, 1}, mx::uint8),
            "model.layers.1.mlp.experts.gate_up_proj_scales: wrong shape or dtype; expected (4, "
            "64, 1) of bytes, found (4, 63, 1)");
}

TEST(GptOss, refuses_numbers_that_can_not_be) {
  EXPECT_EQ(refusal("gpt_oss_plain", {{"num_experts_per_tok", 9}}),
            "config.num_experts_per_tok: expected a number from 1 to 8, found 9");
  EXPECT_EQ(refusal("gpt_oss_plain", {{"num_local_experts", 0}}),
            "config.num_local_experts: expected a positive number, found 0");
  EXPECT_EQ(refusal("gpt_oss_plain", {{"swiglu_limit", -1.0}}),
            "config.swiglu_limit: expected a positive number, found -1.0");
  EXPECT_EQ(refusal("gpt_oss_plain", {{"layer_types", {"sliding_attention"}}}),
            "config.layer_types: wrong length; expected 2, found 1");
  EXPECT_EQ(refusal("gpt_oss_plain", {{"intermediate_size", 1 << 30}}),
            "config.intermediate_size: expected a product that fits 32 bits, found 2 * 1073741824");
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

TEST(Llama4, chooses_one_expert_in_layers_that_have_them) {
  EXPECT_EQ(refusal("llama4_plain", {{"text_config.num_experts_per_tok", 2}}),
            "config.text_config.num_experts_per_tok: expected a number from 1 to 1, found 2");
  EXPECT_EQ(refusal("llama4_plain", {{"text_config.interleave_moe_layer_step", 0}}),
            "config.text_config.interleave_moe_layer_step: expected a positive number, found 0");
}

TEST(Llama4, needs_numbers_that_divide_and_an_entry_for_each_layer) {
  for (std::string key : {"attention_chunk_size", "floor_scale", "no_rope_layer_interval"})
    EXPECT_EQ(refusal("llama4_plain", {{"text_config." + key, 0}}),
              "config.text_config." + key + ": expected a positive number, found 0");
  EXPECT_EQ(refusal("llama4_plain", {{"text_config.no_rope_layers", {1, 1}}}),
            "config.text_config.no_rope_layers: too short; expected 4, found 2");
  EXPECT_EQ(refusal("llama4_plain", {{"text_config", nullptr}}),
            "config.text_config: missing; expected object");
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
            "config.hidden_act: activation not supported; expected silu, gelu, relu2 or "
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
  EXPECT_EQ(
      refusal("qwen3_5_plain", {{"text_config.hidden_act", "tanh"}}),
      "config.text_config.hidden_act: activation not supported; expected silu, gelu, relu2 or "
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

TEST(Qwen3Moe, needs_as_many_experts_as_are_chosen_and_all_of_them) {
  EXPECT_EQ(refusal("qwen3_moe_plain", {{"num_experts_per_tok", 9}}),
            "config.num_experts_per_tok: expected a number from 1 to 8, found 9");
  EXPECT_EQ(refusal("qwen3_moe_plain", {{"num_experts", 0}}),
            "config.num_experts: expected a positive number, found 0");
  EXPECT_EQ(refusal("qwen3_moe_plain", {{"decoder_sparse_step", 0}}),
            "config.decoder_sparse_step: expected a positive number, found 0");
  EXPECT_EQ(refusal("qwen3_moe_plain", {}, "model.layers.0.mlp.experts.7.gate_proj.weight"),
            "model.layers.0.mlp.switch_mlp.gate_proj.weight: expert 7 is missing; expected 8 "
            "experts, found 7");
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
            "config.hidden_act: activation not supported; expected silu, gelu, relu2 or "
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
            "config.mlp_hidden_act: activation not supported; expected silu, gelu, relu2 or "
            "gelu_pytorch_tanh, found mish");
}

TEST(UnknownKeys, are_told_once_and_refuse_nothing) {
  for (auto [golden, key] : {std::pair{"llama_plain", "made_up"},
                             {"falcon_h1_plain", "made_up"},
                             {"gemma3n_plain", "text_config.made_up"},
                             {"qwen3_5_plain", "text_config.rope_parameters.made_up"}}) {
    std::vector<std::string> told;
    set_log_sink([&](LogLevel, std::string_view line) {
      if (line.find(key) != line.npos) told.emplace_back(line);
    });
    EXPECT_EQ(refusal(golden, {{key, 1}}), "no error") << golden;
    set_log_sink({});
    ASSERT_EQ(told.size(), 1u) << golden;
    EXPECT_TRUE(told[0].starts_with("config: keys that have no effect: ")) << told[0];
  }
}

}  // namespace
}  // namespace mlxcpp::lm
