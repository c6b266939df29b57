// Llama and Mistral text decoders.
// Source: mlx-lm models/llama.py (0.32.2), transformers models/llama.  Differs: a head in the file
// is used when config does not say "tied"; rope as transformers has it (nn/rope.h); hidden_act is
// read.
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape;
  nn::RopeConfig rope;
  nn::SlidingLayers sliding;
  float rms_norm_eps = 1e-6f;
  bool attention_bias = false, mlp_bias = false;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu", model_type;

  void fields(io::Fields& f) {
    f.need("model_type", &model_type);
    // Mistral has no layer_types: there a window is every layer's, as in transformers.
    if (model_type == "mistral") sliding.first = 0;
    shape.fields(f);
    rope.fields(f);
    sliding.fields(f, shape.num_hidden_layers);
    f.may("rms_norm_eps", &rms_norm_eps)
        .may("attention_bias", &attention_bias)
        .may("mlp_bias", &mlp_bias)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
  }
};

nn::Block make_block(const Config& c, int layer, const ops::Rope& rope, nn::Scope w) {
  auto attention = c.shape.attention();
  attention.bias = attention.out_bias = c.attention_bias;
  attention.window = c.sliding.window(layer);
  auto act = nn::activation_named(c.hidden_act, "config.hidden_act");
  return nn::pre_norm_block(
      w, attention, rope, {c.shape.intermediate_size, act, c.mlp_bias}, c.rms_norm_eps);
}

}  // namespace

std::unique_ptr<LanguageModel> make_llama(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  auto rope = c.rope.make(c.shape.head_size());
  return make_causal_lm(
      c.shape, c.rms_norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        return make_block(c, layer, rope, scope);
      });
}

}  // namespace mlxcpp::lm
