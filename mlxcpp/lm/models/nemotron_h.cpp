// Nemotron H: each layer is one mixer, by a pattern: Mamba 2, attention without rope, a
// squared-relu network, or experts of such networks beside a shared one. Source: mlx-lm
// models/nemotron_h.py (0.32.2), transformers models/nemotron_h.  Differs from mlx-lm: activations
// and use_bias are read, losing groups of experts are out, one expert has weight one, as
// transformers.  Differs from transformers: time_step_limit bounds the steps.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/lm/models/causal_lm.h"
#include "mlxcpp/lm/models/models.h"
#include "mlxcpp/nn/mamba2.h"
#include "mlxcpp/nn/router.h"

#include <algorithm>

namespace mlxcpp::lm {
namespace {

struct Config {
  nn::DecoderShape shape{.head_dim = 128};
  nn::Mamba2Shape mamba;
  std::string layers;  // a letter for each: M, *, - or E
  int n_routed_experts = 8, num_experts_per_tok = 2, moe_intermediate_size = 7688,
      moe_shared_expert_intermediate_size = 7688, n_group = 1, topk_group = 1;
  std::optional<int> moe_latent_size;  // of what experts read and write; absent: the hidden state
  bool norm_topk_prob = true, mlp_bias = false, attention_bias = false;
  float routed_scaling_factor = 1, layer_norm_epsilon = 1e-5f;
  std::string mlp_hidden_act = "relu2", mamba_hidden_act = "silu";

  void fields(io::Fields& f) {
    read_layers(f);
    mamba.fields(f,
                 {.heads = "mamba_num_heads",
                  .head_dim = "mamba_head_dim",
                  .groups = "n_groups",
                  .state = "ssm_state_size",
                  .kernel = "conv_kernel",
                  .conv_bias = "use_conv_bias"});
    f.may("use_bias", &mamba.in_bias)
        .may("n_routed_experts", &n_routed_experts)
        .may("num_experts_per_tok", &num_experts_per_tok)
        .may("moe_intermediate_size", &moe_intermediate_size)
        .may("moe_shared_expert_intermediate_size", &moe_shared_expert_intermediate_size)
        .may("moe_latent_size", &moe_latent_size)
        .may("n_group", &n_group)
        .may("topk_group", &topk_group)
        .may("norm_topk_prob", &norm_topk_prob)
        .may("routed_scaling_factor", &routed_scaling_factor)
        .may("mlp_bias", &mlp_bias)
        .may("attention_bias", &attention_bias)
        .may("layer_norm_epsilon", &layer_norm_epsilon)
        .may("mlp_hidden_act", &mlp_hidden_act)
        .may("mamba_hidden_act", &mamba_hidden_act);
    mamba.out_bias = mamba.in_bias;
    if (attention_bias)
      throw UnsupportedError(describe(
          f.where("attention_bias"), "not supported, as in transformers", "false", "true"));
    if (layers.find('E') != layers.npos) check_experts(f);
  }

  void read_layers(io::Fields& f) {
    std::string key = "hybrid_override_pattern";
    std::vector<std::string> types, known = {"M", "*", "-", "E"};
    for (std::string list : {"layer_types", "layers_block_type"})
      if (f.has(list)) key = list;
    if (key == "hybrid_override_pattern") {
      std::string pattern;
      f.need(key, &pattern);
      for (char letter : pattern) types.emplace_back(1, letter);
    } else {
      f.need(key, &types);
      known = {"linear_attention", "full_attention", "mlp", "moe", "mamba", "attention"};
    }
    shape.num_hidden_layers = int(types.size());
    shape.fields(f);
    nn::check_layer_types(f.where(key), types, shape.num_hidden_layers, known);
    for (auto& type : types) layers += "M*-EM*"[std::ranges::find(known, type) - known.begin()];
  }

  void check_experts(const io::Fields& f) const {
    for (auto [key, value] :
         {std::pair{"n_routed_experts", n_routed_experts},
          {"moe_intermediate_size", moe_intermediate_size},
          {"moe_shared_expert_intermediate_size", moe_shared_expert_intermediate_size},
          {"moe_latent_size", moe_latent_size.value_or(1)},
          {"n_group", n_group}})
      io::require_positive(f.where(key), value);
    io::require_divisible(f.where("n_routed_experts"), n_routed_experts, "n_group", n_group);
    io::require_in_range(f.where("topk_group"), topk_group, 1, n_group);
    int open = n_routed_experts / n_group * topk_group;
    io::require_in_range(f.where("num_experts_per_tok"), num_experts_per_tok, 1, open);
  }

  ops::Activation act() const {
    return nn::activation_named(mlp_hidden_act, "config.mlp_hidden_act");
  }
};

struct Mlp : ops::Mlp {
  Mlp(const Config& c, int hidden, nn::Scope w)
      : ops::Mlp{.gate = nullptr,
                 .up = (w / "up_proj").take_linear({hidden, c.shape.hidden_size}, c.mlp_bias),
                 .down = (w / "down_proj").take_linear({c.shape.hidden_size, hidden}, c.mlp_bias),
                 .glu = {.act = c.act()}} {}
  array operator()(const array& x) const { return ops::mlp(x, *this); }
};

/// Routed experts, perhaps between two projections, beside one that all tokens share.
struct Moe {
  nn::GroupedRouter router;
  std::optional<nn::Linear> narrow, widen;
  nn::Experts experts;
  Mlp shared;

  Moe(const Config& c, nn::Scope w)
      : router(w / "gate",
               {.dim = c.shape.hidden_size,
                .experts = c.n_routed_experts,
                .k = c.num_experts_per_tok,
                .groups = c.n_group,
                .used_groups = c.topk_group,
                .normalise = c.norm_topk_prob,
                .factor = c.routed_scaling_factor}),
        experts(w / "switch_mlp",
                {.count = c.n_routed_experts,
                 .dim = c.moe_latent_size.value_or(c.shape.hidden_size),
                 .hidden = c.moe_intermediate_size,
                 .glu = {.act = c.act()},
                 .gate = false}),
        shared(c, c.moe_shared_expert_intermediate_size, w / "shared_experts") {
    if (!c.moe_latent_size) return;
    int dim = c.shape.hidden_size, latent = *c.moe_latent_size;
    narrow.emplace(w / "fc1_latent_proj", dim, latent, c.mlp_bias);
    widen.emplace(w / "fc2_latent_proj", latent, dim, c.mlp_bias);
  }

  array operator()(const array& x) const {
    auto [chosen, weights] = router(x);
    array routed = experts(narrow ? (*narrow)(x) : x, chosen, weights);
    return ops::add(widen ? (*widen)(routed) : routed, shared(x));
  }
};

/// A layer that keeps nothing.
template <class Module>
struct Stateless {
  Module module;
  array operator()(const array& x, const ops::Layer&) const { return module(x); }
  ops::LayerLayout layout() const { return {}; }
};

using Mixer = nn::Either<nn::Mamba2, nn::Attention, Stateless<Mlp>, Stateless<Moe>>;
using Block = nn::Residual<Mixer>;

Mixer make_mixer(const Config& c, char letter, nn::Scope w) {
  if (letter == 'E') return {Stateless<Moe>{{c, w}}};
  if (letter == '-') return {Stateless<Mlp>{{c, c.shape.intermediate_size, w}}};
  if (letter == '*') return {nn::Attention(w, c.shape.attention(), {.dims = 0})};
  auto act = nn::activation_named(c.mamba_hidden_act, "config.mamba_hidden_act");
  return {
      nn::Mamba2(w, c.shape.hidden_size, c.mamba, {.act = act, .norm_eps = c.layer_norm_epsilon})};
}

}  // namespace

std::unique_ptr<LanguageModel> make_nemotron_h(io::Fields f, nn::WeightMap& w) {
  auto c = io::read<Config>(f);
  w.drop_prefix("mtp.");
  w.transpose_conv("mixer.conv1d.weight");
  w.stack_experts("mixer.experts", "mixer.switch_mlp", c.n_routed_experts);
  for (auto [from, to] : {std::pair{"switch_mlp.fc1", "switch_mlp.up_proj"},
                          {"switch_mlp.fc2", "switch_mlp.down_proj"},
                          {"backbone.embeddings", "model.embed_tokens"},
                          {"backbone.norm_f", "model.norm"},
                          {"backbone.layers", "model.layers"}})
    w.rename_part(from, to);
  return make_causal_lm(
      c.shape, c.layer_norm_epsilon, false, w, [&](int layer, nn::Scope scope) -> Block {
        return {{scope / "norm", c.shape.hidden_size, c.layer_norm_epsilon},
                make_mixer(c, c.layers[layer], scope / "mixer")};
      });
}

}  // namespace mlxcpp::lm
