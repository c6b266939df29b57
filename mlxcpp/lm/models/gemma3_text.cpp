// Gemma 3 text decoders: norms around both halves of a layer, norms over each head, five layers
// with a window to one without, each kind with a rotation of its own. Source: mlx-lm
// models/gemma3_text.py (0.32.2), transformers models/gemma3.  Differs from mlx-lm: layer_types,
// hidden_activation, attention_bias, rope_parameters and final_logit_softcapping are read; the
// embeddings' scale has the precision of the table, as transformers has it.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"

#include <cmath>

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape{.num_attention_heads = 8,  // published configs leave these out
                         .vocab_size = 262208,
                         .num_key_value_heads = 4,
                         .head_dim = 256};
  nn::TypedRopes ropes;
  nn::SlidingLayers sliding{.sliding_window = 4096, .pattern = 6};
  float rms_norm_eps = 1e-6f, query_pre_attn_scalar = 256;
  bool attention_bias = false, use_bidirectional_attention = false;
  std::optional<float> final_logit_softcapping;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_activation = "gelu_pytorch_tanh";

  void fields(io::Fields& f) {
    shape.fields(f);
    ropes.fields(f);
    f.may("sliding_window_pattern", &sliding.pattern);
    io::require_positive(f.where("sliding_window_pattern"), sliding.pattern);
    sliding.fields(f, shape.num_hidden_layers);
    f.may("rms_norm_eps", &rms_norm_eps)
        .may("query_pre_attn_scalar", &query_pre_attn_scalar)
        .may("attention_bias", &attention_bias)
        .may("use_bidirectional_attention", &use_bidirectional_attention)
        .may("final_logit_softcapping", &final_logit_softcapping)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_activation", &hidden_activation);
    io::require_positive(f.where("query_pre_attn_scalar"), query_pre_attn_scalar);
    if (final_logit_softcapping)
      io::require_positive(f.where("final_logit_softcapping"), *final_logit_softcapping);
    if (use_bidirectional_attention)
      throw UnsupportedError(describe(f.where("use_bidirectional_attention"),
                                      "embeddings' attention is not supported",
                                      "false",
                                      "true"));
  }
};

nn::Block make_block(const Config& c, int layer, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto norm = [&](const char* name) { return nn::RmsNorm(w / name, dim, c.rms_norm_eps); };
  auto attention = c.shape.attention();
  attention.bias = attention.out_bias = c.attention_bias;
  attention.qk_norm = c.rms_norm_eps;
  attention.scale = 1 / std::sqrt(c.query_pre_attn_scalar);
  attention.window = c.sliding.window(layer);
  auto rope = c.ropes.make(c.sliding.slides(layer), attention.head_dim);
  auto act = nn::activation_named(c.hidden_activation, "config.hidden_activation");
  return {{.pre_attn = norm("input_layernorm"),
           .attn = nn::Attention(w / "self_attn", attention, rope),
           .post_attn = norm("post_attention_layernorm"),
           .pre_mlp = norm("pre_feedforward_layernorm"),
           .mlp = nn::GatedMlp(w / "mlp", dim, c.shape.intermediate_size, act),
           .post_mlp = norm("post_feedforward_layernorm")}};
}

}  // namespace

std::unique_ptr<LanguageModel> make_gemma3_text(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  for (auto norm : {"layernorm.weight", "_norm.weight", "model.norm.weight"}) w.add_one(norm);
  return make_causal_lm(c.shape,
                        c.rms_norm_eps,
                        c.tie_word_embeddings,
                        w,
                        [&](int layer, nn::Scope scope) { return make_block(c, layer, scope); },
                        {.embed = std::sqrt(float(c.shape.hidden_size)),
                         .softcap = c.final_logit_softcapping.value_or(0)});
}

}  // namespace mlxcpp::lm
