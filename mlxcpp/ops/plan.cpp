#include "mlxcpp/ops/plan.h"

#include "mlxcpp/ops/detail/fused.h"

#include <mlx/ops.h>

namespace mlxcpp::ops {

KvLayout layout(const SelfAttention& a) {
  return {.heads = a.k->outputs() / a.head_dim,
          .k_dim = a.head_dim,
          .v_dim = a.v->outputs() / (a.k->outputs() / a.head_dim),
          .window = a.args.window ? a.args.window : a.args.chunk,
          .chunked = !a.args.window && a.args.chunk > 0};
}

array norm(const array& x, const Norm& n) { return rms_norm(x, n.weight, n.eps); }

array self_attention(const array& x,
                     const SelfAttention& a,
                     const Layer& layer,
                     const std::optional<array>& residual) {
  if (auto y = detail::fused_attention(x, a, layer, residual)) return *y;
  auto [q, k, v] = linear_each(x, a.q, a.k, a.v);
  q = split_heads(q, a.head_dim), k = split_heads(k, a.head_dim), v = split_heads(v, a.head_dim);
  if (a.q_norm) q = norm(q, *a.q_norm);
  if (a.k_norm) k = norm(k, *a.k_norm);
  KvView kv = kv_append(layer, rope(k, a.rope, layer), v);
  return linear(merge_heads(attention(rope(q, a.rope, layer), kv, a.args)), a.o, residual);
}

array mlp(const array& x, const Mlp& m, const std::optional<array>& residual) {
  if (auto y = detail::fused_mlp(x, m, residual)) return *y;
  if (!m.gate) return linear(activate(linear(x, m.up), m.glu.act), m.down, residual);
  auto [gate, up] = linear_each(x, m.gate, m.up);
  return linear(gated(gate, up, m.glu), m.down, residual);
}

array layer(const array& h, const LayerPlan& p, const Layer& layer, bool is_last) {
  if (auto y = detail::fused_layer(h, p, layer, is_last)) return *y;
  array x = norm(h, p.pre_attn);
  array mid = p.post_attn ? mx::add(h, norm(self_attention(x, p.attn, layer), *p.post_attn))
                          : self_attention(x, p.attn, layer, h);
  array y = norm(mid, p.pre_mlp);
  return p.post_mlp ? mx::add(mid, norm(mlp(y, p.mlp), *p.post_mlp)) : mlp(y, p.mlp, mid);
}

array layers(array h, const std::vector<const LayerPlan*>& plans, const Pass& pass) {
  for (size_t i = 0; i < plans.size(); ++i)
    h = layer(h, *plans[i], pass.layers[i], i + 1 == plans.size());
  return h;
}

}  // namespace mlxcpp::ops
