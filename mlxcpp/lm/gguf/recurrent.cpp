// Short convolutions and Mamba 2.
#include "mlxcpp/lm/gguf/architecture.h"
#include "mlxcpp/lm/gguf/changes.h"

namespace mlxcpp::lm {
namespace {

constexpr size_t kMostLayers = 10000;  // of a pattern: a file may claim any number

void lfm2(GgufConfig& c) {
  c.is("model_type", "lfm2").extents().rope();
  auto kv_heads = c.each("attention.head_count_kv");
  std::vector<std::string> types;
  for (int heads : kv_heads) types.push_back(heads > 0 ? "full_attention" : "conv");
  c.need<int>("num_attention_heads", "attention.head_count")
      .may<int>("head_dim", "attention.key_length")
      .is("num_key_value_heads", std::ranges::max(kv_heads))
      .is("layer_types", types)
      .need<int>("block_ff_dim", "feed_forward_length")
      .is("block_auto_adjust_ff_dim", false)
      .need<int>("conv_L_cache", "shortconv.l_cache")
      .need<float>("norm_eps", "attention.layer_norm_rms_epsilon");
}

/// Mamba 2's extents, by the keys that an architecture has for them.
struct MambaKeys {
  std::string_view heads, head_dim, groups, state, kernel;
};
void mamba(GgufConfig& c, const MambaKeys& keys) {
  int heads = c.need<int>("ssm.time_step_rank"), inner = c.need<int>("ssm.inner_size");
  c.is(keys.heads, heads)
      .is(keys.head_dim, heads > 0 ? inner / heads : 0)
      .need<int>(keys.groups, "ssm.group_count")
      .need<int>(keys.state, "ssm.state_size")
      .need<int>(keys.kernel, "ssm.conv_kernel");
}

void mamba2(GgufConfig& c) {
  c.is("model_type", "mamba2").extents();
  mamba(c, {"num_heads", "head_dim", "n_groups", "state_size", "conv_kernel"});
  c.is("use_bias", c.has_tensor("blk.0.ssm_in.bias"))
      .is("use_conv_bias", c.has_tensor("blk.0.ssm_conv1d.bias"))
      .need<float>("layer_norm_epsilon", "attention.layer_norm_rms_epsilon");
}

void falcon_h1(GgufConfig& c) {
  c.is("model_type", "falcon_h1").dense();
  mamba(c, {"mamba_n_heads", "mamba_d_head", "mamba_n_groups", "mamba_d_state", "mamba_d_conv"});
  // Its multipliers are in the weights.
  c.need<int>("mamba_d_ssm", "ssm.inner_size")
      .is("mamba_rms_norm", c.has_tensor("blk.0.ssm_norm.weight"))
      .is("mamba_norm_before_gate", false)
      .is("mamba_conv_bias", c.has_bias("ssm_conv1d"))
      .is("mamba_proj_bias", c.has_bias("ssm_in"))
      .is("projectors_bias", c.has_bias("ssm_out"))
      .is("attention_bias", c.has_bias("attn_q"))
      .is("mlp_bias", c.has_bias("ffn_gate"));
}

/// A letter for each layer, by what it has.
std::string nemotron_layers(const GgufConfig& c) {
  std::string pattern;
  for (int i = 0; i < c.layers(); ++i) {
    auto has = [&](const char* name) {
      return c.has_tensor("blk." + std::to_string(i) + "." + name + ".weight");
    };
    if (pattern.size() >= kMostLayers)
      c.refuse("block_count", "at most 10000", std::to_string(c.layers()));
    pattern += has("ffn_gate_inp") ? 'E' : has("ffn_up") ? '-' : has("attn_q") ? '*' : 'M';
  }
  return pattern;
}

void nemotron_h(GgufConfig& c) {
  auto pattern = nemotron_layers(c);
  c.is("model_type", "nemotron_h").extents().is("hybrid_override_pattern", pattern);
  mamba(c, {"mamba_num_heads", "mamba_head_dim", "n_groups", "ssm_state_size", "conv_kernel"});
  auto plain = pattern.find('-');
  auto width = c.rows("blk." + std::to_string(plain) + ".ffn_up.weight");
  auto eps = c.find<float>("attention.layer_norm_rms_epsilon");
  c.need<int>("num_attention_heads", "attention.head_count")
      .is("num_key_value_heads", std::ranges::max(c.each("attention.head_count_kv")))
      .is("head_dim", c.head_dim())
      .is("intermediate_size", width.value_or(1))  // of plain networks, where there are any
      .is("layer_norm_epsilon", eps ? *eps : c.need<float>("attention.layer_norm_epsilon"));
  if (pattern.find('E') == pattern.npos) return;
  c.need<int>("n_routed_experts", "expert_count")
      .need<int>("num_experts_per_tok", "expert_used_count")
      .need<int>("moe_intermediate_size", "expert_feed_forward_length")
      .need<int>("moe_shared_expert_intermediate_size", "expert_shared_feed_forward_length")
      .may<int>("moe_latent_size", "moe_latent_size")
      .expert_groups();
}

/// Mamba 2's own names, and those of what stands in other layers.
std::vector<GgufName> with_mamba(std::vector<GgufName> names) {
  std::vector<GgufName> all = {{"token_embd", "backbone.embeddings"},
                               {"output_norm", "backbone.norm_f"},
                               {"attn_norm", "norm"},
                               {"ssm_in", "mixer.in_proj"},
                               {"ssm_conv1d.weight", "mixer.conv1d.weight", depthwise},
                               {"ssm_conv1d.bias", "mixer.conv1d.bias"},
                               {"ssm_dt.bias", "mixer.dt_bias"},
                               {"ssm_a", "mixer.A_log", log_of_negative},
                               {"ssm_d", "mixer.D", flat},
                               {"ssm_norm.weight", "mixer.norm.weight", flat},
                               {"ssm_out", "mixer.out_proj"}};
  all.insert(all.end(), names.begin(), names.end());
  return all;
}

/// Queries and keys are interleaved in a file, which nothing notices: they do not turn.
const std::vector<GgufName> kNemotron = {{"attn_q", "mixer.q_proj"},
                                         {"attn_k", "mixer.k_proj"},
                                         {"attn_v", "mixer.v_proj"},
                                         {"attn_output", "mixer.o_proj"},
                                         {"ffn_up", "mixer.up_proj"},
                                         {"ffn_down", "mixer.down_proj"},
                                         {"ffn_gate_inp", "mixer.gate"},
                                         {"exp_probs_b.bias", "mixer.gate.e_score_correction_bias"},
                                         {"ffn_up_exps", "mixer.switch_mlp.up_proj"},
                                         {"ffn_down_exps", "mixer.switch_mlp.down_proj"},
                                         {"ffn_up_shexp", "mixer.shared_experts.up_proj"},
                                         {"ffn_down_shexp", "mixer.shared_experts.down_proj"},
                                         {"ffn_latent_down", "mixer.fc1_latent_proj"},
                                         {"ffn_latent_up", "mixer.fc2_latent_proj"}};

}  // namespace

std::vector<GgufArchitecture> gguf_recurrent() {
  return {
      {.name = "lfm2",
       .config = lfm2,
       .names = {{"token_embd_norm", "model.embedding_norm"},
                 {"attn_norm", "operator_norm"},
                 {"attn_q_norm", "self_attn.q_layernorm"},
                 {"attn_k_norm", "self_attn.k_layernorm"},
                 {"attn_output", "self_attn.out_proj"},
                 {"shortconv.in_proj", "conv.in_proj"},
                 {"shortconv.out_proj", "conv.out_proj"},
                 {"shortconv.conv", "conv.conv", depthwise},
                 {"ffn_norm", "ffn_norm"},
                 {"ffn_gate", "feed_forward.w1"},
                 {"ffn_down", "feed_forward.w2"},
                 {"ffn_up", "feed_forward.w3"}}},
      {.name = "mamba2", .config = mamba2, .names = with_mamba({}), .layers = "backbone.layers"},
      {.name = "nemotron_h",
       .config = nemotron_h,
       .names = with_mamba(kNemotron),
       .layers = "backbone.layers"},
      {.name = "nemotron_h_moe",
       .config = nemotron_h,
       .names = with_mamba(kNemotron),
       .layers = "backbone.layers",
       .experts = true},
      {.name = "falcon-h1",
       .config = falcon_h1,
       .names = {{"output_norm", "model.final_layernorm"},
                 {"ssm_in", "mamba.in_proj"},
                 {"ssm_conv1d.weight", "mamba.conv1d.weight", depthwise_in_torch},
                 {"ssm_conv1d.bias", "mamba.conv1d.bias"},
                 {"ssm_dt.bias", "mamba.dt_bias"},
                 {"ssm_a", "mamba.A_log", log_of_negative},
                 {"ssm_d", "mamba.D", flat},
                 {"ssm_norm.weight", "mamba.norm.weight", flat},
                 {"ssm_out", "mamba.out_proj"},
                 {"ffn_norm", "pre_ff_layernorm.weight"},  // so written, without an end
                 {"ffn_gate", "feed_forward.gate_proj"},
                 {"ffn_up", "feed_forward.up_proj"},
                 {"ffn_down", "feed_forward.down_proj"}}},
  };
}

}  // namespace mlxcpp::lm
