// Attention and one feed-forward network in each layer.
#include "mlxcpp/lm/gguf/architecture.h"

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

}  // namespace

std::vector<GgufArchitecture> gguf_dense() {
  return {
      {.name = "llama", .config = llama, .interleaved = true},
      {.name = "qwen2", .config = qwen2},
      {.name = "qwen3", .config = qwen3},
      {.name = "phi3",
       .config = phi3,
       .names = {{"attn_qkv", "self_attn.qkv_proj"}, {"ffn_up", "mlp.gate_up_proj"}}},
  };
}

}  // namespace mlxcpp::lm
