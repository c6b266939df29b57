#include "mlxcpp/nn/config.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"

#include <algorithm>
#include <utility>

namespace mlxcpp::nn {

void DecoderShape::fields(io::Fields& f) {
  for (auto [key, extent] : {std::pair{"hidden_size", &hidden_size},
                             {"num_hidden_layers", &num_hidden_layers},
                             {"num_attention_heads", &num_attention_heads},
                             {"vocab_size", &vocab_size}})
    *extent ? f.may(key, extent) : f.need(key, extent);
  if (!width_by_layer) {
    const char* key = "intermediate_size";
    intermediate_size ? f.may(key, &intermediate_size) : f.need(key, &intermediate_size);
    io::require_positive(f.where(key), intermediate_size);
  }
  f.may("num_key_value_heads", &num_key_value_heads).may("head_dim", &head_dim);
  for (auto [key, value] : {std::pair{"hidden_size", hidden_size},
                            {"num_hidden_layers", num_hidden_layers},
                            {"num_attention_heads", num_attention_heads},
                            {"num_key_value_heads", kv_heads()},
                            {"vocab_size", vocab_size}})
    io::require_positive(f.where(key), value);
  if (!head_dim)
    io::require_divisible(
        f.where("hidden_size"), hidden_size, "num_attention_heads", num_attention_heads);
  io::require_positive(f.where("head_dim"), head_size());
  io::require_product(f.where("head_dim"), num_attention_heads, head_size());
  io::require_divisible(
      f.where("num_attention_heads"), num_attention_heads, "num_key_value_heads", kv_heads());
}

void RopeConfig::fields(io::Fields& f) {
  f.may("max_position_embeddings", &max_position_embeddings)
      .may("original_max_position_embeddings", &original_max_position_embeddings)
      .may("rope_theta", &rope_theta)
      .may("partial_rotary_factor", &partial_rotary_factor)
      .may("rope_traditional", &rope_traditional)
      .may("rope_scaling", &rope_scaling)
      .may("rope_parameters", &rope_scaling);
  io::require_positive(f.where("max_position_embeddings"), max_position_embeddings);
  rope_theta = rope_scaling.rope_theta.value_or(rope_theta);
  partial_rotary_factor = rope_scaling.partial_rotary_factor.value_or(partial_rotary_factor);
  if (!(partial_rotary_factor > 0 && partial_rotary_factor <= 1))
    throw ConfigError(describe(f.where("partial_rotary_factor"),
                               "out of range",
                               "above 0, at most 1",
                               std::to_string(partial_rotary_factor)));
}

ops::Rope RopeConfig::make(int head_dim) const {
  return make_rope({.dims = int(head_dim * partial_rotary_factor),
                    .base = rope_theta,
                    .traditional = rope_traditional,
                    .max_positions = max_position_embeddings,
                    .original_max_positions = original_max_position_embeddings},
                   rope_scaling);
}

void TypedRopes::fields(io::Fields& f) {
  if (auto typed = f.object("rope_parameters")) {
    full = sliding = {};
    typed->may("full_attention", &full).may("sliding_attention", &sliding);
  }
  f.may("max_position_embeddings", &max_position_embeddings);
  if (!only_typed)
    f.may("rope_theta", &rope_theta)
        .may("rope_local_base_freq", &rope_local_base_freq)
        .may("rope_scaling", &full);
  io::require_positive(f.where("max_position_embeddings"), max_position_embeddings);
}

ops::Rope TypedRopes::make(bool slides, int head_dim) const {
  auto& scaling = slides ? sliding : full;
  return make_rope({.dims = head_dim,
                    .base = scaling.rope_theta.value_or(slides ? rope_local_base_freq : rope_theta),
                    .max_positions = max_position_embeddings},
                   scaling);
}

void SlidingLayers::fields(io::Fields& f, int layers) {
  f.may("sliding_window", &sliding_window).may("layer_types", &layer_types);
  bool used = first || pattern > 1;
  if (!layer_types.empty()) {
    check_layer_types(
        f.where("layer_types"), layer_types, layers, {"full_attention", "sliding_attention"});
    used |= std::ranges::count(layer_types, "sliding_attention") > 0;
  }
  bool said = sliding_window || !layer_types.empty();
  if (enabled && used && said)
    io::require_positive(f.where("sliding_window"), sliding_window.value_or(0));
}

bool SlidingLayers::slides(int layer) const {
  if (!layer_types.empty()) return layer_types[layer] == "sliding_attention";
  return pattern ? (layer + 1) % pattern != 0 : first && layer >= *first;
}

int SlidingLayers::window(int layer) const {
  return enabled && sliding_window && slides(layer) ? *sliding_window : 0;
}

void check_layer_types(const std::string& where,
                       const std::vector<std::string>& types,
                       int layers,
                       const std::vector<std::string>& known) {
  if (int(types.size()) != layers)
    throw ConfigError(
        describe(where, "wrong length", std::to_string(layers), std::to_string(types.size())));
  std::string names;
  for (auto& name : known) names += (names.empty() ? "" : " or ") + name;
  for (auto& type : types)
    if (std::ranges::count(known, type) == 0)
      throw ConfigError(describe(where, "unknown type", names, type));
}

ops::Activation activation_named(const std::string& name, const std::string& where) {
  if (auto a = ops::activation_of(name)) return *a;
  throw UnsupportedError(
      describe(where, "activation not supported", "silu, gelu, relu2 or gelu_pytorch_tanh", name));
}

}  // namespace mlxcpp::nn
