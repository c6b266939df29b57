// Attention, and experts in some layers.
#include "mlxcpp/lm/gguf/architecture.h"

namespace mlxcpp::lm {
namespace {

void qwen3_moe(GgufConfig& c) {
  c.is("model_type", "qwen3_moe").dense().attention_biases().is("norm_topk_prob", true);
  c.need<int>("num_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("moe_intermediate_size", "expert_feed_forward_length");
}

void llama4(GgufConfig& c) {
  c.is("model_type", "llama4").json.key("text_config").begin_object();
  c.extents().attention().rope().attention_biases();
  c.need<int>("intermediate_size_mlp", "feed_forward_length")
      .need<int>("intermediate_size", "expert_feed_forward_length")
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon")
      .need<int>("num_local_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("interleave_moe_layer_step", "interleave_moe_layer_step")
      .is("use_qk_norm", c.need<int>("expert_count") != 128);  // Maverick has none
  c.json.end_object();
}

void gpt_oss(GgufConfig& c) {
  c.is("model_type", "gpt_oss").extents().attention().attention_biases();
  c.rope({.truncate = false});  // as published: GGUF has no place for it
  c.need<int>("intermediate_size", "expert_feed_forward_length")
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon")
      .need<int>("num_local_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("sliding_window", "attention.sliding_window");
}

/// Latent attention, and experts in groups beside shared ones.
void latent(GgufConfig& c) {
  c.extents();
  // For reasons of its own history the converter writes a tenth of it.
  GgufRope rope;
  if (auto tenth = c.find<float>("rope.scaling.yarn_log_multiplier")) rope.mscale = *tenth / 0.1f;
  c.rope(rope);
  std::int64_t turned = c.need<int>("rope.dimension_count");
  c.need<int>("num_attention_heads", "attention.head_count")
      .need<int>("kv_lora_rank", "attention.kv_lora_rank")
      .may<int>("q_lora_rank", "attention.q_lora_rank")
      .is("qk_rope_head_dim", turned)
      .is("qk_nope_head_dim", c.need<int>("attention.key_length_mla") - turned)
      .need<int>("v_head_dim", "attention.value_length_mla")
      .need<int>("intermediate_size", "feed_forward_length")
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon");
}

void grouped_experts(GgufConfig& c) {
  constexpr int kSigmoid = 2;
  int scores = c.find<int>("expert_gating_func").value_or(1);
  if (scores != kSigmoid)
    c.refuse("expert_gating_func", "2 (sigmoid), as DeepSeek V3 has it", std::to_string(scores));
  c.need<int>("n_routed_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("n_shared_experts", "expert_shared_count")
      .need<int>("moe_intermediate_size", "expert_feed_forward_length")
      .is("first_k_dense_replace", c.find<int>("leading_dense_block_count").value_or(0))
      .expert_groups();
}

void indexer(GgufConfig& c) {
  c.need<int>("index_n_heads", "attention.indexer.head_count")
      .need<int>("index_head_dim", "attention.indexer.key_length")
      .need<int>("index_topk", "attention.indexer.top_k");
}

/// Which layers have an indexer of their own.
void indexer_types(GgufConfig& c) {
  auto own = c.find<std::vector<bool>>("attention.indexer.types");
  if (!own) return;
  std::vector<std::string> types;
  for (bool full : *own) types.push_back(full ? "full" : "shared");
  c.is("indexer_types", types);
}

void deepseek_v3(GgufConfig& c) {
  c.is("model_type", "deepseek_v3");
  latent(c);
  grouped_experts(c);
}

void deepseek_v32(GgufConfig& c) {
  c.is("model_type", "deepseek_v32");
  latent(c);
  grouped_experts(c);
  indexer(c);
}

void glm_moe_dsa(GgufConfig& c) {
  c.is("model_type", "glm_moe_dsa");
  latent(c);
  grouped_experts(c);
  indexer(c);
  indexer_types(c);
}

const std::vector<GgufName> kSwitchMlp = {{"ffn_gate_inp", "mlp.gate"},
                                          {"ffn_gate_exps", "mlp.switch_mlp.gate_proj"},
                                          {"ffn_up_exps", "mlp.switch_mlp.up_proj"},
                                          {"ffn_down_exps", "mlp.switch_mlp.down_proj"}};

const std::vector<GgufName> kDeepseek = {{"attn_q_a", "self_attn.q_a_proj"},
                                         {"attn_q_a_norm", "self_attn.q_a_layernorm"},
                                         {"attn_q_b", "self_attn.q_b_proj"},
                                         {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
                                         {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
                                         {"attn_k_b", "self_attn.embed_q"},
                                         {"attn_v_b", "self_attn.unembed_out"},
                                         {"ffn_gate_inp", "mlp.gate"},
                                         {"exp_probs_b.bias", "mlp.gate.e_score_correction_bias"},
                                         {"ffn_gate_exps", "mlp.switch_mlp.gate_proj"},
                                         {"ffn_up_exps", "mlp.switch_mlp.up_proj"},
                                         {"ffn_down_exps", "mlp.switch_mlp.down_proj"},
                                         {"ffn_gate_shexp", "mlp.shared_experts.gate_proj"},
                                         {"ffn_up_shexp", "mlp.shared_experts.up_proj"},
                                         {"ffn_down_shexp", "mlp.shared_experts.down_proj"},
                                         {"indexer.attn_q_b", "self_attn.indexer.wq_b"},
                                         {"indexer.attn_k", "self_attn.indexer.wk"},
                                         {"indexer.k_norm", "self_attn.indexer.k_norm"},
                                         {"indexer.proj", "self_attn.indexer.weights_proj"}};

}  // namespace

std::vector<GgufArchitecture> gguf_experts() {
  return {
      {.name = "qwen3moe", .config = qwen3_moe, .names = kSwitchMlp, .experts = true},
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
      {.name = "deepseek2", .config = deepseek_v3, .names = kDeepseek, .experts = true},
      {.name = "deepseek32", .config = deepseek_v32, .names = kDeepseek, .experts = true},
      {.name = "glm-dsa", .config = glm_moe_dsa, .names = kDeepseek, .experts = true},
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
}

}  // namespace mlxcpp::lm
