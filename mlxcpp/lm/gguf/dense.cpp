// Attention and one feed-forward network in each layer.
#include "mlxcpp/lm/gguf/architecture.h"
#include "mlxcpp/lm/gguf/changes.h"

namespace mlxcpp::lm {
namespace {

void llama(GgufConfig& c) {
  c.is("model_type", "llama").dense().attention_biases();
  c.is("mlp_bias", c.has_tensor("blk.0.ffn_gate.bias"));
}

void qwen2(GgufConfig& c) { c.is("model_type", "qwen2").dense(); }

void qwen3(GgufConfig& c) { c.is("model_type", "qwen3").dense(); }

void phi3(GgufConfig& c) {
  c.is("model_type", "phi3").dense();
  c.may<int>("original_max_position_embeddings", "rope.scaling.original_context_length");
  if (auto window = c.find<int>("attention.sliding_window"); window && *window > 0)
    c.is("sliding_window", *window);
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

}  // namespace

std::vector<GgufArchitecture> gguf_dense() {
  return {
      {.name = "llama", .config = llama, .interleaved = true},
      {.name = "qwen2", .config = qwen2},
      {.name = "qwen3", .config = qwen3},
      {.name = "phi3",
       .config = phi3,
       .names = {{"attn_qkv", "self_attn.qkv_proj"}, {"ffn_up", "mlp.gate_up_proj"}}},
      {.name = "gemma3",
       .config = gemma3,
       .names = {{"output_norm", "model.norm", minus_one},
                 {"attn_norm", "input_layernorm", minus_one},
                 {"attn_q_norm", "self_attn.q_norm", minus_one},
                 {"attn_k_norm", "self_attn.k_norm", minus_one},
                 {"post_attention_norm", "post_attention_layernorm", minus_one},
                 {"ffn_norm", "pre_feedforward_layernorm", minus_one},
                 {"post_ffw_norm", "post_feedforward_layernorm", minus_one}}},
  };
}

}  // namespace mlxcpp::lm
