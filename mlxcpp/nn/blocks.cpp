#include "mlxcpp/nn/blocks.h"

#include <cmath>

namespace mlxcpp::nn {
namespace {

std::optional<ops::Norm> head_norm(const Scope& s, const AttentionShape& c) {
  if (!c.qk_norm) return {};
  return RmsNorm(s, c.head_dim, *c.qk_norm);
}

}  // namespace

float in_precision_of(const Embedding& table, float by) {
  if (table.w->dtype() == mx::bfloat16) return float(mx::bfloat16_t(by));
  if (table.w->dtype() == mx::float16) return float(mx::float16_t(by));
  return by;
}

Attention::Attention(Scope s, const AttentionShape& c, ops::Rope r)
    : ops::SelfAttention{
          .q = (s / "q_proj").take_linear({c.heads * c.head_dim, c.dim}, c.bias),
          .k = (s / "k_proj").take_linear({c.kv_heads * c.head_dim, c.dim}, c.bias),
          .v = (s / "v_proj").take_linear({c.kv_heads * c.head_dim, c.dim}, c.bias),
          .o = (s / "o_proj").take_linear({c.dim, c.heads * c.head_dim}, c.out_bias),
          .head_dim = c.head_dim,
          .rope = std::move(r),
          .args = {.scale = c.scale.value_or(1 / std::sqrt(float(c.head_dim))), .window = c.window},
          .q_norm = head_norm(s / "q_norm", c),
          .k_norm = head_norm(s / "k_norm", c)} {}

GatedMlp::GatedMlp(Scope s, int dim, int hidden, ops::Activation activation, bool bias)
    : ops::Mlp{.gate = (s / "gate_proj").take_linear({hidden, dim}, bias),
               .up = (s / "up_proj").take_linear({hidden, dim}, bias),
               .down = (s / "down_proj").take_linear({dim, hidden}, bias),
               .glu = {.act = activation}} {}

Block pre_norm_block(
    Scope s, const AttentionShape& a, const ops::Rope& rope, const MlpShape& mlp, float eps) {
  return {{.pre_attn = RmsNorm(s / "input_layernorm", a.dim, eps),
           .attn = Attention(s / "self_attn", a, rope),
           .pre_mlp = RmsNorm(s / "post_attention_layernorm", a.dim, eps),
           .mlp = GatedMlp(s / "mlp", a.dim, mlp.hidden, mlp.act, mlp.bias)}};
}

Experts::Experts(Scope s, const ExpertShape& c)
    : ops::ExpertWeights{
          .gate =
              c.gate ? (s / "gate_proj").take_linear({c.count, c.hidden, c.dim}, c.bias) : nullptr,
          .up = (s / "up_proj").take_linear({c.count, c.hidden, c.dim}, c.bias),
          .down = (s / "down_proj").take_linear({c.count, c.dim, c.hidden}, c.bias),
          .glu = c.glu} {}

}  // namespace mlxcpp::nn
