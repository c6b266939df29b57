// Short convolutions and Mamba 2.
#include "mlxcpp/lm/gguf/architecture.h"
#include "mlxcpp/lm/gguf/changes.h"

namespace mlxcpp::lm {
namespace {

void lfm2(GgufConfig& c) {
  c.is("model_type", "lfm2").extents().rope();
  auto kv_heads = c.need<std::vector<int>>("attention.head_count_kv");
  std::vector<std::string> types;
  for (int heads : kv_heads) types.push_back(heads > 0 ? "full_attention" : "conv");
  c.need<int>("num_attention_heads", "attention.head_count")
      .may<int>("head_dim", "attention.key_length")
      .is("num_key_value_heads", kv_heads.empty() ? 0 : std::ranges::max(kv_heads))
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
      {.name = "mamba2",
       .config = mamba2,
       .names = {{"token_embd", "backbone.embeddings"},
                 {"output_norm", "backbone.norm_f"},
                 {"attn_norm", "norm"},
                 {"ssm_in", "mixer.in_proj"},
                 {"ssm_conv1d.weight", "mixer.conv1d.weight", depthwise},
                 {"ssm_conv1d.bias", "mixer.conv1d.bias"},
                 {"ssm_dt.bias", "mixer.dt_bias"},
                 {"ssm_a", "mixer.A_log", log_of_negative},
                 {"ssm_d", "mixer.D", flat},
                 {"ssm_norm.weight", "mixer.norm.weight", flat},
                 {"ssm_out", "mixer.out_proj"}},
       .layers = "backbone.layers"},
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
