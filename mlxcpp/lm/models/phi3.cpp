// Phi 3 and 4 (mini) text decoders: fused projections, partial rope, longrope.
// Source: mlx-lm models/phi3.py (0.32.2), transformers models/phi3.  Differs from mlx-lm:
// longrope's short factors inside the original window, rope_parameters, windows and hidden_act, as
// transformers.
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape;
  nn::RopeConfig rope{.max_position_embeddings = 4096, .original_max_position_embeddings = 4096};
  nn::SlidingLayers sliding{.first = 0};
  float rms_norm_eps = 1e-5f;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    shape.fields(f);
    rope.fields(f);
    if (rope.rope_scaling.type == "yarn") rope.rope_scaling.type = "longrope";  // its older name
    sliding.fields(f, shape.num_hidden_layers);
    f.may("rms_norm_eps", &rms_norm_eps)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
  }
};

nn::Block make_block(const Config& c, int layer, const ops::Rope& rope, nn::Scope w) {
  auto attention = c.shape.attention();
  attention.window = c.sliding.window(layer);
  auto act = nn::activation_named(c.hidden_act, "config.hidden_act");
  return nn::pre_norm_block(w, attention, rope, {c.shape.intermediate_size, act}, c.rms_norm_eps);
}

}  // namespace

std::unique_ptr<LanguageModel> make_phi3(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  int head = c.shape.head_size(), keys = c.shape.kv_heads() * head;
  w.split_rows(
      "qkv_proj",
      {{"q_proj", c.shape.num_attention_heads * head}, {"k_proj", keys}, {"v_proj", keys}});
  w.split_rows("gate_up_proj",
               {{"gate_proj", c.shape.intermediate_size}, {"up_proj", c.shape.intermediate_size}});
  auto rope = c.rope.make(head);
  return make_causal_lm(
      c.shape, c.rms_norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        return make_block(c, layer, rope, scope);
      });
}

}  // namespace mlxcpp::lm
