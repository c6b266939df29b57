#include "mlxcpp/nn/latent_attention.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"

#include <mlx/ops.h>

#include <climits>
#include <cmath>
#include <utility>

namespace mlxcpp::nn {
namespace {

constexpr float kEps = 1e-6f;  // of the norms of both low ranks, whatever the other norms have

std::optional<LatentAttention::LowRank> low_rank(Scope s, const LatentShape& c) {
  if (!c.q_lora_rank) return {};
  return LatentAttention::LowRank{{s / "q_a_proj", c.dim, *c.q_lora_rank, c.bias},
                                  {s / "q_a_layernorm", *c.q_lora_rank, kEps}};
}

}  // namespace

void LatentShape::fields(io::Fields& f) {
  f.may("kv_lora_rank", &kv_lora_rank)
      .may("q_lora_rank", &q_lora_rank)
      .may("qk_nope_head_dim", &qk_nope_head_dim)
      .may("qk_rope_head_dim", &qk_rope_head_dim)
      .may("v_head_dim", &v_head_dim)
      .may("attention_bias", &bias);
  rope.fields(f);
  for (auto [key, value] : {std::pair{"kv_lora_rank", kv_lora_rank},
                            {"q_lora_rank", q_lora_rank.value_or(1)},
                            {"qk_nope_head_dim", qk_nope_head_dim},
                            {"qk_rope_head_dim", qk_rope_head_dim},
                            {"v_head_dim", v_head_dim}})
    io::require_in_range(f.where(key), value, 1, INT_MAX / 2);
  io::require_product(f.where("qk_nope_head_dim"), heads, q_head_dim());
  io::require_product(f.where("v_head_dim"), heads, qk_nope_head_dim + v_head_dim);
  // The rotated part is a head of its own: a part of it is in no published model.
  io::require_in_range(f.where("partial_rotary_factor"), rope.partial_rotary_factor, 1., 1.);
}

float LatentShape::scale() const {
  return mscale_of_softmax(rope.rope_scaling) / std::sqrt(float(q_head_dim()));
}

LatentAttention::LatentAttention(Scope s, const LatentShape& c)
    : q_low(low_rank(s, c)),
      q(s / (q_low ? "q_b_proj" : "q_proj"),
        c.q_lora_rank.value_or(c.dim),
        c.heads * c.q_head_dim()),
      kv_down(s / "kv_a_proj_with_mqa", c.dim, c.kv_lora_rank + c.qk_rope_head_dim, c.bias),
      kv_norm(s / "kv_a_layernorm", c.kv_lora_rank, kEps),
      up{.up_k = (s / "embed_q").take_linear({c.heads, c.kv_lora_rank, c.qk_nope_head_dim}),
         .up_v = (s / "unembed_out").take_linear({c.heads, c.v_head_dim, c.kv_lora_rank}),
         .scale = c.scale()},
      o(s / "o_proj", c.heads * c.v_head_dim, c.dim, c.bias),
      rope(c.rope.make(c.qk_rope_head_dim)) {}

array LatentAttention::query_source(const array& x) const {
  return q_low ? q_low->norm(q_low->down(x)) : x;
}

array LatentAttention::attend(const array& x,
                              const array& source,
                              const ops::Layer& layer,
                              const ops::ChosenKeys& chosen) const {
  int heads = up.up_k->value->shape(0);  // a shard has fewer
  array queries = ops::split_heads(q(source), q.w->outputs() / heads);
  auto query = ops::split_at(queries, {queries.shape(-1) - rope.dims});
  auto kept = ops::split_at(mx::expand_dims(kv_down(x), 1), {up.up_k->outputs()});
  auto view = ops::kv_append(layer, kv_norm(kept[0]), ops::rope(kept[1], rope, layer));
  array turned = ops::rope(query[1], rope, layer);
  return o(ops::merge_heads(ops::latent_attention(query[0], turned, view, up, chosen)));
}

ops::LayerLayout LatentAttention::layout() const {
  return {.kv = {{.heads = 1, .k_dim = up.up_k->outputs(), .v_dim = rope.dims, .whole = true}},
          .states = {}};
}

void split_kv_b(WeightMap& w, const Scope& attention, const LatentShape& c) {
  Scope from = attention / "kv_b_proj";
  if (!from.has("weight")) return;
  WeightMap apart{.arrays = {}, .quantization = w.quantization, .manifest = {}};
  for (auto leaf : {"weight", "scales", "biases", "global_scale"})
    if (auto node = w.arrays.extract((from / leaf).path())) apart.arrays.insert(std::move(node));
  auto whole = Scope(apart, from.path())
                   .take_linear({c.heads * (c.qk_nope_head_dim + c.v_head_dim), c.kv_lora_rank});
  array heads = mx::unflatten(ops::dequantised(*whole), 0, {c.heads, -1});
  auto parts = ops::split_at(heads, {c.qk_nope_head_dim}, 1);
  auto put = [&](const char* name, const array& value) {
    w.arrays.insert_or_assign((attention / name / "weight").path(), mx::contiguous(value));
  };
  put("embed_q", mx::swapaxes(parts[0], 1, 2));
  put("unembed_out", parts[1]);
}

}  // namespace mlxcpp::nn
