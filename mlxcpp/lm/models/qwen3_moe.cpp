// Qwen 3 with routed experts: softmax over all of them, then the best k.
// Source: mlx-lm models/qwen3_moe.py (0.32.2), transformers models/qwen3_moe.  Differs from mlx-lm:
// attention_bias, windows and hidden_act are read.
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/nn/router.h"

#include <algorithm>

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape;
  nn::RopeConfig rope{.max_position_embeddings = 32768};
  int sliding_window = 4096;  // of every layer, as transformers has it
  int num_experts = 0, num_experts_per_tok = 0, moe_intermediate_size = 0, decoder_sparse_step = 1;
  std::vector<int> mlp_only_layers;
  bool norm_topk_prob = false, attention_bias = false, use_sliding_window = false;
  float rms_norm_eps = 1e-6f;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    shape.fields(f);
    rope.fields(f);
    f.need("num_experts", &num_experts)
        .need("num_experts_per_tok", &num_experts_per_tok)
        .need("moe_intermediate_size", &moe_intermediate_size)
        .may("decoder_sparse_step", &decoder_sparse_step)
        .may("mlp_only_layers", &mlp_only_layers)
        .may("norm_topk_prob", &norm_topk_prob)
        .may("use_sliding_window", &use_sliding_window)
        .may("sliding_window", &sliding_window)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("attention_bias", &attention_bias)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
    if (use_sliding_window) io::require_positive(f.where("sliding_window"), sliding_window);
    io::require_positive(f.where("num_experts"), num_experts);
    io::require_in_range(f.where("num_experts_per_tok"), num_experts_per_tok, 1, num_experts);
    io::require_positive(f.where("moe_intermediate_size"), moe_intermediate_size);
    io::require_positive(f.where("decoder_sparse_step"), decoder_sparse_step);
  }

  bool sparse(int layer) const {
    return std::ranges::count(mlp_only_layers, layer) == 0 &&
           (layer + 1) % decoder_sparse_step == 0;
  }
};

struct Moe {
  nn::Linear gate;
  nn::Experts experts;
  int k;
  bool normalise;

  Moe(const Config& c, nn::Scope w, ops::Activation act)
      : gate(w / "gate", c.shape.hidden_size, c.num_experts),
        experts(w / "switch_mlp",
                {.count = c.num_experts,
                 .dim = c.shape.hidden_size,
                 .hidden = c.moe_intermediate_size,
                 .glu = {.act = act}}),
        k(c.num_experts_per_tok),
        normalise(c.norm_topk_prob) {}

  array operator()(const array& x) const {
    auto [chosen, weights] = nn::softmax_top_k(gate(x), k, normalise);
    return experts(x, chosen, weights);
  }
};

using Feed = nn::Either<nn::GatedMlp, Moe>;
using Block = nn::PreNorm<nn::Attention, Feed>;

Block make_block(const Config& c, int layer, const ops::Rope& rope, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto attention = c.shape.attention();
  attention.bias = attention.out_bias = c.attention_bias;
  attention.qk_norm = c.rms_norm_eps;
  if (c.use_sliding_window) attention.window = c.sliding_window;
  auto act = nn::activation_named(c.hidden_act, "config.hidden_act");
  auto feed = [&]() -> Feed {
    if (c.sparse(layer)) return {Moe(c, w / "mlp", act)};
    return {nn::GatedMlp(w / "mlp", dim, c.shape.intermediate_size, act)};
  };
  return {.pre_mixer = {w / "input_layernorm", dim, c.rms_norm_eps},
          .mixer = {w / "self_attn", attention, rope},
          .pre_mlp = {w / "post_attention_layernorm", dim, c.rms_norm_eps},
          .mlp = feed()};
}

}  // namespace

std::unique_ptr<LanguageModel> make_qwen3_moe(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  auto rope = c.rope.make(c.shape.head_size());
  w.stack_experts("experts", "switch_mlp", c.num_experts);
  return make_causal_lm(
      c.shape, c.rms_norm_eps, c.tie_word_embeddings, w, [&](int layer, nn::Scope scope) {
        return make_block(c, layer, rope, scope);
      });
}

}  // namespace mlxcpp::lm
