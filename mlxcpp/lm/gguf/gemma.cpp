// Gemma: norms around both halves of a layer, windows in most of them.
#include "mlxcpp/lm/gguf/architecture.h"
#include "mlxcpp/lm/gguf/changes.h"

#include <algorithm>
#include <cmath>

namespace mlxcpp::lm {
namespace {

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

/// The rotated part of a head in full layers: where the factors of its wavelengths are one.
double rotated_part(const GgufConfig& c) {
  auto factors = c.numbers("rope_freqs.weight");
  if (factors.empty()) return 1;
  return double(std::ranges::count(factors, 1.f)) / double(factors.size());
}

void typed_ropes(GgufConfig& c) {
  c.json.key("rope_parameters").begin_object().key("full_attention").begin_object();
  c.is("rope_type", "proportional")
      .is("partial_rotary_factor", rotated_part(c))
      .is("rope_theta", c.find<float>("rope.freq_base").value_or(1e6f));
  c.json.end_object().key("sliding_attention").begin_object();
  c.is("rope_type", "default").is("rope_theta", c.find<float>("rope.freq_base_swa").value_or(1e4f));
  c.json.end_object().end_object();
}

void gemma4_experts(GgufConfig& c) {
  c.is("enable_moe_block", true)
      .need<int>("num_experts", "expert_count")
      .need<int>("top_k_experts", "expert_used_count")
      .need<int>("moe_intermediate_size", "expert_feed_forward_length");
}

std::vector<std::string> layer_types(const std::vector<bool>& slides) {
  std::vector<std::string> types;
  for (bool s : slides) types.push_back(s ? "sliding_attention" : "full_attention");
  return types;
}

/// A file has so many deviations from the mean; configs, the part of all gates below that.
std::vector<float> sparsities(const std::vector<float>& deviations) {
  std::vector<float> parts;
  for (float d : deviations) parts.push_back(float(std::erfc(-d / std::sqrt(2.0)) / 2));
  return parts;
}

void gemma3n(GgufConfig& c) {
  c.is("model_type", "gemma3n").json.key("text_config").begin_object();
  c.extents().attention();
  c.is("rope_theta", c.find<float>("rope.freq_base").value_or(1e6f))
      .is("rope_local_base_freq", c.find<float>("rope.freq_base_swa").value_or(1e4f))
      .is("intermediate_size", c.each("feed_forward_length"))
      .is("layer_types", layer_types(c.need<std::vector<bool>>("attention.sliding_window_pattern")))
      .need<int>("sliding_window", "attention.sliding_window")
      .need<int>("num_kv_shared_layers", "attention.shared_kv_layers")
      .need<int>("hidden_size_per_layer_input", "embedding_length_per_layer_input")
      .need<int>("altup_num_inputs", "altup.num_inputs")
      .need<int>("altup_active_idx", "altup.active_idx")
      .is("laurel_rank", c.rows("blk.0.laurel_l.weight").value_or(0))
      .is("vocab_size_per_layer_input", c.rows("per_layer_token_embd.weight").value_or(0))
      .is("activation_sparsity_pattern",
          sparsities(c.need_with_infinities("activation_sparsity_scale")))
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon")
      .may<float>("final_logit_softcapping", "final_logit_softcapping");
  c.json.end_object();
}

/// Projections of the further streams, packed or not: one each.
void unstack_projections(const GgufConfig&, nn::GgufWeights& w) {
  for (std::string path : {"model.altup_projections", "model.altup_unembed_projections"}) {
    auto quant = w.quantization.exceptions.extract(path);
    for (std::string leaf : {".weight", ".scales", ".biases"}) {
      auto stack = w.arrays.extract(path + leaf);
      if (!stack) continue;  // the model names what is missing
      for (int i = 0; i < stack.mapped().shape(0); ++i) {
        std::string one = path + "." + std::to_string(i);
        w.arrays.emplace(one + leaf, mx::take(stack.mapped(), i, 0));
        if (quant) w.quantization.exceptions[one] = quant.mapped();
      }
    }
  }
}

void gemma4(GgufConfig& c) {
  c.is("model_type", "gemma4_text").extents();
  auto slides = c.need<std::vector<bool>>("attention.sliding_window_pattern");
  auto widths = c.each("feed_forward_length"), kv_heads = c.each("attention.head_count_kv");
  int sliding_heads = kv_heads[0], full_heads = sliding_heads;
  bool has_values = true;
  for (size_t i = 0; i < slides.size(); ++i) {
    if (i < kv_heads.size()) (slides[i] ? sliding_heads : full_heads) = kv_heads[i];
    std::string layer = "blk." + std::to_string(i);
    if (!slides[i] && c.has_tensor(layer + ".attn_k.weight"))
      has_values = c.has_tensor(layer + ".attn_v.weight");
  }
  c.need<int>("num_attention_heads", "attention.head_count")
      .is("num_key_value_heads", sliding_heads)
      .is("num_global_key_value_heads", full_heads)
      .need<int>("head_dim", "attention.key_length_swa")
      .need<int>("global_head_dim", "attention.key_length")
      .is("attention_k_eq_v", !has_values)
      .is("layer_types", layer_types(slides))
      .need<int>("sliding_window", "attention.sliding_window")
      .is("num_kv_shared_layers", c.find<int>("attention.shared_kv_layers").value_or(0))
      .need<int>("hidden_size_per_layer_input", "embedding_length_per_layer_input")
      .is("intermediate_size", widths.front())
      .is("use_double_wide_mlp", widths.back() != widths.front())
      .need<float>("rms_norm_eps", "attention.layer_norm_rms_epsilon")
      .is("final_logit_softcapping", c.find<float>("final_logit_softcapping"));
  if (auto rows = c.rows("per_layer_token_embd.weight")) c.is("vocab_size_per_layer_input", *rows);
  typed_ropes(c);
  if (c.find<int>("expert_count").value_or(0) > 0) gemma4_experts(c);
}

/// Norms around both halves, inputs of each layer, and more.
std::vector<GgufName> with_layer_inputs(const std::vector<GgufName>& further) {
  std::vector<GgufName> names = {{"per_layer_token_embd", "model.embed_tokens_per_layer"},
                                 {"per_layer_model_proj", "model.per_layer_model_projection"},
                                 {"per_layer_proj_norm", "model.per_layer_projection_norm"},
                                 {"inp_gate", "per_layer_input_gate"},
                                 {"proj", "per_layer_projection"},
                                 {"post_norm", "post_per_layer_input_norm"},
                                 {"post_attention_norm", "post_attention_layernorm"},
                                 {"ffn_norm", "pre_feedforward_layernorm"},
                                 {"post_ffw_norm", "post_feedforward_layernorm"}};
  names.insert(names.end(), further.begin(), further.end());
  return names;
}

}  // namespace

std::vector<GgufArchitecture> gguf_gemma() {
  return {
      {.name = "gemma3",
       .config = gemma3,
       .names = {{"output_norm", "model.norm", minus_one},
                 {"attn_norm", "input_layernorm", minus_one},
                 {"attn_q_norm", "self_attn.q_norm", minus_one},
                 {"attn_k_norm", "self_attn.k_norm", minus_one},
                 {"post_attention_norm", "post_attention_layernorm", minus_one},
                 {"ffn_norm", "pre_feedforward_layernorm", minus_one},
                 {"post_ffw_norm", "post_feedforward_layernorm", minus_one}}},
      {.name = "gemma3n",
       .config = gemma3n,
       .names = with_layer_inputs({{"altup_proj", "model.altup_projections"},
                                   {"altup_unembd_proj", "model.altup_unembed_projections"},
                                   {"altup_correct_coef", "altup.correction_coefs"},
                                   {"altup_correct_scale.weight", "altup.correct_output_scale"},
                                   {"altup_predict_coef", "altup.prediction_coefs"},
                                   {"altup_router", "altup.modality_router"},
                                   {"altup_router_norm", "altup.router_norm"},
                                   {"laurel_l", "laurel.linear_left"},
                                   {"laurel_r", "laurel.linear_right"},
                                   {"laurel_post_norm", "laurel.post_laurel_norm"}}),
       .finish = unstack_projections},
      {.name = "gemma4",
       .config = gemma4,
       .names = with_layer_inputs({{"layer_output_scale.weight", "layer_scalar"},
                                   {"pre_ffw_norm_2", "pre_feedforward_layernorm_2"},
                                   {"post_ffw_norm_1", "post_feedforward_layernorm_1"},
                                   {"post_ffw_norm_2", "post_feedforward_layernorm_2"},
                                   {"ffn_gate_inp.weight", "router.proj.weight"},
                                   {"ffn_gate_inp.scale", "router.scale"},
                                   {"ffn_down_exps.scale", "router.per_expert_scale"},
                                   {"ffn_gate_up_exps", "experts.switch_glu.gate_up_proj"},
                                   {"ffn_down_exps", "experts.switch_glu.down_proj"}}),
       .experts = true},
  };
}

}  // namespace mlxcpp::lm
