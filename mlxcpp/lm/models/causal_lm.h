// The decoder that many architectures are, and what a model file gives it: the layers.
#pragma once

#include "mlxcpp/lm/model.h"
#include "mlxcpp/nn/config.h"

#include <utility>

namespace mlxcpp::lm {

/// Embeddings, layers, norm, head.
template <class Layer>
class CausalLm final : public LanguageModel {
 public:
  CausalLm(nn::Decoder<Layer> decoder, nn::Head head)
      : decoder_(std::move(decoder)), head_(std::move(head)) {}

  array logits(const array& h) const override { return head_(h); }
  CacheLayout layout() const override { return decoder_.layout(); }
  int vocab_size() const override { return decoder_.embed.w->outputs(); }

 private:
  array run(const Input& in, const ops::Pass& pass) const override {
    return decoder_(embed(in, decoder_.embed), pass);
  }

  nn::Decoder<Layer> decoder_;
  nn::Head head_;
};

/// Binds Hugging Face's usual names.  `tied` absent: a head in the checkpoint decides, as
/// transformers has it.  make_layer(index, scope) gives each layer.
template <class MakeLayer>
std::unique_ptr<LanguageModel> make_causal_lm(const nn::DecoderShape& shape,
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
  return std::make_unique<CausalLm<Layer>>(std::move(decoder), std::move(head));
}

}  // namespace mlxcpp::lm
