// The config of Gemma 4's text decoders, with transformers' defaults.
#pragma once

#include "mlxcpp/nn/config.h"
#include "mlxcpp/nn/key_sharing.h"
#include "mlxcpp/nn/layer_inputs.h"

#include <map>
#include <optional>

namespace mlxcpp::lm {

struct Gemma4Config {
  struct Moe {
    int num_experts, top_k_experts, moe_intermediate_size;
    void fields(io::Fields& f);
  };
  /// What attention may have of its own in a layer.
  struct Heads {
    int head_dim, num_key_value_heads;
    void fields(io::Fields& f);
  };

  nn::DecoderShape shape{
      .num_attention_heads = 8, .vocab_size = 262144, .num_key_value_heads = 4, .head_dim = 256};
  nn::TypedRopes ropes{
      .rope_theta = 1e4f,  // of a table that has none
      .full = {.type = "proportional", .rope_theta = 1e6f, .partial_rotary_factor = 0.25f},
      .only_typed = true};
  nn::SlidingLayers sliding{.sliding_window = 512, .pattern = 6};
  nn::KeySharing sharing;
  std::optional<Moe> moe;
  int vocab_size_per_layer_input = 262144, hidden_size_per_layer_input = 256;
  bool attention_bias = false, attention_k_eq_v = false, use_double_wide_mlp = false;
  float rms_norm_eps = 1e-6f;
  std::optional<float> final_logit_softcapping;
  std::optional<bool> tie_word_embeddings;
  ops::Activation activation = ops::Activation::gelu_tanh;

  void fields(io::Fields& f);

  bool slides(int layer) const;
  nn::AttentionShape attention(int layer) const;
  ops::Rope rope(int layer) const;
  /// Throws ConfigError where a layer can not read another's keys.
  nn::KeySource keys(int layer) const;
  int mlp_width(int layer) const;
  bool has_layer_inputs() const { return hidden_size_per_layer_input > 0; }
  nn::LayerInputShape layer_inputs() const;

 private:
  void read_heads(io::Fields& f);
  void check(const io::Fields& f) const;
  Heads heads(int layer) const;

  Heads full_heads_{.head_dim = 512, .num_key_value_heads = 0};
  std::optional<std::map<int, Heads>> own_heads_;  // by layer, in place of those of full layers
};

}  // namespace mlxcpp::lm
