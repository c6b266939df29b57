#include "mlxcpp/nn/key_sharing.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"

#include <cmath>
#include <utility>

namespace mlxcpp::nn {

void KeySharing::fields(io::Fields& f, int layers) {
  where = f.where("num_kv_shared_layers");
  f.may("num_kv_shared_layers", &num_kv_shared_layers);
  io::require_in_range(where, num_kv_shared_layers, 0, layers - 1);
  owners = layers - num_kv_shared_layers;
}

int KeySharing::owner(int layer, const std::function<bool(int)>& slides) const {
  if (!reads(layer)) return layer;
  for (int i = owners - 1; i >= 0; --i)
    if (slides(i) == slides(layer)) return i;
  throw ConfigError(describe(where,
                             "no layer of its type has keys for layer " + std::to_string(layer),
                             "one of the first " + std::to_string(owners),
                             "none"));
}

SharingAttention::SharingAttention(Scope s,
                                   const AttentionShape& c,
                                   ops::Rope rope,
                                   const KeySource& source)
    : q_((s / "q_proj").take_linear({c.heads * c.head_dim, c.dim}, c.bias)),
      o_((s / "o_proj").take_linear({c.dim, c.heads * c.head_dim}, c.out_bias)),
      q_norm_(RmsNorm(s / "q_norm", c.head_dim, c.qk_norm.value())),
      source_(source),
      head_dim_(c.head_dim),
      rope_(std::move(rope)),
      args_{.scale = c.scale.value_or(1 / std::sqrt(float(c.head_dim))), .window = c.window} {
  if (source.owner != source.layer) return;
  auto heads = [&](const char* name) {
    return (s / name).take_linear({c.kv_heads * c.head_dim, c.dim}, c.bias);
  };
  keys_ = Keys{.k = heads("k_proj"),
               .v = source.as_values ? nullptr : heads("v_proj"),
               .norm = RmsNorm(s / "k_norm", c.head_dim, *c.qk_norm)};
}

ops::KvView SharingAttention::append(const array& x, const ops::Layer& layer) const {
  array key = ops::split_heads(ops::linear(x, keys_->k), head_dim_);
  array value = keys_->v ? ops::split_heads(ops::linear(x, keys_->v), head_dim_) : key;
  key = ops::rope(ops::norm(key, keys_->norm), rope_, layer);
  return ops::kv_append(layer, key, ops::rms_norm(value, nullptr, keys_->norm.eps));
}

array SharingAttention::operator()(const array& x, const ops::Layer& layer, KvViews& views) const {
  if (keys_) views[source_.layer] = append(x, layer);
  array query = ops::norm(ops::split_heads(ops::linear(x, q_), head_dim_), q_norm_);
  query = ops::rope(query, rope_, layer);
  return ops::linear(ops::merge_heads(ops::attention(query, *views[source_.owner], args_)), o_);
}

ops::LayerLayout SharingAttention::layout() const {
  if (!keys_) return {};
  return {.kv = {{.heads = keys_->k->outputs() / head_dim_,
                  .k_dim = head_dim_,
                  .v_dim = head_dim_,
                  .window = args_.window}},
          .states = {}};
}

void drop_keys(WeightMap& w, const Scope& attention) {
  for (auto name : {"k_proj", "v_proj", "k_norm", "v_norm"})
    w.drop_unused((attention / name).path() + ".");
}

}  // namespace mlxcpp::nn
