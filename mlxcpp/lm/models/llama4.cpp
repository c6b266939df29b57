// Llama 4 text decoder: chunked attention with rope, every fourth layer whole and without; one of
// many experts beside a shared one in every n-th layer.
// Source: mlx-lm models/llama4.py (0.32.2), transformers models/llama4.  Differs from mlx-lm: lists
// of rope-less and of sparse layers, rms_norm_eps for the norms of q and k, as transformers.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"

#include <mlx/ops.h>

#include <algorithm>

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape;  // its intermediate_size is that of experts
  nn::RopeConfig rope{.max_position_embeddings = 131072, .rope_theta = 500000};
  int intermediate_size_mlp = 16384, num_local_experts = 16, num_experts_per_tok = 1,
      interleave_moe_layer_step = 1, no_rope_layer_interval = 4, attention_chunk_size = 8192,
      floor_scale = 8192;
  std::vector<int> no_rope_layers, moe_layers;  // the former holds a 1 for each layer with rope
  bool use_qk_norm = true, attn_temperature_tuning = true, attention_bias = false;
  float rms_norm_eps = 1e-5f, attn_scale = 0.1f;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    shape.fields(f);
    rope.rope_traditional = true;
    rope.fields(f);
    f.may("intermediate_size_mlp", &intermediate_size_mlp)
        .may("num_local_experts", &num_local_experts)
        .may("num_experts_per_tok", &num_experts_per_tok)
        .may("interleave_moe_layer_step", &interleave_moe_layer_step)
        .may("moe_layers", &moe_layers)
        .may("no_rope_layer_interval", &no_rope_layer_interval)
        .may("no_rope_layers", &no_rope_layers)
        .may("attention_chunk_size", &attention_chunk_size)
        .may("use_qk_norm", &use_qk_norm)
        .may("floor_scale", &floor_scale)
        .may("attn_scale", &attn_scale)
        .may("attention_bias", &attention_bias)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
    read_temperature(f);
    check(f);
  }

  /// Published configs have true, false, or a number that stands for true.
  void read_temperature(io::Fields& f) {
    int number = 1;
    if (f.type("attn_temperature_tuning") != io::JsonType::integer)
      f.may("attn_temperature_tuning", &attn_temperature_tuning);
    else if (f.need("attn_temperature_tuning", &number); number == 0)
      attn_temperature_tuning = false;
  }

  void check(const io::Fields& f) const {
    for (auto [key, value] : {std::pair{"intermediate_size_mlp", intermediate_size_mlp},
                              {"num_local_experts", num_local_experts},
                              {"interleave_moe_layer_step", interleave_moe_layer_step},
                              {"no_rope_layer_interval", no_rope_layer_interval},
                              {"attention_chunk_size", attention_chunk_size},
                              {"floor_scale", floor_scale}})
      io::require_positive(f.where(key), value);
    io::require_in_range(f.where("num_experts_per_tok"), num_experts_per_tok, 1, 1);
    if (!no_rope_layers.empty() && int(no_rope_layers.size()) < shape.num_hidden_layers)
      throw ConfigError(describe(f.where("no_rope_layers"),
                                 "too short",
                                 std::to_string(shape.num_hidden_layers),
                                 std::to_string(no_rope_layers.size())));
  }

  bool turns(int layer) const {
    if (!no_rope_layers.empty()) return no_rope_layers[layer] != 0;
    return (layer + 1) % no_rope_layer_interval != 0;
  }
  bool sparse(int layer) const {
    if (!moe_layers.empty()) return std::ranges::count(moe_layers, layer) > 0;
    return (layer + 1) % interleave_moe_layer_step == 0;
  }
};

/// Rope, then a norm without weights; or neither, and queries that grow with their place.
struct Attention {
  nn::Attention parts;
  bool turns, norm, tuned;
  float eps, by;
  int every;

  Attention(const Config& c, int layer, nn::Scope w)
      : parts(w, shape(c), c.rope.make(c.shape.head_size())),
        turns(c.turns(layer)),
        norm(c.use_qk_norm && turns),
        tuned(c.attn_temperature_tuning && !turns),
        eps(c.rms_norm_eps),
        by(c.attn_scale),
        every(c.floor_scale) {
    if (turns) parts.args.chunk = c.attention_chunk_size;
  }

  static nn::AttentionShape shape(const Config& c) {
    auto attention = c.shape.attention();
    attention.bias = attention.out_bias = c.attention_bias;
    return attention;
  }

  array placed(const array& x, const ops::Layer& layer) const {
    array heads = ops::split_heads(x, parts.head_dim);
    if (turns) heads = ops::rope(heads, parts.rope, layer);
    return norm ? ops::rms_norm(heads, nullptr, eps) : heads;
  }

  array operator()(const array& x, const ops::Layer& layer) const {
    auto [queries, keys, values] = ops::linear_each(x, parts.q, parts.k, parts.v);
    array query = placed(queries, layer), key = placed(keys, layer);
    if (tuned) query = ops::scale_by_place(query, every, by, layer);
    auto view = ops::kv_append(layer, key, ops::split_heads(values, parts.head_dim));
    return ops::linear(ops::merge_heads(ops::attention(query, view, parts.args)), parts.o);
  }
  ops::LayerLayout layout() const { return parts.layout(); }
};

/// The best expert, whose input (not output) the router scales, beside one that all tokens share.
struct Moe {
  nn::Linear router;
  nn::Experts experts;
  nn::GatedMlp shared;

  Moe(const Config& c, nn::Scope w, ops::Activation act)
      : router(w / "router", c.shape.hidden_size, c.num_local_experts),
        experts(w / "experts",
                {.count = c.num_local_experts,
                 .dim = c.shape.hidden_size,
                 .hidden = c.shape.intermediate_size,
                 .glu = {.act = act}}),
        shared(w / "shared_expert", c.shape.hidden_size, c.shape.intermediate_size, act) {}

  array operator()(const array& x) const {
    array logits = router(x), chosen = ops::top_k(logits, 1);
    array score = mx::sigmoid(mx::take_along_axis(logits, chosen, -1));
    array routed = experts(mx::multiply(x, score), chosen, mx::ones_like(score));
    return mx::add(routed, shared(x));
  }
};

using Feed = nn::Either<nn::GatedMlp, Moe>;
using Block = nn::PreNorm<Attention, Feed>;

Block make_block(const Config& c, int layer, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto act = nn::activation_named(c.hidden_act, "config.text_config.hidden_act");
  auto feed = [&]() -> Feed {
    if (c.sparse(layer)) return {Moe(c, w / "feed_forward", act)};
    return {nn::GatedMlp(w / "feed_forward", dim, c.intermediate_size_mlp, act)};
  };
  return {.pre_mixer = {w / "input_layernorm", dim, c.rms_norm_eps},
          .mixer = {c, layer, w / "self_attn"},
          .pre_mlp = {w / "post_attention_layernorm", dim, c.rms_norm_eps},
          .mlp = feed()};
}

/// Raw experts are (E, in, out) and lack ".weight".
void turn_experts(nn::WeightMap& w) {
  for (std::string leaf : {"gate_up_proj", "down_proj"}) {
    std::map<std::string, array> turned;
    std::erase_if(w.arrays, [&](auto& e) {
      bool raw = e.first.ends_with("feed_forward.experts." + leaf) && e.second.ndim() == 3;
      if (raw) turned.emplace(e.first + ".weight", mx::swapaxes(e.second, 1, 2));
      return raw;
    });
    w.arrays.merge(turned);
  }
}

}  // namespace

std::unique_ptr<LanguageModel> make_llama4(io::Fields f, nn::WeightMap& w) {
  auto text = f.need_object("text_config");
  auto c = io::read<Config>(text);
  w.drop_prefix("vision_model.");
  w.drop_prefix("multi_modal_projector.");
  w.rename_prefix("language_model.", "");
  turn_experts(w);
  w.split_rows("gate_up_proj",
               {{"gate_proj", c.shape.intermediate_size}, {"up_proj", c.shape.intermediate_size}});
  return make_causal_lm(
      c.shape, c.rms_norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        return make_block(c, layer, scope);
      });
}

}  // namespace mlxcpp::lm
