// Gemma 4 text decoders: an input of its own for each layer, late layers that read the keys of
// earlier ones, larger heads where there is no window, routed experts beside the feed-forward
// network.  Each of these in some models only.
// Source: mlx-lm models/gemma4_text.py (0.32.2), transformers models/gemma4 and gemma4_unified.
// Differs from mlx-lm: attention_bias, hidden_activation and per_layer_config are read, the last
// layer never has a window, absent keys have transformers' defaults.
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/gemma4_config.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/nn/router.h"

#include <mlx/ops.h>

#include <cmath>
#include <utility>

namespace mlxcpp::lm {
namespace {

using Config = Gemma4Config;

/// The router has a norm of its own, and a factor for each expert.
struct Moe {
  ops::Norm norm;
  nn::Linear router;
  ops::Param factors;
  nn::Experts experts;
  int k;

  Moe(const Config& c, const Config::Moe& moe, nn::Scope w)
      : norm{(w / "router").take("scale", {c.shape.hidden_size}), c.rms_norm_eps},
        router(w / "router" / "proj", c.shape.hidden_size, moe.num_experts),
        factors((w / "router").take("per_expert_scale", {moe.num_experts})),
        experts(w / "experts" / "switch_glu",
                {.count = moe.num_experts,
                 .dim = c.shape.hidden_size,
                 .hidden = moe.moe_intermediate_size,
                 .glu = {.act = c.activation}}),
        k(moe.top_k_experts) {}

  /// h is routed, x is what the experts get.
  array operator()(const array& h, const array& x) const {
    array normed = ops::scale(ops::norm(h, norm), 1 / std::sqrt(float(h.shape(-1))));
    auto [chosen, weights] = nn::softmax_top_k(router(normed), k, true);
    return experts(x, chosen, mx::multiply(weights, mx::take(*factors, chosen)));
  }
};

/// The feed-forward network, and perhaps experts beside it.
struct Feed {
  struct Beside {
    Moe moe;
    nn::RmsNorm pre, post, post_mlp;
  };
  nn::RmsNorm pre, post;
  nn::GatedMlp mlp;
  std::optional<Beside> beside;

  array operator()(const array& h) const {
    array y = mlp(pre(h));
    if (beside) y = mx::add(beside->post_mlp(y), beside->post(beside->moe(h, beside->pre(h))));
    return post(y);
  }
};

struct Block {
  nn::RmsNorm pre_attn, post_attn;
  nn::SharingAttention attn;
  Feed feed;
  std::optional<nn::LayerInputGate> gate;
  ops::Param scalar;

  /// `input`: the layer's own, where there is a gate for it.
  array operator()(array h, const array* input, const ops::Layer& layer, nn::KvViews& views) const {
    h = mx::add(h, post_attn(attn(pre_attn(h), layer, views)));
    h = mx::add(h, feed(h));
    if (gate) h = mx::add(h, (*gate)(h, *input));
    return mx::multiply(h, mx::astype(*scalar, h.dtype()));
  }
  ops::LayerLayout layout() const { return attn.layout(); }
};

Block make_block(const Config& c, int layer, nn::Scope w) {
  auto norm = [&](const char* name) {
    return nn::RmsNorm(w / name, c.shape.hidden_size, c.rms_norm_eps);
  };
  Block block{.pre_attn = norm("input_layernorm"),
              .post_attn = norm("post_attention_layernorm"),
              .attn = {w / "self_attn", c.attention(layer), c.rope(layer), c.keys(layer)},
              .feed = {.pre = norm("pre_feedforward_layernorm"),
                       .post = norm("post_feedforward_layernorm"),
                       .mlp = {w / "mlp", c.shape.hidden_size, c.mlp_width(layer), c.activation},
                       .beside = {}},
              .gate = {},
              .scalar = w.take("layer_scalar", {1})};
  if (c.moe)
    block.feed.beside = {.moe = {c, *c.moe, w},
                         .pre = norm("pre_feedforward_layernorm_2"),
                         .post = norm("post_feedforward_layernorm_2"),
                         .post_mlp = norm("post_feedforward_layernorm_1")};
  if (c.has_layer_inputs()) block.gate.emplace(w, c.layer_inputs(), c.activation);
  return block;
}

class Gemma4 final : public LanguageModel {
 public:
  Gemma4(const Config& c, DecoderParts<Block> parts, std::optional<nn::LayerInputs> inputs)
      : decoder_(std::move(parts.decoder)),
        head_(std::move(parts.head)),
        inputs_(std::move(inputs)),
        softcap_(c.final_logit_softcapping.value_or(0)),
        embed_scale_(nn::in_precision_of(decoder_.embed, std::sqrt(float(c.shape.hidden_size)))) {}

  array logits(const array& h) const override {
    return softcap_ ? ops::softcap(head_(h), softcap_) : head_(h);
  }
  CacheLayout layout() const override { return decoder_.layout(); }
  int vocab_size() const override { return decoder_.embed.w->outputs(); }

 private:
  array run(const Input& in, const ops::Pass& pass) const override {
    array h = embed(in, decoder_.embed);
    if (!in.embeddings) h = ops::scale(h, embed_scale_);
    std::vector<array> inputs;
    if (inputs_) inputs = (*inputs_)(in.tokens, h, in.per_layer);
    nn::KvViews views(decoder_.layers.size());
    for (size_t i = 0; i < views.size(); ++i)
      h = decoder_.layers[i](h, inputs_ ? &inputs[i] : nullptr, pass.layers[i], views);
    return decoder_.norm(h);
  }

  nn::Decoder<Block> decoder_;
  nn::Head head_;
  std::optional<nn::LayerInputs> inputs_;
  float softcap_, embed_scale_;
};

/// Raw stacks of experts lack ".weight"; gate and up are one.
void name_experts(nn::WeightMap& w, const Config::Moe& moe) {
  for (std::string leaf : {"gate_up_proj", "down_proj"})
    w.rename_part("experts." + leaf, "experts.switch_glu." + leaf + ".weight");
  w.split_rows("gate_up_proj",
               {{"gate_proj", moe.moe_intermediate_size}, {"up_proj", moe.moe_intermediate_size}});
}

}  // namespace

std::unique_ptr<LanguageModel> make_gemma4_text(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  if (c.moe) name_experts(w, *c.moe);
  auto parts = bind_decoder(
      c.shape, c.rms_norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        if (c.sharing.reads(layer)) nn::drop_keys(w, scope / "self_attn");
        return make_block(c, layer, scope);
      });
  std::optional<nn::LayerInputs> inputs;
  if (c.has_layer_inputs()) inputs.emplace(nn::Scope(w) / "model", c.layer_inputs());
  return std::make_unique<Gemma4>(c, std::move(parts), std::move(inputs));
}

}  // namespace mlxcpp::lm
