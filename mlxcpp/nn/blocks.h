// Modules that models are made of.  Each binds names to ops' plain structs: the constructor is the
// shape contract, the call is one operation.
#pragma once

#include "mlxcpp/nn/rope.h"
#include "mlxcpp/nn/weights.h"
#include "mlxcpp/ops/experts.h"
#include "mlxcpp/ops/plan.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

namespace mlxcpp::nn {

struct Linear {
  ops::Weight w;
  Linear(Scope s, int in, int out, bool bias = false) : w(s.take_linear({out, in}, bias)) {}
  array operator()(const array& x) const { return ops::linear(x, w); }
};

struct Embedding {
  ops::Weight w;
  Embedding(Scope s, int vocab, int dim) : w(s.take_table({vocab, dim})) {}
  array operator()(const array& ids) const { return ops::embed(ids, w); }
};

/// `by`, in the precision of the table that it scales: so transformers rounds it in most models.
float in_precision_of(const Embedding& table, float by);

struct RmsNorm : ops::Norm {
  RmsNorm(Scope s, int dim, float e) : ops::Norm{s.take("weight", {dim}), e} {}
  array operator()(const array& x) const { return ops::norm(x, *this); }
};

struct AttentionShape {
  int dim, heads, kv_heads, head_dim;
  bool bias = false, out_bias = false;
  std::optional<float> qk_norm = {};  // its epsilon: q_norm and k_norm over each head
  std::optional<float> scale = {};    // absent: 1 / sqrt(head_dim)
  int window = 0;
};
/// q_proj, k_proj, v_proj, o_proj, and q_norm, k_norm where there are any.
struct Attention : ops::SelfAttention {
  Attention(Scope s, const AttentionShape& shape, ops::Rope rope);
  array operator()(const array& x, const ops::Layer& layer) const {
    return ops::self_attention(x, *this, layer);
  }
  ops::LayerLayout layout() const { return {.kv = {ops::layout(*this)}, .states = {}}; }
};

/// down(act(gate(x)) * up(x)).
struct GatedMlp : ops::Mlp {
  GatedMlp(Scope s, int dim, int hidden, ops::Activation act, bool bias = false);
  array operator()(const array& x) const { return ops::mlp(x, *this); }
};

struct MlpShape {
  int hidden;
  ops::Activation act;
  bool bias = false;
};

struct ExpertShape {
  int count, dim, hidden;
  ops::Glu glu = {};
  bool gate = true;  // false: act(up(x)) alone
  bool bias = false;
};
/// Stacked gate_proj, up_proj, down_proj of (E, out, in).
struct Experts : ops::ExpertWeights {
  Experts(Scope s, const ExpertShape& shape);
  array operator()(const array& x, const array& chosen, const array& weights) const {
    return ops::experts(x, chosen, weights, *this);
  }
};

/// The usual layer; it is the plan that a backend may run as one primitive.
struct Block : ops::LayerPlan {
  ops::LayerLayout layout() const { return {.kv = {ops::layout(attn)}, .states = {}}; }
};

/// Norms before both halves, under Hugging Face's usual names: input_layernorm, self_attn,
/// post_attention_layernorm, mlp.
Block pre_norm_block(Scope s,
                     const AttentionShape& attention,
                     const ops::Rope& rope,
                     const MlpShape& mlp,
                     float eps);

/// h + mixer(norm(h)), then the same with a feed-forward network: the usual residual shape over
/// other mixers than attention.
template <class Mixer, class Mlp>
struct PreNorm {
  RmsNorm pre_mixer;
  Mixer mixer;
  RmsNorm pre_mlp;
  Mlp mlp;

  array operator()(const array& h, const ops::Layer& layer) const {
    array mid = ops::add(h, mixer(pre_mixer(h), layer));
    return ops::add(mid, mlp(pre_mlp(mid)));
  }
  ops::LayerLayout layout() const { return mixer.layout(); }
};

/// h + mixer(norm(h)) alone, where each layer is one mixer.
template <class Mixer>
struct Residual {
  RmsNorm norm;
  Mixer mixer;

  array operator()(const array& h, const ops::Layer& layer) const {
    return ops::add(h, mixer(norm(h), layer));
  }
  ops::LayerLayout layout() const { return mixer.layout(); }
};

/// One of several modules, fixed by the config.
template <class... Kinds>
struct Either {
  std::variant<Kinds...> module;

  template <class... X>
  array operator()(const X&... x) const {
    return std::visit([&](auto& m) { return m(x...); }, module);
  }
  ops::LayerLayout layout() const {
    return std::visit([](auto& m) { return m.layout(); }, module);
  }
};

/// Embeddings, layers, last norm.
template <class Layer>
struct Decoder {
  Embedding embed;
  std::vector<Layer> layers;
  RmsNorm norm;

  /// h: (B, L, D) -> (B, L, D).
  array operator()(const array& h, const ops::Pass& pass) const { return norm(run(h, pass)); }
  std::vector<ops::LayerLayout> layout() const {
    std::vector<ops::LayerLayout> all;
    for (auto& l : layers) all.push_back(l.layout());
    return all;
  }

 private:
  array run(array h, const ops::Pass& pass) const {
    if constexpr (std::is_base_of_v<ops::LayerPlan, Layer>) {
      std::vector<const ops::LayerPlan*> plans;
      for (auto& l : layers) plans.push_back(&l);
      return ops::layers(std::move(h), plans, pass);
    } else {
      for (size_t i = 0; i < layers.size(); ++i) h = layers[i](h, pass.layers[i]);
      return h;
    }
  }
};

/// The output projection: its own weight, or the embedding's when tied.
struct Head {
  ops::Weight w;
  Head(Scope s, const Embedding& embed, int vocab, int dim, bool tied)
      : w(tied ? embed.w : s.take_linear({vocab, dim})) {}
  array operator()(const array& h) const { return ops::linear(h, w); }
};

/// n things made one after the other, none of which needs a default.
template <class Make>
auto build(int n, Make make) {
  std::vector<decltype(make(0))> all;
  all.reserve(std::min(n, 1 << 10));  // a file may claim more than it has
  for (int i = 0; i < n; ++i) all.push_back(make(i));
  return all;
}

}  // namespace mlxcpp::nn
