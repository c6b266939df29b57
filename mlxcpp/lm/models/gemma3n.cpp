// Gemma 3n text decoder: several residual streams of which a layer computes one, predicts the
// others and corrects all; a low-rank residual beside attention; sparse gates; an input of its own
// for each layer; late layers that read the keys of earlier ones.
// Source: mlx-lm models/gemma3n.py (0.32.2), transformers models/gemma3n.  Differs from mlx-lm:
// coefficients are not clipped, and rope scalings, attention_bias, hidden_activation and untied
// heads are read, as transformers.
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/gemma3n_config.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/lm/models/text_part.h"

#include <mlx/ops.h>

#include <cmath>
#include <utility>

namespace mlxcpp::lm {
namespace {

using Config = Gemma3nConfig;

array stream(const array& h, int i) { return mx::take(h, i, 0); }

/// Of the gates only the largest share is let through, less the bound that it is above.
struct SparseMlp {
  nn::GatedMlp mlp;
  std::optional<float> cutoff;  // in deviations; absent: all of them

  array operator()(const array& x) const {
    if (!cutoff) return mlp(x);
    auto [gate, up] = ops::linear_each(x, mlp.gate, mlp.up);
    array bound = mx::add(mx::mean(gate, -1, true), ops::scale(mx::std(gate, -1, true), *cutoff));
    gate = mx::maximum(mx::subtract(gate, bound), array(0, gate.dtype()));
    return ops::linear(ops::gated(gate, up, mlp.glu), mlp.down);
  }
};

/// Alternating updates: what becomes of all streams (n, B, L, D) when a layer computes one of them.
struct AltUp {
  nn::Linear router, prediction, correction;
  nn::RmsNorm router_norm;
  int active;

  AltUp(const Config& c, nn::Scope w)
      : router(w / "modality_router", c.shape.hidden_size, c.altup_num_inputs),
        prediction(
            w / "prediction_coefs", c.altup_num_inputs, c.altup_num_inputs * c.altup_num_inputs),
        correction(w / "correction_coefs", c.altup_num_inputs, c.altup_num_inputs),
        router_norm(w / "router_norm", c.shape.hidden_size, c.rms_norm_eps),
        active(c.altup_active_idx) {}

  /// (B, L, D) -> (B, L, n) float32.
  array route(const array& x) const {
    array logits = router(ops::scale(router_norm(x), 1.f / x.shape(-1)));
    return mx::tanh(mx::astype(logits, mx::float32));
  }
  array predict(const array& h) const {
    int n = h.shape(0);
    array coefs = mx::unflatten(prediction(route(stream(h, active))), -1, {n, n});
    array wide = mx::astype(h, mx::float32);
    array mixed = mx::matmul(mx::transpose(wide, {1, 2, 3, 0}), mx::swapaxes(coefs, -1, -2));
    return mx::astype(mx::add(mx::transpose(mixed, {3, 0, 1, 2}), wide), h.dtype());
  }
  array correct(const array& predicted, const array& computed) const {
    array coefs = mx::add(correction(route(computed)), array(1.f));
    coefs = mx::expand_dims(mx::moveaxis(coefs, -1, 0), -1);
    array news = mx::subtract(computed, stream(predicted, active));
    return mx::astype(mx::add(predicted, mx::multiply(news, coefs)), computed.dtype());
  }
};

/// A residual of low rank beside attention: x + norm(right(left(x))).
struct Laurel {
  nn::Linear left, right;
  nn::RmsNorm norm;

  Laurel(const Config& c, nn::Scope w)
      : left(w / "linear_left", c.shape.hidden_size, c.laurel_rank),
        right(w / "linear_right", c.laurel_rank, c.shape.hidden_size),
        norm(w / "post_laurel_norm", c.shape.hidden_size, c.rms_norm_eps) {}
  array operator()(const array& x) const { return mx::add(x, norm(right(left(x)))); }
};

struct Block {
  AltUp altup;
  nn::RmsNorm pre_attn, post_attn, pre_mlp, post_mlp;
  Laurel laurel;
  nn::SharingAttention attn;
  SparseMlp mlp;
  nn::LayerInputGate gate;
  std::optional<ops::Param> scale;  // of what the gate sees

  /// h: all streams; input: the layer's own.
  array operator()(const array& h,
                   const array& input,
                   const ops::Layer& layer,
                   nn::KvViews& views) const {
    array predicted = altup.predict(h), x = stream(predicted, altup.active), normed = pre_attn(x);
    array attended = mx::add(x, post_attn(attn(normed, layer, views)));
    array mid = ops::scale(mx::add(attended, laurel(normed)), std::sqrt(0.5f));
    array corrected = altup.correct(predicted, mx::add(mid, post_mlp(mlp(pre_mlp(mid)))));
    array seen = stream(corrected, altup.active);
    if (scale) seen = mx::multiply(seen, mx::astype(**scale, seen.dtype()));
    auto parts = ops::split_at(corrected, {1}, 0);
    return mx::concatenate({parts[0], mx::add(parts[1], gate(seen, input))}, 0);
  }
  ops::LayerLayout layout() const { return attn.layout(); }
};

Block make_block(const Config& c, int layer, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto norm = [&](const char* name) { return nn::RmsNorm(w / name, dim, c.rms_norm_eps); };
  ops::Param scale = (w / "altup").take("correct_output_scale", {dim});
  return {.altup = {c, w / "altup"},
          .pre_attn = norm("input_layernorm"),
          .post_attn = norm("post_attention_layernorm"),
          .pre_mlp = norm("pre_feedforward_layernorm"),
          .post_mlp = norm("post_feedforward_layernorm"),
          .laurel = {c, w / "laurel"},
          .attn = {w / "self_attn", c.attention(layer), c.rope(layer), c.keys(layer)},
          .mlp = {{w / "mlp", dim, c.mlp_width(layer), c.activation}, c.gate_cutoff(layer)},
          .gate = {w, c.layer_inputs(), c.activation},
          .scale = c.altup_correct_scale ? std::optional(scale) : std::nullopt};
}

/// The streams but the first go in and out by projections, at the first one's size.
array like(const array& first, const array& x) {
  auto power = [](const array& a) { return mx::mean(mx::square(a), -1, true); };
  array size = mx::sqrt(mx::maximum(power(x), array(1e-5f, x.dtype())));
  return mx::divide(mx::multiply(x, mx::sqrt(power(first))), size);
}

class Gemma3n final : public LanguageModel {
 public:
  Gemma3n(const Config& c, nn::Scope w, DecoderParts<Block> parts)
      : decoder_(std::move(parts.decoder)),
        head_(std::move(parts.head)),
        inputs_(w, c.layer_inputs()),
        in_(projections(c, w / "altup_projections")),
        out_(projections(c, w / "altup_unembed_projections")),
        softcap_(c.final_logit_softcapping),
        embed_scale_(nn::in_precision_of(decoder_.embed, std::sqrt(float(c.shape.hidden_size)))) {}

  array logits(const array& h) const override { return ops::softcap(head_(h), softcap_); }
  CacheLayout layout() const override { return decoder_.layout(); }
  int vocab_size() const override { return decoder_.embed.w->outputs(); }

 private:
  static std::vector<nn::Linear> projections(const Config& c, nn::Scope w) {
    int dim = c.shape.hidden_size;
    return nn::build(c.altup_num_inputs - 1, [&](int i) { return nn::Linear(w / i, dim, dim); });
  }

  array run(const Input& in, const ops::Pass& pass) const override {
    array first = embed(in, decoder_.embed);
    if (!in.embeddings) first = ops::scale(first, embed_scale_);
    auto inputs = inputs_(in.tokens, first, in.per_layer);
    std::vector<array> streams{first};
    for (auto& project : in_) streams.push_back(like(first, project(first)));
    array h = mx::stack(streams);
    nn::KvViews views(inputs.size());
    for (size_t i = 0; i < inputs.size(); ++i)
      h = decoder_.layers[i](h, inputs[i], pass.layers[i], views);
    streams = {stream(h, 0)};
    for (auto& project : out_)
      streams.push_back(like(streams[0], project(stream(h, int(streams.size())))));
    return decoder_.norm(mx::mean(mx::stack(streams), 0));
  }

  nn::Decoder<Block> decoder_;
  nn::Head head_;
  nn::LayerInputs inputs_;
  std::vector<nn::Linear> in_, out_;
  float softcap_, embed_scale_;
};

}  // namespace

std::unique_ptr<LanguageModel> make_gemma3n(io::Fields f, nn::WeightMap& w) {
  auto text = f.need_object("text_config");
  auto c = io::read<Config>(text);
  keep_text_part(w, {"vision_tower", "audio_tower", "embed_vision", "embed_audio"});
  auto parts = bind_decoder(
      c.shape, c.rms_norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        if (c.sharing.reads(layer)) nn::drop_keys(w, scope / "self_attn");
        return make_block(c, layer, scope);
      });
  return std::make_unique<Gemma3n>(c, nn::Scope(w) / "model", std::move(parts));
}

}  // namespace mlxcpp::lm
