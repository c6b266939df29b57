// DeepSeek V3, Kimi K2: latent attention, experts in groups beside shared ones.
// Source: mlx-lm models/deepseek_v3.py (0.32.2), transformers models/deepseek_v3.  Differs from
// mlx-lm: defaults of the router, weights that add up to one for a single expert, rope_interleave,
// rope_parameters, hidden_act and tied heads, as transformers; a packed kv_b_proj is not packed
// anew; the head for further tokens is read where it is wanted, the first of several.
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/lm/models/mtp.h"
#include "mlxcpp/nn/grouped_moe.h"
#include "mlxcpp/nn/latent_attention.h"

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape;
  nn::LatentShape attention;
  nn::GroupedMoeConfig moe;
  float rms_norm_eps = 1e-6f;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    for (auto [key, extent] : {std::pair{"hidden_size", &shape.hidden_size},
                               {"num_hidden_layers", &shape.num_hidden_layers},
                               {"intermediate_size", &shape.intermediate_size},
                               {"num_attention_heads", &shape.num_attention_heads},
                               {"vocab_size", &shape.vocab_size}}) {
      f.need(key, extent);
      io::require_positive(f.where(key), *extent);
    }
    attention.dim = shape.hidden_size, attention.heads = shape.num_attention_heads;
    attention.rope.max_position_embeddings = 4096;
    attention.fields(f);
    moe.fields(f);
    f.may("rope_interleave", &attention.rope.rope_traditional)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
  }
};

using Feed = nn::Either<nn::GatedMlp, nn::GroupedMoe>;
using Block = nn::PreNorm<nn::LatentAttention, Feed>;

Block make_block(const Config& c, int layer, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto act = nn::activation_named(c.hidden_act, "config.hidden_act");
  auto feed = [&]() -> Feed {
    if (c.moe.sparse(layer)) return {nn::GroupedMoe(w / "mlp", dim, c.moe, act)};
    return {nn::GatedMlp(w / "mlp", dim, c.shape.intermediate_size, act)};
  };
  return {.pre_mixer = {w / "input_layernorm", dim, c.rms_norm_eps},
          .mixer = {w / "self_attn", c.attention},
          .pre_mlp = {w / "post_attention_layernorm", dim, c.rms_norm_eps},
          .mlp = feed()};
}

}  // namespace

std::unique_ptr<LanguageModel> make_deepseek_v3(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  int layers = c.shape.num_hidden_layers;
  std::string further = "model.layers." + std::to_string(layers);  // multi-token prediction
  w.drop_layers("model.layers", w.mtp ? layers + 1 : layers);
  for (auto shared : {".embed_tokens.", ".shared_head.head."}) w.drop_prefix(further + shared);
  w.stack_experts("experts", "switch_mlp", c.moe.experts());
  auto make_layer = [&](int layer, nn::Scope scope) {
    nn::split_kv_b(w, scope / "self_attn", c.attention);
    return make_block(c, layer, scope);
  };
  return make_causal_lm(c.shape,
                        c.rms_norm_eps,
                        c.tie_word_embeddings,
                        w,
                        make_layer,
                        {.root = further,
                         .of_token = "enorm",
                         .of_state = "hnorm",
                         .join = "eh_proj",
                         .norm = "shared_head.norm"},
                        [&](nn::Scope root) { return make_layer(layers, root); });
}

}  // namespace mlxcpp::lm
