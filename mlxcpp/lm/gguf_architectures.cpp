#include "mlxcpp/lm/detail/gguf_architecture.h"

#include <mlx/ops.h>

#include <algorithm>
#include <cmath>

namespace mlxcpp::lm {
namespace {

/// Norms that the converter stored with the one that Hugging Face adds.
array minus_one(const array& x) { return mx::subtract(x, array(1, x.dtype())); }
/// (C, k) -> (C, k, 1), a depthwise convolution.
array depthwise(const array& x) { return mx::expand_dims(x, -1); }

const std::vector<GgufName> kUsual = {{"token_embd", "model.embed_tokens"},
                                      {"output_norm", "model.norm"},
                                      {"output", "lm_head"},
                                      {"attn_norm", "input_layernorm"},
                                      {"attn_q", "self_attn.q_proj"},
                                      {"attn_q_norm", "self_attn.q_norm"},
                                      {"attn_k", "self_attn.k_proj"},
                                      {"attn_k_norm", "self_attn.k_norm"},
                                      {"attn_v", "self_attn.v_proj"},
                                      {"attn_output", "self_attn.o_proj"},
                                      {"ffn_norm", "post_attention_layernorm"},
                                      {"ffn_gate", "mlp.gate_proj"},
                                      {"ffn_up", "mlp.up_proj"},
                                      {"ffn_down", "mlp.down_proj"}};

void llama(GgufConfig& c) {
  c.is("model_type", "llama").dense().attention_biases();
  c.is("mlp_bias", c.has_tensor("blk.0.ffn_gate.bias"));
}

void qwen2(GgufConfig& c) { c.is("model_type", "qwen2").dense(); }

void qwen3(GgufConfig& c) { c.is("model_type", "qwen3").dense(); }

void qwen3_moe(GgufConfig& c) {
  c.is("model_type", "qwen3_moe").dense().attention_biases().is("norm_topk_prob", true);
  c.need<int>("num_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("moe_intermediate_size", "expert_feed_forward_length");
}

void phi3(GgufConfig& c) {
  c.is("model_type", "phi3").dense();
  c.may<int>("original_max_position_embeddings", "rope.scaling.original_context_length");
  if (auto window = c.find<int>("attention.sliding_window"); window && *window > 0)
    c.is("sliding_window", *window);
}

void llama4(GgufConfig& c) {
  c.is("model_type", "llama4").json.key("text_config").begin_object();
  c.extents().attention().rope_scaling().attention_biases();
  c.need<int>("intermediate_size_mlp", "feed_forward_length")
      .need<int>("intermediate_size", "expert_feed_forward_length")
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon")
      .need<int>("num_local_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("interleave_moe_layer_step", "interleave_moe_layer_step")
      .is("use_qk_norm", c.need<int>("expert_count") != 128);  // Maverick has none
  c.json.end_object();
}

void gemma3(GgufConfig& c) {
  c.is("model_type", "gemma3_text").dense();
  int layers = c.need<int>("block_count");
  // The scale of the largest model is another; llama.cpp knows it by its layers.
  c.is("query_pre_attn_scalar",
       layers == 62 ? c.need<int>("embedding_length") / c.need<int>("attention.head_count")
                    : c.head_dim());
  c.is("rope_local_base_freq", c.find<float>("rope.freq_base_swa").value_or(1e4f))
      .may<int>("sliding_window", "attention.sliding_window")
      .may<float>("final_logit_softcapping", "final_logit_softcapping");
}

void lfm2(GgufConfig& c) {
  c.is("model_type", "lfm2").extents().rope_scaling();
  auto kv_heads = c.need<std::vector<int>>("attention.head_count_kv");
  std::vector<std::string> types;
  for (int heads : kv_heads) types.push_back(heads > 0 ? "full_attention" : "conv");
  c.need<int>("num_attention_heads", "attention.head_count")
      .is("num_key_value_heads", kv_heads.empty() ? 0 : std::ranges::max(kv_heads))
      .is("layer_types", types)
      .need<int>("block_ff_dim", "feed_forward_length")
      .is("block_auto_adjust_ff_dim", false)
      .need<int>("conv_L_cache", "shortconv.l_cache")
      .need<float>("norm_eps", "attention.layer_norm_rms_epsilon");
}

void gpt_oss(GgufConfig& c) {
  c.is("model_type", "gpt_oss").extents().attention().attention_biases();
  c.rope_scaling(false);  // as published: GGUF has no place for it
  c.need<int>("intermediate_size", "expert_feed_forward_length")
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon")
      .need<int>("num_local_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("sliding_window", "attention.sliding_window");
}

const std::vector<GgufName> kSwitchMlp = {{"ffn_gate_inp", "mlp.gate"},
                                          {"ffn_gate_exps", "mlp.switch_mlp.gate_proj"},
                                          {"ffn_up_exps", "mlp.switch_mlp.up_proj"},
                                          {"ffn_down_exps", "mlp.switch_mlp.down_proj"}};

}  // namespace

const GgufName* find_usual_name(std::string_view name) {
  auto it = std::ranges::find(kUsual, name, &GgufName::gguf);
  return it == kUsual.end() ? nullptr : &*it;
}

const std::vector<GgufArchitecture>& gguf_architectures() {
  static const std::vector<GgufArchitecture> all = {
      {.name = "llama", .config = llama, .interleaved = true},
      {.name = "qwen2", .config = qwen2},
      {.name = "qwen3", .config = qwen3},
      {.name = "qwen3moe", .config = qwen3_moe, .names = kSwitchMlp, .experts = true},
      {.name = "phi3",
       .config = phi3,
       .names = {{"attn_qkv", "self_attn.qkv_proj"}, {"ffn_up", "mlp.gate_up_proj"}}},
      {.name = "llama4",
       .config = llama4,
       .names = {{"ffn_gate", "feed_forward.gate_proj"},
                 {"ffn_up", "feed_forward.up_proj"},
                 {"ffn_down", "feed_forward.down_proj"},
                 {"ffn_gate_inp", "feed_forward.router"},
                 {"ffn_gate_exps", "feed_forward.experts.gate_proj"},
                 {"ffn_up_exps", "feed_forward.experts.up_proj"},
                 {"ffn_down_exps", "feed_forward.experts.down_proj"},
                 {"ffn_gate_shexp", "feed_forward.shared_expert.gate_proj"},
                 {"ffn_up_shexp", "feed_forward.shared_expert.up_proj"},
                 {"ffn_down_shexp", "feed_forward.shared_expert.down_proj"}},
       .experts = true},
      {.name = "gemma3",
       .config = gemma3,
       .names = {{"output_norm", "model.norm", minus_one},
                 {"attn_norm", "input_layernorm", minus_one},
                 {"attn_q_norm", "self_attn.q_norm", minus_one},
                 {"attn_k_norm", "self_attn.k_norm", minus_one},
                 {"post_attention_norm", "post_attention_layernorm", minus_one},
                 {"ffn_norm", "pre_feedforward_layernorm", minus_one},
                 {"post_ffw_norm", "post_feedforward_layernorm", minus_one}}},
      {.name = "lfm2",
       .config = lfm2,
       .names = {{"token_embd_norm", "model.embedding_norm"},
                 {"attn_norm", "operator_norm"},
                 {"attn_q_norm", "self_attn.q_layernorm"},
                 {"attn_k_norm", "self_attn.k_layernorm"},
                 {"attn_output", "self_attn.out_proj"},
                 {"shortconv.in_proj", "conv.in_proj"},
                 {"shortconv.out_proj", "conv.out_proj"},
                 {"shortconv.conv", "conv.conv", depthwise},
                 {"ffn_norm", "ffn_norm"},
                 {"ffn_gate", "feed_forward.w1"},
                 {"ffn_down", "feed_forward.w2"},
                 {"ffn_up", "feed_forward.w3"}}},
      {.name = "gpt-oss",
       .config = gpt_oss,
       .names = {{"attn_sinks.weight", "self_attn.sinks"},
                 {"post_attention_norm", "post_attention_layernorm"},
                 {"ffn_gate_inp", "mlp.router"},
                 {"ffn_gate_exps", "mlp.experts.gate_proj"},
                 {"ffn_up_exps", "mlp.experts.up_proj"},
                 {"ffn_down_exps", "mlp.experts.down_proj"}},
       .experts = true},
  };
  return all;
}

}  // namespace mlxcpp::lm
