#include "mlxcpp/lm/gguf/architecture.h"

#include <algorithm>

namespace mlxcpp::lm {
namespace {

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

}  // namespace

const GgufName* find_usual_name(std::string_view name) {
  auto it = std::ranges::find(kUsual, name, &GgufName::gguf);
  return it == kUsual.end() ? nullptr : &*it;
}

const std::vector<GgufArchitecture>& gguf_architectures() {
  static const auto all = [] {
    std::vector<GgufArchitecture> rows;
    for (auto& family :
         {gguf_dense(), gguf_gemma(), gguf_experts(), gguf_recurrent(), gguf_delta_nets()})
      rows.insert(rows.end(), family.begin(), family.end());
    return rows;
  }();
  return all;
}

}  // namespace mlxcpp::lm
