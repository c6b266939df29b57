// Attention, and experts in some layers.
#include "mlxcpp/lm/gguf/architecture.h"
#include "mlxcpp/lm/gguf/changes.h"

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
  c.rope(false);  // as published: GGUF has no place for it
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
