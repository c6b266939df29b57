// LFM 2: gated short convolutions, and attention in some layers.
// Source: mlx-lm models/lfm2.py (0.32.2), transformers models/lfm2.  Differs from mlx-lm:
// layer_types before full_attn_idxs, rope scalings, untied heads and the width without block_dim,
// as transformers.
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/ops/recurrent.h"

#include <mlx/ops.h>

#include <algorithm>
#include <climits>
#include <cmath>

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape{.intermediate_size = 12288};
  nn::RopeConfig rope{.max_position_embeddings = 128000, .rope_theta = 1e6f};
  std::vector<int> full_attn_idxs;
  std::vector<std::string> layer_types;  // empty: as full_attn_idxs says, or all of attention
  int conv_L_cache = 3, block_multiple_of = 256;
  double block_ffn_dim_multiplier = 1;
  bool conv_bias = false, block_auto_adjust_ff_dim = true, tie_word_embeddings = true;
  float norm_eps = 1e-5f;

  void fields(io::Fields& f) {
    shape.fields(f);
    rope.fields(f);
    f.may("block_ff_dim", &shape.intermediate_size)  // wins, as in transformers
        .may("layer_types", &layer_types)
        .may("conv_L_cache", &conv_L_cache)
        .may("conv_bias", &conv_bias)
        .may("block_auto_adjust_ff_dim", &block_auto_adjust_ff_dim)
        .may("block_multiple_of", &block_multiple_of)
        .may("block_ffn_dim_multiplier", &block_ffn_dim_multiplier)
        .may("norm_eps", &norm_eps)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("tie_embedding", &tie_word_embeddings);
    io::require_positive(f.where("block_ff_dim"), shape.intermediate_size);
    io::require_positive(f.where("conv_L_cache"), conv_L_cache);
    io::require_positive(f.where("block_multiple_of"), block_multiple_of);
    io::require_in_range(f.where("hidden_size"), shape.hidden_size, 1, INT_MAX / 3);
    read_layers(f);
    io::require_in_range(f.where("block_ffn_dim_multiplier"), width(), 1., double(INT_MAX));
  }

  void read_layers(io::Fields& f) {
    int n = shape.num_hidden_layers;
    if (!layer_types.empty())
      nn::check_layer_types(f.where("layer_types"), layer_types, n, {"conv", "full_attention"});
    else if (f.has("full_attn_idxs"))
      f.need("full_attn_idxs", &full_attn_idxs);
    else
      for (int i = 0; i < n; ++i) full_attn_idxs.push_back(i);
  }

  bool attends(int layer) const {
    if (!layer_types.empty()) return layer_types[layer] == "full_attention";
    return std::ranges::count(full_attn_idxs, layer) > 0;
  }
  /// Of the feed-forward networks.
  double width() const {
    if (!block_auto_adjust_ff_dim) return shape.intermediate_size;
    double adjusted = std::floor(block_ffn_dim_multiplier * (2 * (shape.intermediate_size / 3.0)));
    return block_multiple_of * std::ceil(adjusted / block_multiple_of);
  }
};

/// out(C * conv(B * x)), where B, C and x are thirds of one projection.
struct ShortConv {
  nn::Linear in, out;
  ops::Param conv;
  std::optional<ops::Param> conv_bias;

  ShortConv(const Config& c, nn::Scope w)
      : in(w / "in_proj", c.shape.hidden_size, 3 * c.shape.hidden_size, c.conv_bias),
        out(w / "out_proj", c.shape.hidden_size, c.shape.hidden_size, c.conv_bias),
        conv((w / "conv").take("weight", {c.shape.hidden_size, c.conv_L_cache, 1})) {
    if (c.conv_bias) conv_bias = (w / "conv").take("bias", {c.shape.hidden_size});
  }

  array operator()(const array& x, const ops::Layer& layer) const {
    return out(ops::gated_conv(in(x), conv, conv_bias, layer));
  }
  ops::LayerLayout layout() const {
    return {.kv = {}, .states = {{conv->shape(1) - 1, conv->shape(0)}}};
  }
};

using Mixer = nn::Either<nn::Attention, ShortConv>;
using Block = nn::PreNorm<Mixer, nn::GatedMlp>;

Block make_block(const Config& c, int layer, const ops::Rope& rope, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto attention = c.shape.attention();
  attention.qk_norm = c.norm_eps;
  auto mixer = [&]() -> Mixer {
    if (c.attends(layer)) return {nn::Attention(w / "self_attn", attention, rope)};
    return {ShortConv(c, w / "conv")};
  };
  return {.pre_mixer = {w / "operator_norm", dim, c.norm_eps},
          .mixer = mixer(),
          .pre_mlp = {w / "ffn_norm", dim, c.norm_eps},
          .mlp = {w / "feed_forward", dim, int(c.width()), ops::Activation::silu}};
}

}  // namespace

std::unique_ptr<LanguageModel> make_lfm2(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  auto rope = c.rope.make(c.shape.head_size());
  w.transpose_conv("conv.conv.weight");
  for (auto [from, to] : {std::pair{"model.embedding_norm", "model.norm"},
                          {"self_attn.q_layernorm", "self_attn.q_norm"},
                          {"self_attn.k_layernorm", "self_attn.k_norm"},
                          {"self_attn.out_proj", "self_attn.o_proj"},
                          {"feed_forward.w1", "feed_forward.gate_proj"},
                          {"feed_forward.w2", "feed_forward.down_proj"},
                          {"feed_forward.w3", "feed_forward.up_proj"}})
    w.rename_part(from, to);
  return make_causal_lm(
      c.shape, c.norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        return make_block(c, layer, rope, scope);
      });
}

}  // namespace mlxcpp::lm
