// Qwen 3 dense text decoders: norms over each head of q and k, heads of their own size.
// Source: mlx-lm models/qwen3.py (0.32.2), transformers models/qwen3.  Differs from mlx-lm:
// attention_bias, windows and hidden_act are read; head_dim may be absent, as in transformers.
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape{.head_dim = 128};
  nn::RopeConfig rope{.max_position_embeddings = 32768};
  nn::SlidingLayers sliding{.sliding_window = 4096, .enabled = false, .first = 28};
  float rms_norm_eps = 1e-6f;
  bool attention_bias = false;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    shape.fields(f);
    rope.fields(f);
    f.may("use_sliding_window", &sliding.enabled).may("max_window_layers", &sliding.first);
    sliding.fields(f, shape.num_hidden_layers);
    f.may("rms_norm_eps", &rms_norm_eps)
        .may("attention_bias", &attention_bias)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
  }
};

nn::Block make_block(const Config& c, int layer, const ops::Rope& rope, nn::Scope w) {
  auto attention = c.shape.attention();
  attention.bias = attention.out_bias = c.attention_bias;
  attention.qk_norm = c.rms_norm_eps;
  attention.window = c.sliding.window(layer);
  auto act = nn::activation_named(c.hidden_act, "config.hidden_act");
  return nn::pre_norm_block(w, attention, rope, {c.shape.intermediate_size, act}, c.rms_norm_eps);
}

}  // namespace

std::unique_ptr<LanguageModel> make_qwen3(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  auto rope = c.rope.make(c.shape.head_size());
  return make_causal_lm(
      c.shape, c.rms_norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        return make_block(c, layer, rope, scope);
      });
}

}  // namespace mlxcpp::lm
