// The head that guesses the token after the next: one more layer over the state of a token and the
// embedding of the token that follows it.
// Source: vLLM deepseek_mtp.py, qwen3_next_mtp.py, qwen3_5_mtp.py; SGLang deepseek_nextn.py.  The
// state is what the model's last norm gives, and so is what the head hands on to itself.
#pragma once

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/models/causal_lm.h"

#include <mlx/ops.h>

#include <string>
#include <utility>

namespace mlxcpp::lm {

/// Paths of a head's parts, below its own.
struct MtpNames {
  std::string root, of_token, of_state, join, norm;
};

inline const MtpNames kQwenMtp = {.root = "mtp",
                                  .of_token = "pre_fc_norm_embedding",
                                  .of_state = "pre_fc_norm_hidden",
                                  .join = "fc",
                                  .norm = "norm"};

template <class Layer>
class MtpHead final : public LanguageModel {
 public:
  struct Parts {
    nn::Embedding embed;  // the model's
    nn::RmsNorm of_token, of_state;
    nn::Linear join;
    Layer layer;
    nn::RmsNorm norm;
    nn::Head head;  // the model's
  };
  explicit MtpHead(Parts parts) : parts_(std::move(parts)) {}

  array logits(const array& h) const override { return parts_.head(h); }
  CacheLayout layout() const override { return {parts_.layer.layout()}; }
  int vocab_size() const override { return parts_.embed.w->outputs(); }

 private:
  array run(const Input& in, const ops::Pass& pass) const override {
    if (!in.embeddings)
      throw InputError(describe("embeddings", "missing", "the states before the tokens"));
    array token = parts_.of_token(parts_.embed(in.tokens)), state = parts_.of_state(*in.embeddings);
    array h = parts_.join(mx::concatenate({token, state}, -1));
    return parts_.norm(parts_.layer(h, pass.layers[0]));
  }

  Parts parts_;
};

/// Binds the head at `names`.  Throws WeightError where the checkpoint has none.
template <class Layer>
std::shared_ptr<const LanguageModel> make_mtp_head(const DecoderParts<Layer>& model,
                                                   nn::Scope root,
                                                   const MtpNames& names,
                                                   Layer layer) {
  const nn::Embedding& embed = model.decoder.embed;
  int dim = embed.w->inputs();
  float eps = model.decoder.norm.eps;
  return std::make_shared<MtpHead<Layer>>(
      typename MtpHead<Layer>::Parts{.embed = embed,
                                     .of_token = {root / names.of_token, dim, eps},
                                     .of_state = {root / names.of_state, dim, eps},
                                     .join = {root / names.join, 2 * dim, dim},
                                     .layer = std::move(layer),
                                     .norm = {root / names.norm, dim, eps},
                                     .head = model.head});
}

/// As make_causal_lm, and with the head where it is wanted: make_head_layer(scope) gives its layer.
template <class MakeLayer, class MakeHeadLayer>
std::unique_ptr<LanguageModel> make_causal_lm(const nn::DecoderShape& shape,
                                              float norm_eps,
                                              std::optional<bool> tied,
                                              nn::WeightMap& w,
                                              MakeLayer make_layer,
                                              const MtpNames& names,
                                              MakeHeadLayer make_head_layer) {
  auto parts = bind_decoder(shape, norm_eps, tied, w, make_layer);
  using Layer = typename decltype(parts.decoder.layers)::value_type;
  std::shared_ptr<const LanguageModel> mtp;
  if (w.mtp) {
    std::string join = names.root + "." + names.join + ".weight";
    if (!w.has(join))
      throw WeightError(describe(
          join, "missing", "a checkpoint that keeps its head for further tokens", "none in it"));
    nn::Scope root = nn::Scope(w, names.root);
    mtp = make_mtp_head<Layer>(parts, root, names, make_head_layer(root));
  }
  return std::make_unique<CausalLm<Layer>>(
      std::move(parts.decoder), std::move(parts.head), Around{}, std::move(mtp));
}

}  // namespace mlxcpp::lm
