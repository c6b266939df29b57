// Configs and checkpoints that the Gemma architectures refuse, and what they say.
#include "tests/support/refusal.h"

#include <gtest/gtest.h>

namespace mlxcpp::lm {
namespace {

using nlohmann::json;
using test::refusal;

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

TEST(Gemma3, names_keys_inside_of_the_text_part) {
  EXPECT_EQ(refusal("gemma3_plain", {{"text_config.sliding_window", 0}}),
            "config.text_config.sliding_window: expected a positive number, found 0");
  EXPECT_EQ(refusal("gemma3_plain", {{"text_config", nullptr}}),
            "config.text_config: missing; expected object");
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
  EXPECT_EQ(refusal("gemma4_plain", {{"text_config.hidden_activation", "mish"}}),
            "config.text_config.hidden_activation: activation not supported; expected silu, gelu, "
            "relu2 or "
            "gelu_pytorch_tanh, found mish");
  EXPECT_EQ(refusal("gemma4_plain", {{"text_config", nullptr}}),
            "config.text_config: missing; expected object");
}

}  // namespace
}  // namespace mlxcpp::lm
