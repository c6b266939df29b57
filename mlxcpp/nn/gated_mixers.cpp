#include "mlxcpp/nn/gated_mixers.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"
#include "mlxcpp/nn/config.h"
#include "mlxcpp/ops/recurrent.h"

#include <mlx/ops.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdint>
#include <utility>

namespace mlxcpp::nn {

void DeltaShape::fields(io::Fields& f) {
  for (auto [key, extent] : {std::pair{"linear_num_key_heads", &linear_num_key_heads},
                             {"linear_num_value_heads", &linear_num_value_heads},
                             {"linear_key_head_dim", &linear_key_head_dim},
                             {"linear_value_head_dim", &linear_value_head_dim},
                             {"linear_conv_kernel_dim", &linear_conv_kernel_dim}}) {
    f.need(key, extent);
    io::require_positive(f.where(key), *extent);
  }
  io::require_divisible(f.where("linear_num_value_heads"),
                        linear_num_value_heads,
                        "linear_num_key_heads",
                        linear_num_key_heads);
  // Of one, the two layouts of the convolution would be the same.
  io::require_in_range(f.where("linear_conv_kernel_dim"), linear_conv_kernel_dim, 2, INT_MAX);
  std::int64_t k = io::require_product(
      f.where("linear_key_head_dim"), linear_num_key_heads, linear_key_head_dim);
  std::int64_t v = io::require_product(
      f.where("linear_value_head_dim"), linear_num_value_heads, linear_value_head_dim);
  io::require_in_range(f.where("linear_value_head_dim") + ": outputs", 2 * (k + v), 1, INT_MAX);
}

void LinearLayers::fields(io::Fields& f, int layers) {
  f.may("layer_types", &layer_types).may("full_attention_interval", &full_attention_interval);
  if (layer_types.empty())
    io::require_positive(f.where("full_attention_interval"), full_attention_interval);
  else
    check_layer_types(
        f.where("layer_types"), layer_types, layers, {"linear_attention", "full_attention"});
  bool some = layer_types.empty() ? full_attention_interval > 1
                                  : std::ranges::count(layer_types, "linear_attention") > 0;
  if (!some)
    throw UnsupportedError(describe(f.where("layer_types"),
                                    "attention alone is not supported",
                                    "a layer of linear_attention",
                                    "none"));
}

bool LinearLayers::linear(int layer) const {
  if (!layer_types.empty()) return layer_types[layer] == "linear_attention";
  return (layer + 1) % full_attention_interval != 0;
}

void centre_norms(WeightMap& w) {
  bool published = std::ranges::any_of(w.arrays, [](auto& e) {
    return e.first.ends_with("conv1d.weight") && e.second.ndim() == 3 && e.second.shape(2) != 1;
  });
  if (!published) return;
  w.transpose_conv("conv1d.weight");
  for (auto norm : {"layernorm.weight",
                    "model.norm.weight",
                    "q_norm.weight",
                    "k_norm.weight",
                    "mtp.norm.weight",
                    "pre_fc_norm_embedding.weight",
                    "pre_fc_norm_hidden.weight"})
    w.add_one(norm);
}

GatedDeltaNet::GatedDeltaNet(
    Scope s, const DeltaShape& c, int dim, ops::Activation activation, float eps)
    : shape(c),
      act(activation),
      conv((s / "conv1d").take("weight", {c.channels(), c.linear_conv_kernel_dim, 1})),
      a_log(s.take("A_log", {c.linear_num_value_heads})),
      dt_bias(s.take("dt_bias", {c.linear_num_value_heads})),
      norm(s / "norm", c.linear_value_head_dim, eps),
      out(s / "out_proj", c.values(), dim) {}

array GatedDeltaNet::operator()(const Inputs& in, const ops::Layer& layer) const {
  int n = shape.linear_key_head_dim, p = shape.linear_value_head_dim, keys = shape.keys();
  array mixed = ops::causal_conv(in.qkv, conv, {}, layer, 0, act);
  array y = ops::gated_delta_net({mixed, 0, shape.linear_num_key_heads, n},
                                 {mixed, keys, shape.linear_num_key_heads, n},
                                 {mixed, 2 * keys, shape.linear_num_value_heads, p},
                                 in.a,
                                 in.b,
                                 {a_log, dt_bias},
                                 layer,
                                 1);
  ops::NormKind kind{.groups = shape.linear_num_value_heads, .eps = norm.eps};
  return out(ops::gated_norm(y, in.z, norm.weight, kind));
}

ops::LayerLayout GatedDeltaNet::layout() const {
  return {
      .kv = {},
      .states = {
          {shape.linear_conv_kernel_dim - 1, shape.channels()},
          {shape.linear_num_value_heads, shape.linear_value_head_dim, shape.linear_key_head_dim}}};
}

GatedAttention::GatedAttention(Scope s, const AttentionShape& c, ops::Rope r)
    : ops::SelfAttention{.q = (s / "q_proj").take_linear({2 * c.heads * c.head_dim, c.dim}, c.bias),
                         .k = (s / "k_proj").take_linear({c.kv_heads * c.head_dim, c.dim}, c.bias),
                         .v = (s / "v_proj").take_linear({c.kv_heads * c.head_dim, c.dim}, c.bias),
                         .o = (s / "o_proj").take_linear({c.dim, c.heads * c.head_dim}, c.out_bias),
                         .head_dim = c.head_dim,
                         .rope = std::move(r),
                         .args = {.scale = 1 / std::sqrt(float(c.head_dim))},
                         .q_norm = RmsNorm(s / "q_norm", c.head_dim, c.qk_norm.value()),
                         .k_norm = RmsNorm(s / "k_norm", c.head_dim, c.qk_norm.value())} {}

array GatedAttention::operator()(const array& x, const ops::Layer& layer) const {
  auto [both, keys, values] = ops::linear_each(x, q, k, v);
  auto parts = mx::split(ops::split_heads(both, 2 * head_dim), 2, -1);  // queries, gates
  array query = ops::rope(ops::norm(parts[0], *q_norm), rope, layer);
  array key = ops::rope(ops::norm(ops::split_heads(keys, head_dim), *k_norm), rope, layer);
  auto view = ops::kv_append(layer, key, ops::split_heads(values, head_dim));
  array mixed = mx::multiply(ops::attention(query, view, args), mx::sigmoid(parts[1]));
  return ops::linear(ops::merge_heads(mixed), o);
}

}  // namespace mlxcpp::nn
