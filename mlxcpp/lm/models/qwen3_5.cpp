// Qwen 3.5 text decoders: gated delta nets, gated attention in every n-th layer; one feed-forward
// network, or routed experts beside a shared one.  The config may stand inside of that of a model
// that sees, whose other tensors are dropped.
// Source: mlx-lm models/qwen3_5.py, qwen3_5_moe.py (0.32.2), transformers models/qwen3_5,
// qwen3_5_moe.  Differs from mlx-lm: layer_types, hidden_act and transformers' defaults are read,
// norm_topk_prob is not; experts may come one by one; norms are shifted in float32.
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/lm/models/mtp.h"
#include "mlxcpp/nn/gated_mixers.h"
#include "mlxcpp/nn/shared_expert.h"

namespace mlxcpp::lm {
namespace {

struct Config {
  bool sparse;  // its type says so
  nn::DecoderShape shape{.intermediate_size = 12288, .head_dim = 256};
  nn::RopeConfig rope{.max_position_embeddings = 32768, .partial_rotary_factor = 0.25f};
  nn::DeltaShape delta;
  nn::LinearLayers layers;
  nn::SharedExpertShape moe;
  bool attention_bias = false;
  float rms_norm_eps = 1e-6f;
  std::optional<bool> tie_word_embeddings;
  ops::Activation act = ops::Activation::silu;

  void fields(io::Fields& f) {
    std::string hidden_act = "silu";
    shape.fields(f);
    rope.fields(f);
    delta.fields(f);
    layers.fields(f, shape.num_hidden_layers);
    if (sparse) moe.fields(f);
    f.may("attention_bias", &attention_bias)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
    act = nn::activation_named(hidden_act, f.where("hidden_act"));
    io::require_product(f.where("head_dim"), 2, shape.num_attention_heads * shape.head_size());
  }
};

struct DeltaNet {
  nn::Linear qkv, z, b, a;
  nn::GatedDeltaNet net;

  DeltaNet(const Config& c, nn::Scope w)
      : qkv(w / "in_proj_qkv", c.shape.hidden_size, c.delta.channels()),
        z(w / "in_proj_z", c.shape.hidden_size, c.delta.values()),
        b(w / "in_proj_b", c.shape.hidden_size, c.delta.linear_num_value_heads),
        a(w / "in_proj_a", c.shape.hidden_size, c.delta.linear_num_value_heads),
        net(w, c.delta, c.shape.hidden_size, c.act, c.rms_norm_eps) {}

  array operator()(const array& x, const ops::Layer& layer) const {
    return net({.qkv = qkv(x), .z = z(x), .b = b(x), .a = a(x)}, layer);
  }
  ops::LayerLayout layout() const { return net.layout(); }
};

using Mixer = nn::Either<DeltaNet, nn::GatedAttention>;
using Feed = nn::Either<nn::GatedMlp, nn::SharedExpertMoe>;
using Block = nn::PreNorm<Mixer, Feed>;

Block make_block(const Config& c, bool linear, const ops::Rope& rope, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto attention = c.shape.attention();
  attention.bias = attention.out_bias = c.attention_bias;
  attention.qk_norm = c.rms_norm_eps;
  auto mixer = [&]() -> Mixer {
    if (linear) return {DeltaNet(c, w / "linear_attn")};
    return {nn::GatedAttention(w / "self_attn", attention, rope)};
  };
  auto feed = [&]() -> Feed {
    if (c.sparse) return {nn::SharedExpertMoe(w / "mlp", c.moe, dim, c.act, true)};
    return {nn::GatedMlp(w / "mlp", dim, c.shape.intermediate_size, c.act)};
  };
  return {.pre_mixer = {w / "input_layernorm", dim, c.rms_norm_eps},
          .mixer = mixer(),
          .pre_mlp = {w / "post_attention_layernorm", dim, c.rms_norm_eps},
          .mlp = feed()};
}

/// To MLX's names and layout, from those of the whole model or of the decoder alone.
void sanitize(nn::WeightMap& w, const Config& c) {
  for (auto other : {"model.visual.", "vision_tower."}) w.drop_prefix(other);
  for (auto root : {"mtp.", "language_model.mtp."}) {
    w.drop_layers(std::string(root) + "layers", 1);
    if (!w.mtp) w.drop_prefix(root);
  }
  w.rename_prefix("model.language_model.", "model.");
  w.rename_prefix("language_model.", "");
  if (c.sparse) {
    w.stack_experts("experts", "switch_mlp", c.moe.num_experts);
    w.rename_part("experts.gate_up_proj", "switch_mlp.gate_up_proj.weight");
    w.rename_part("experts.down_proj", "switch_mlp.down_proj.weight");
    int hidden = c.moe.moe_intermediate_size;
    w.split_rows("gate_up_proj", {{"gate_proj", hidden}, {"up_proj", hidden}});
  }
  nn::centre_norms(w);
}

std::unique_ptr<LanguageModel> make(io::Fields f, nn::WeightMap& w, bool sparse) {
  Config c{.sparse = sparse};
  auto text = f.object("text_config");
  c.fields(text ? *text : f);
  auto rope = c.rope.make(c.shape.head_size());
  sanitize(w, c);
  return make_causal_lm(
      c.shape,
      c.rms_norm_eps,
      c.tie_word_embeddings,
      w,
      [&](int layer, nn::Scope scope) {
        return make_block(c, c.layers.linear(layer), rope, scope);
      },
      kQwenMtp,
      [&](nn::Scope root) { return make_block(c, false, rope, root / "layers" / 0); });
}

}  // namespace

std::unique_ptr<LanguageModel> make_qwen3_5(io::Fields f, nn::WeightMap& w) {
  return make(std::move(f), w, false);
}

std::unique_ptr<LanguageModel> make_qwen3_5_moe(io::Fields f, nn::WeightMap& w) {
  return make(std::move(f), w, true);
}

}  // namespace mlxcpp::lm
