// The decoder that many architectures are, and what a model file gives it: the layers.
#pragma once

#include "mlxcpp/lm/model.h"
#include "mlxcpp/nn/config.h"

#include <utility>

namespace mlxcpp::lm {

/// `by`, in the precision of the table that it scales: so transformers rounds it in most models.
inline float in_precision_of(const nn::Embedding& table, float by) {
  if (table.w->dtype() == mx::bfloat16) return float(mx::bfloat16_t(by));
  if (table.w->dtype() == mx::float16) return float(mx::float16_t(by));
  return by;
}

/// What some decoders have around the layers.
struct Around {
  float embed = 1;            // scales what is looked up, not embeddings from outside
  bool embed_rounded = true;  // in_precision_of the table
  float logits = 1;           // scales them
  float softcap = 0;          // of the logits; 0: none
};

/// Embeddings, layers, norm, head.
template <class Layer>
class CausalLm final : public LanguageModel {
 public:
  CausalLm(nn::Decoder<Layer> decoder, nn::Head head, const Around& around = {})
      : decoder_(std::move(decoder)),
        head_(std::move(head)),
        embed_scale_(around.embed_rounded ? in_precision_of(decoder_.embed, around.embed)
                                          : around.embed),
        logits_scale_(around.logits),
        softcap_(around.softcap) {}

  array logits(const array& h) const override {
    array y = ops::scale(head_(h), logits_scale_);
    return softcap_ ? ops::softcap(y, softcap_) : y;
  }
  CacheLayout layout() const override { return decoder_.layout(); }
  int vocab_size() const override { return decoder_.embed.w->outputs(); }

 private:
  array run(const Input& in, const ops::Pass& pass) const override {
    array h = embed(in, decoder_.embed);
    return decoder_(in.embeddings ? h : ops::scale(h, embed_scale_), pass);
  }

  nn::Decoder<Layer> decoder_;
  nn::Head head_;
  float embed_scale_, logits_scale_, softcap_;
};

/// Binds Hugging Face's usual names.  `tied` absent: a head in the checkpoint decides, as
/// transformers has it.  make_layer(index, scope) gives each layer.
template <class MakeLayer>
std::unique_ptr<LanguageModel> make_causal_lm(const nn::DecoderShape& shape,
                                              float norm_eps,
                                              std::optional<bool> tied,
                                              nn::WeightMap& w,
                                              MakeLayer make_layer,
                                              const Around& around = {}) {
  w.drop_containing("rotary_emb.inv_freq");
  bool shares = tied.value_or(!w.has("lm_head.weight"));
  if (shares) w.drop_prefix("lm_head.");
  nn::Scope root(w), model = root / "model";
  using Layer = decltype(make_layer(0, model));
  nn::Decoder<Layer> decoder{
      .embed = {model / "embed_tokens", shape.vocab_size, shape.hidden_size},
      .layers = nn::build(shape.num_hidden_layers,
                          [&](int i) { return make_layer(i, model / "layers" / i); }),
      .norm = {model / "norm", shape.hidden_size, norm_eps}};
  nn::Head head(root / "lm_head", decoder.embed, shape.vocab_size, shape.hidden_size, shares);
  return std::make_unique<CausalLm<Layer>>(std::move(decoder), std::move(head), around);
}

}  // namespace mlxcpp::lm
