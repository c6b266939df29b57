// gpt-oss: attention sinks, alternating windows, clamped gates, mxfp4 experts as OpenAI packed
// them.
// Source: mlx-lm models/gpt_oss.py (0.32.2), transformers models/gpt_oss.  Differs from mlx-lm:
// yarn's `truncate`, swiglu_limit, swiglu_alpha, attention_bias and tied heads are read, dense
// experts are taken as published, and without rope_scaling the published yarn holds.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/nn/router.h"

#include <mlx/ops.h>

namespace mlxcpp::lm {
namespace {

nn::RopeScaling published_yarn() {
  nn::RopeScaling yarn;
  yarn.type = "yarn";
  yarn.factor = 32;
  yarn.original_max_position_embeddings = 4096;
  yarn.truncate = false;
  return yarn;
}

struct Config {
  nn::DecoderShape shape{.num_key_value_heads = 8, .head_dim = 64};
  nn::RopeConfig rope{.max_position_embeddings = 131072, .rope_theta = 150000};
  nn::SlidingLayers sliding{.sliding_window = 128, .layer_types = {}, .pattern = 2};
  int num_local_experts = 128, num_experts_per_tok = 4;
  float rms_norm_eps = 1e-5f, swiglu_alpha = 1.702f, swiglu_limit = 7;
  bool attention_bias = true;
  std::optional<bool> tie_word_embeddings;

  void fields(io::Fields& f) {
    shape.fields(f);
    rope.fields(f);
    if (!f.has("rope_scaling") && !f.has("rope_parameters")) rope.rope_scaling = published_yarn();
    sliding.fields(f, shape.num_hidden_layers);
    f.may("num_local_experts", &num_local_experts)
        .may("num_experts_per_tok", &num_experts_per_tok)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("swiglu_alpha", &swiglu_alpha)
        .may("swiglu_limit", &swiglu_limit)
        .may("attention_bias", &attention_bias)
        .may("tie_word_embeddings", &tie_word_embeddings);
    io::require_positive(f.where("num_local_experts"), num_local_experts);
    io::require_in_range(f.where("num_experts_per_tok"), num_experts_per_tok, 1, num_local_experts);
    io::require_positive(f.where("swiglu_limit"), swiglu_limit);
    io::require_product(f.where("intermediate_size"), 2, shape.intermediate_size);
  }
};

struct Moe {
  nn::Linear router;
  nn::Experts experts;
  int k;

  Moe(const Config& c, nn::Scope w)
      : router(w / "router", c.shape.hidden_size, c.num_local_experts, true),
        experts(w / "experts",
                {.count = c.num_local_experts,
                 .dim = c.shape.hidden_size,
                 .hidden = c.shape.intermediate_size,
                 .glu = {.limit = c.swiglu_limit, .slope = c.swiglu_alpha, .shift = 1},
                 .bias = true}),
        k(c.num_experts_per_tok) {}

  array operator()(const array& x) const {
    // Softmax over the best k is softmax over all, normalised over the best k.
    auto [chosen, weights] = nn::softmax_top_k(router(x), k, true);
    return experts(x, chosen, weights);
  }
};

using Block = nn::PreNorm<nn::Attention, Moe>;

Block make_block(const Config& c, int layer, const ops::Rope& rope, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto shape = c.shape.attention();
  shape.bias = shape.out_bias = c.attention_bias;
  shape.window = c.sliding.window(layer);
  nn::Attention attention(w / "self_attn", shape, rope);
  attention.args.sinks = (w / "self_attn").take("sinks", {c.shape.num_attention_heads});
  return {.pre_mixer = {w / "input_layernorm", dim, c.rms_norm_eps},
          .mixer = std::move(attention),
          .pre_mlp = {w / "post_attention_layernorm", dim, c.rms_norm_eps},
          .mlp = {c, w / "mlp"}};
}

/// One stack of experts in the checkpoint: gate and up are interleaved, or it is down alone.
class RawExperts {
 public:
  RawExperts(nn::WeightMap& w, std::string path, int count, int in, int out)
      : w_(w), path_(std::move(path)), count_(count), in_(in), out_(out) {}

  void unpack() {
    if (in_ % 32 == 0) {
      if (auto blocks = taken("_blocks", {count_, out_, in_ / 32, 16}, mx::uint8))
        put(".weight", mx::flatten(mx::view(*blocks, mx::uint32), -2, -1), 1);
      if (auto scales = taken("_scales", {count_, out_, in_ / 32}, mx::uint8))
        put(".scales", *scales, 1);
    }
    if (auto dense = taken("", {count_, in_, out_})) put(".weight", mx::swapaxes(*dense, 1, 2), 1);
    if (auto bias = taken("_bias", {count_, out_})) put(".bias", *bias, 1);
  }

 private:
  std::optional<array> taken(const char* leaf,
                             const mx::Shape& shape,
                             std::optional<mx::Dtype> dtype = {}) {
    auto it = w_.arrays.find(path_ + leaf);
    if (it == w_.arrays.end()) return {};
    if (it->second.shape() != shape || (dtype && it->second.dtype() != *dtype))
      throw WeightError(describe(it->first,
                                 "wrong shape or dtype",
                                 nn::to_string(shape) + (dtype ? " of bytes" : ""),
                                 nn::to_string(it->second.shape())));
    return w_.arrays.extract(it).mapped();
  }

  void put(const char* leaf, const array& x, int axis) {
    std::string fused = "gate_up_proj";
    if (!path_.ends_with(fused)) {
      w_.arrays.insert_or_assign(path_ + leaf, x);
      return;
    }
    std::string experts = path_.substr(0, path_.size() - fused.size());
    auto pairs = mx::split(mx::unflatten(x, axis, {-1, 2}), 2, axis + 1);
    w_.arrays.insert_or_assign(experts + "gate_proj" + leaf, mx::squeeze(pairs[0], axis + 1));
    w_.arrays.insert_or_assign(experts + "up_proj" + leaf, mx::squeeze(pairs[1], axis + 1));
  }

  nn::WeightMap& w_;
  std::string path_;
  int count_, in_, out_;
};

}  // namespace

std::unique_ptr<LanguageModel> make_gpt_oss(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  auto rope = c.rope.make(c.shape.head_size());
  int E = c.num_local_experts, D = c.shape.hidden_size, F = c.shape.intermediate_size;
  return make_causal_lm(
      c.shape, c.rms_norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        auto experts = (scope / "mlp" / "experts").path() + ".";
        RawExperts(w, experts + "gate_up_proj", E, D, 2 * F).unpack();
        RawExperts(w, experts + "down_proj", E, F, D).unpack();
        return make_block(c, layer, rope, scope);
      });
}

}  // namespace mlxcpp::lm
