// Falcon H1: attention and Mamba 2 side by side in every layer, and a multiplier on nearly
// everything.
// Source: mlx-lm models/falcon_h1.py (0.32.2), transformers models/falcon_h1.  Differs from mlx-lm:
// multipliers act on activations, biases included, as in transformers; keys and values have theirs;
// the gated norm goes over each group; hidden_act, time_step_limit and derived widths are read.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/nn/mamba2.h"

#include <climits>
#include <cmath>

namespace mlxcpp::lm {
namespace {

struct Multipliers {
  float embedding = 1, lm_head = 1, keys = 1, attention_in = 1, attention_out = 1, ssm_in = 1,
        ssm_out = 1;
  std::vector<float> mlp = {1, 1};           // of the gate and of the result
  std::vector<float> ssm = {1, 1, 1, 1, 1};  // of gate, x, B, C and dt

  void fields(io::Fields& f) {
    for (auto [key, value] : {std::pair{"embedding_multiplier", &embedding},
                              {"lm_head_multiplier", &lm_head},
                              {"key_multiplier", &keys},
                              {"attention_in_multiplier", &attention_in},
                              {"attention_out_multiplier", &attention_out},
                              {"ssm_in_multiplier", &ssm_in},
                              {"ssm_out_multiplier", &ssm_out}})
      f.may(key, value);
    for (auto [key, list] : {std::pair{"mlp_multipliers", &mlp}, {"ssm_multipliers", &ssm}}) {
      auto length = list->size();
      f.may(key, list);
      if (list->size() != length)
        throw ConfigError(describe(
            f.where(key), "wrong length", std::to_string(length), std::to_string(list->size())));
    }
  }

  /// What is left to do when mlx-lm has converted the weights: the others are in them.
  Multipliers after_conversion(bool tied) const {
    Multipliers left;
    left.keys = keys;                   // never folded: mlx-lm looks for a key_proj
    left.attention_out = attention_in;  // of the values, which have none: the rest is linear
    left.ssm.clear();
    if (tied) left.lm_head = lm_head / embedding;  // the table has the embedding's
    return left;
  }
  bool operator==(const Multipliers&) const = default;
};

struct Config {
  nn::DecoderShape shape;
  nn::RopeConfig rope{.max_position_embeddings = 8192};
  nn::Mamba2Shape mamba;
  std::optional<int> mamba_d_ssm;
  int mamba_expand = 2;
  Multipliers by;
  float rms_norm_eps = 1e-5f;
  bool attention_bias = false, mlp_bias = false, mamba_rms_norm = false,
       mamba_norm_before_gate = true;
  std::optional<bool> tie_word_embeddings;
  std::string hidden_act = "silu";

  void fields(io::Fields& f) {
    shape.fields(f);
    rope.fields(f);
    by.fields(f);
    f.may("mamba_d_ssm", &mamba_d_ssm)
        .may("mamba_expand", &mamba_expand)
        .may("mamba_proj_bias", &mamba.in_bias)
        .may("projectors_bias", &mamba.out_bias)
        .may("mamba_rms_norm", &mamba_rms_norm)
        .may("mamba_norm_before_gate", &mamba_norm_before_gate)
        .may("rms_norm_eps", &rms_norm_eps)
        .may("attention_bias", &attention_bias)
        .may("mlp_bias", &mlp_bias)
        .may("tie_word_embeddings", &tie_word_embeddings)
        .may("hidden_act", &hidden_act);
    read_widths(f);
    // A kernel of one looks the same in both layouts, and only they tell who folded multipliers.
    io::require_in_range(f.where("mamba_d_conv"), mamba.kernel, 2, INT_MAX);
  }

  /// mamba_d_head is "auto" where the width of all heads, or of the model, says it.
  void read_widths(io::Fields& f) {
    f.need("mamba_n_heads", &mamba.heads);
    io::require_positive(f.where("mamba_n_heads"), mamba.heads);
    int inner = mamba_d_ssm
                    ? *mamba_d_ssm
                    : io::require_product(f.where("mamba_expand"), mamba_expand, shape.hidden_size);
    io::require_positive(f.where("mamba_d_ssm"), inner);
    io::require_divisible(f.where("mamba_d_ssm"), inner, "mamba_n_heads", mamba.heads);
    int each = mamba.head_dim = inner / mamba.heads;
    if (f.type("mamba_d_head") == io::JsonType::string)
      f.ignore("mamba_d_head");
    else
      f.may("mamba_d_head", &each);
    if (each != mamba.head_dim)
      throw ConfigError(describe(f.where("mamba_d_head"),
                                 "not the width of a head",
                                 std::to_string(mamba.head_dim),
                                 std::to_string(each)));
    mamba.fields(f,
                 {.heads = "mamba_n_heads",
                  .head_dim = "",
                  .groups = "mamba_n_groups",
                  .state = "mamba_d_state",
                  .kernel = "mamba_d_conv",
                  .conv_bias = "mamba_conv_bias"});
  }
};

/// Both mixers read the same.
struct Mixers {
  nn::Mamba2 mamba;
  nn::Attention attention;
  Multipliers by;

  array operator()(const array& x, const ops::Layer& layer) const {
    array scanned = mamba(ops::scale(x, by.ssm_in), layer);
    array attended = attention(ops::scale(x, by.attention_in), layer);
    return ops::add(ops::scale(scanned, by.ssm_out), ops::scale(attended, by.attention_out));
  }
  ops::LayerLayout layout() const {
    return {.kv = attention.layout().kv, .states = mamba.layout().states};
  }
};

struct FeedForward {
  nn::GatedMlp mlp;
  Multipliers by;

  array operator()(const array& x) const {
    auto [gate, up] = ops::linear_each(x, mlp.gate, mlp.up);
    array y = ops::linear(ops::gated(ops::scale(gate, by.mlp[0]), up, mlp.glu), mlp.down);
    return ops::scale(y, by.mlp[1]);
  }
};

using Block = nn::PreNorm<Mixers, FeedForward>;

Block make_block(const Config& c, const Multipliers& by, const ops::Rope& rope, nn::Scope w) {
  int dim = c.shape.hidden_size;
  auto act = nn::activation_named(c.hidden_act, "config.hidden_act");
  auto attention = c.shape.attention();
  attention.bias = attention.out_bias = c.attention_bias;
  attention.scale = by.keys / std::sqrt(float(attention.head_dim));
  nn::Mamba2Kind kind{
      .act = act, .norm_before_gate = c.mamba_norm_before_gate, .multipliers = by.ssm};
  if (c.mamba_rms_norm) kind.norm_eps = c.rms_norm_eps;
  return {.pre_mixer = {w / "input_layernorm", dim, c.rms_norm_eps},
          .mixer = {{w / "mamba", dim, c.mamba, kind}, {w / "self_attn", attention, rope}, by},
          .pre_mlp = {w / "pre_ff_layernorm", dim, c.rms_norm_eps},
          .mlp = {{w / "feed_forward", dim, c.shape.intermediate_size, act, c.mlp_bias}, by}};
}

/// mlx-lm's conversion turns the kernels of convolutions, and folds multipliers where it does.
bool is_converted(const nn::WeightMap& w) {
  auto conv = w.arrays.find("model.layers.0.mamba.conv1d.weight");
  return conv != w.arrays.end() && conv->second.ndim() == 3 && conv->second.shape(2) == 1;
}

void require_no_biases(const io::Fields& f, const Config& c) {
  for (auto [key, there] : {std::pair{"attention_bias", c.attention_bias},
                            {"mlp_bias", c.mlp_bias},
                            {"mamba_proj_bias", c.mamba.in_bias},
                            {"projectors_bias", c.mamba.out_bias}})
    if (there)
      throw UnsupportedError(describe(f.where(key),
                                      "mlx-lm's conversion multiplied weights but no biases",
                                      "false, or the original checkpoint",
                                      "true"));
}

}  // namespace

std::unique_ptr<LanguageModel> make_falcon_h1(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  auto by = c.by;
  bool converted = is_converted(w);
  if (c.by != Multipliers{}) w.manifest.adapters_of = converted ? "mlx-lm" : "PEFT";
  if (converted) {
    require_no_biases(f, c);
    by = by.after_conversion(c.tie_word_embeddings.value_or(!w.has("lm_head.weight")));
  }
  auto rope = c.rope.make(c.shape.head_size());
  w.transpose_conv("mamba.conv1d.weight");
  w.rename_prefix("model.final_layernorm.", "model.norm.");
  return make_causal_lm(c.shape,
                        c.rms_norm_eps,
                        c.tie_word_embeddings,
                        w,
                        [&](int, nn::Scope scope) { return make_block(c, by, rope, scope); },
                        {.embed = by.embedding, .embed_rounded = false, .logits = by.lm_head});
}

}  // namespace mlxcpp::lm
