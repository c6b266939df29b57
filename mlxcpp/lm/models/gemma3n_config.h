// The config of Gemma 3n's text decoder, with transformers' defaults.
#pragma once

#include "mlxcpp/nn/config.h"
#include "mlxcpp/nn/key_sharing.h"
#include "mlxcpp/nn/layer_inputs.h"

#include <optional>
#include <vector>

namespace mlxcpp::lm {

struct Gemma3nConfig {
  nn::DecoderShape shape{.num_attention_heads = 8,
                         .vocab_size = 262400,
                         .num_key_value_heads = 2,
                         .head_dim = 256,
                         .width_by_layer = true};
  nn::TypedRopes ropes{.max_position_embeddings = 32768};
  nn::SlidingLayers sliding{.sliding_window = 512, .pattern = 5};
  nn::KeySharing sharing{.num_kv_shared_layers = 15};
  int vocab_size_per_layer_input = 262144, hidden_size_per_layer_input = 256;
  int altup_num_inputs = 4, altup_active_idx = 0, laurel_rank = 64;
  bool altup_correct_scale = true, attention_bias = false;
  float rms_norm_eps = 1e-6f, final_logit_softcapping = 30;
  std::optional<bool> tie_word_embeddings;
  ops::Activation activation = ops::Activation::gelu_tanh;

  void fields(io::Fields& f);

  nn::AttentionShape attention(int layer) const;
  ops::Rope rope(int layer) const;
  nn::KeySource keys(int layer) const;
  int mlp_width(int layer) const;
  /// Gates of the feed-forward network are off below their mean and so many deviations.
  std::optional<float> gate_cutoff(int layer) const;
  nn::LayerInputShape layer_inputs() const;

 private:
  void read_widths(io::Fields& f);
  void check(const io::Fields& f) const;

  std::vector<int> widths_{16384};  // one for all layers, or one for each
  std::vector<float> sparsities_;   // empty, or one for each layer
};

}  // namespace mlxcpp::lm
