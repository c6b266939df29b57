// Mamba 2: a selective scan in every layer, and nothing else.
// Source: mlx-lm models/mamba2.py (0.32.2), transformers models/mamba2.  Differs from mlx-lm: the
// norm behind the gate goes over each group of heads, layer_norm_epsilon is every norm's, and
// hidden_act is read, as transformers.
#include "mlxcpp/nn/mamba2.h"

#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape;  // only the three extents below
  nn::Mamba2Shape mixer;
  float layer_norm_epsilon = 1e-5f;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    for (auto [key, extent] : {std::pair{"hidden_size", &shape.hidden_size},
                               {"num_hidden_layers", &shape.num_hidden_layers},
                               {"vocab_size", &shape.vocab_size}}) {
      f.need(key, extent);
      io::require_positive(f.where(key), *extent);
    }
    mixer.fields(f,
                 {.heads = "num_heads",
                  .head_dim = "head_dim",
                  .groups = "n_groups",
                  .state = "state_size",
                  .kernel = "conv_kernel",
                  .conv_bias = "use_conv_bias"});
    f.may("use_bias", &mixer.in_bias)
        .may("layer_norm_epsilon", &layer_norm_epsilon)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
    mixer.out_bias = mixer.in_bias;
  }
};

}  // namespace

std::unique_ptr<LanguageModel> make_mamba2(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  nn::Mamba2Kind kind{.act = nn::activation_named(c.hidden_act, "config.hidden_act"),
                      .norm_eps = c.layer_norm_epsilon};
  w.transpose_conv("mixer.conv1d.weight");
  for (auto [from, to] : {std::pair{"backbone.embeddings.", "model.embed_tokens."},
                          {"backbone.layers.", "model.layers."},
                          {"backbone.norm_f.", "model.norm."}})
    w.rename_prefix(from, to);
  using Block = nn::Residual<nn::Mamba2>;
  int dim = c.shape.hidden_size;
  return make_causal_lm(
      c.shape, c.layer_norm_epsilon, c.tie_word_embeddings, w, [&](int, nn::Scope scope) -> Block {
        return {{scope / "norm", dim, c.layer_norm_epsilon}, {scope / "mixer", dim, c.mixer, kind}};
      });
}

}  // namespace mlxcpp::lm
