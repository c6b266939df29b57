// Qwen 3 Next: gated delta nets, gated attention in every n-th layer; routed experts beside a
// shared one. Source: mlx-lm models/qwen3_next.py (0.32.2), transformers models/qwen3_next. Differs
// from mlx-lm: layer_types, rope_parameters, hidden_act and transformers' defaults are read; the
// shape of the convolutions tells published checkpoints from converted ones; norms are shifted in
// float32.
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/lm/models/mtp.h"
#include "mlxcpp/nn/gated_mixers.h"
#include "mlxcpp/nn/shared_expert.h"

#include <mlx/ops.h>

#include <algorithm>

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape{.head_dim = 256};
  nn::RopeConfig rope{.max_position_embeddings = 32768, .partial_rotary_factor = 0.25f};
  nn::DeltaShape delta;
  nn::LinearLayers layers;
  nn::SharedExpertShape moe;
  int decoder_sparse_step = 1;
  std::vector<int> mlp_only_layers;
  bool norm_topk_prob = true, attention_bias = false;
  float rms_norm_eps = 1e-6f;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    shape.fields(f);
    rope.fields(f);
    delta.fields(f);
    layers.fields(f, shape.num_hidden_layers);
    moe.fields(f);
    f.may("decoder_sparse_step", &decoder_sparse_step)
        .may("mlp_only_layers", &mlp_only_layers)
        .may("norm_topk_prob", &norm_topk_prob)
        .may("attention_bias", &attention_bias)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
    io::require_positive(f.where("decoder_sparse_step"), decoder_sparse_step);
    io::require_product(f.where("head_dim"), 2, shape.num_attention_heads * shape.head_size());
  }

  bool sparse(int layer) const {
    return std::ranges::count(mlp_only_layers, layer) == 0 &&
           (layer + 1) % decoder_sparse_step == 0;
  }
};

/// The rows of its projections stand in the order of key heads: each has its own q, k, v and z, and
/// its own b and a.
struct DeltaNet {
  nn::Linear qkvz, ba;
  nn::GatedDeltaNet net;

  DeltaNet(const Config& c, nn::Scope w, ops::Activation act)
      : qkvz(w / "in_proj_qkvz", c.shape.hidden_size, c.delta.channels() + c.delta.values()),
        ba(w / "in_proj_ba", c.shape.hidden_size, 2 * c.delta.linear_num_value_heads),
        net(w, c.delta, c.shape.hidden_size, act, c.rms_norm_eps) {}

  array operator()(const array& x, const ops::Layer& layer) const {
    int heads = net.shape.linear_num_key_heads, k = net.shape.linear_key_head_dim,
        v = net.shape.values() / heads;
    auto by_head = [&](const array& y) { return mx::unflatten(y, -1, {heads, -1}); };
    auto whole = [](const array& y) { return mx::flatten(y, -2, -1); };
    auto p = ops::split_at(by_head(qkvz(x)), {k, 2 * k, 2 * k + v});
    auto g = mx::split(by_head(ba(x)), 2, -1);
    return net({.qkv = mx::concatenate({whole(p[0]), whole(p[1]), whole(p[2])}, -1),
                .z = whole(p[3]),
                .b = whole(g[0]),
                .a = whole(g[1])},
               layer);
  }
  ops::LayerLayout layout() const { return net.layout(); }
};

using Mixer = nn::Either<DeltaNet, nn::GatedAttention>;
using Feed = nn::Either<nn::GatedMlp, nn::SharedExpertMoe>;
using Block = nn::PreNorm<Mixer, Feed>;

/// `layer` counts from 0; the head for further tokens has one that attends, and experts as layer 0.
Block make_block(const Config& c, int layer, bool linear, const ops::Rope& rope, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto act = nn::activation_named(c.hidden_act, "config.hidden_act");
  auto attention = c.shape.attention();
  attention.bias = attention.out_bias = c.attention_bias;
  attention.qk_norm = c.rms_norm_eps;
  auto mixer = [&]() -> Mixer {
    if (linear) return {DeltaNet(c, w / "linear_attn", act)};
    return {nn::GatedAttention(w / "self_attn", attention, rope)};
  };
  auto feed = [&]() -> Feed {
    if (c.sparse(layer)) return {nn::SharedExpertMoe(w / "mlp", c.moe, dim, act, c.norm_topk_prob)};
    return {nn::GatedMlp(w / "mlp", dim, c.shape.intermediate_size, act)};
  };
  return {.pre_mixer = {w / "input_layernorm", dim, c.rms_norm_eps},
          .mixer = mixer(),
          .pre_mlp = {w / "post_attention_layernorm", dim, c.rms_norm_eps},
          .mlp = feed()};
}

}  // namespace

std::unique_ptr<LanguageModel> make_qwen3_next(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  auto rope = c.rope.make(c.shape.head_size());
  w.drop_layers("mtp.layers", 1);
  if (!w.mtp) w.drop_prefix("mtp.");
  w.stack_experts("experts", "switch_mlp", c.moe.num_experts);
  nn::centre_norms(w);
  return make_causal_lm(
      c.shape,
      c.rms_norm_eps,
      c.tie_word_embeddings,
      w,
      [&](int layer, nn::Scope scope) {
        return make_block(c, layer, c.layers.linear(layer), rope, scope);
      },
      kQwenMtp,
      [&](nn::Scope root) { return make_block(c, 0, false, rope, root / "layers" / 0); });
}

}  // namespace mlxcpp::lm
