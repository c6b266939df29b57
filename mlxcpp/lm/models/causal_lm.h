// The decoder that many architectures are, and what a model file gives it: the layers.
#pragma once

#include "mlxcpp/lm/model.h"
#include "mlxcpp/nn/config.h"

#include <utility>

namespace mlxcpp::lm {

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
  CausalLm(nn::Decoder<Layer> decoder,
           nn::Head head,
           const Around& around = {},
           std::shared_ptr<const LanguageModel> mtp = {})
      : decoder_(std::move(decoder)),
        head_(std::move(head)),
        mtp_(std::move(mtp)),
        embed_scale_(around.embed_rounded ? nn::in_precision_of(decoder_.embed, around.embed)
                                          : around.embed),
        logits_scale_(around.logits),
        softcap_(around.softcap) {}

  array logits(const array& h) const override {
    array y = ops::scale(head_(h), logits_scale_);
    return softcap_ ? ops::softcap(y, softcap_) : y;
  }
  CacheLayout layout() const override { return decoder_.layout(); }
  int vocab_size() const override { return decoder_.embed.w->outputs(); }
  std::shared_ptr<const LanguageModel> mtp() const override { return mtp_; }

 private:
  array run(const Input& in, const ops::Pass& pass) const override {
    array h = embed(in, decoder_.embed);
    return decoder_(in.embeddings ? h : ops::scale(h, embed_scale_), pass);
  }

  nn::Decoder<Layer> decoder_;
  nn::Head head_;
  std::shared_ptr<const LanguageModel> mtp_;
  float embed_scale_, logits_scale_, softcap_;
};

/// What a decoder is made of, whatever it does with it.
template <class Layer>
struct DecoderParts {
  nn::Decoder<Layer> decoder;
  nn::Head head;
};

/// Binds Hugging Face's usual names.  `tied` absent: a head in the checkpoint decides, as
/// transformers has it.  make_layer(index, scope) gives each layer.
template <class MakeLayer>
auto bind_decoder(const nn::DecoderShape& shape,
                  float norm_eps,
                  std::optional<bool> tied,
                  nn::WeightMap& w,
                  MakeLayer make_layer) {
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
  return DecoderParts<Layer>{std::move(decoder), std::move(head)};
}

template <class MakeLayer>
std::unique_ptr<LanguageModel> make_causal_lm(const nn::DecoderShape& shape,
                                              float norm_eps,
                                              std::optional<bool> tied,
                                              nn::WeightMap& w,
                                              MakeLayer make_layer,
                                              const Around& around = {}) {
  auto parts = bind_decoder(shape, norm_eps, tied, w, make_layer);
  using Layer = typename decltype(parts.decoder.layers)::value_type;
  return std::make_unique<CausalLm<Layer>>(std::move(parts.decoder), std::move(parts.head), around);
}

}  // namespace mlxcpp::lm
