// What the configs of most decoders have in common: each part reads its keys and checks them, and a
// model's own config is made of the parts that it has.
#pragma once

#include "mlxcpp/nn/blocks.h"
#include "mlxcpp/nn/rope.h"
#include "mlxcpp/ops/basic.h"

#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::nn {

/// The extents of a decoder.  Every one is positive after fields(); products fit an int.  A key may
/// be absent where a model sets its extent before.
struct DecoderShape {
  int hidden_size, num_hidden_layers, intermediate_size, num_attention_heads, vocab_size;
  std::optional<int> num_key_value_heads, head_dim;
  bool width_by_layer = false;  // intermediate_size is the model's to read

  void fields(io::Fields& f);
  int kv_heads() const { return num_key_value_heads.value_or(num_attention_heads); }
  int head_size() const { return head_dim.value_or(hidden_size / num_attention_heads); }
  /// Of every layer; what a model adds to it stands in its file.
  AttentionShape attention() const {
    return {.dim = hidden_size,
            .heads = num_attention_heads,
            .kv_heads = kv_heads(),
            .head_dim = head_size()};
  }
};

/// One rotation for all layers: rope_theta, rope_scaling or its newer name rope_parameters, and the
/// lengths that they refer to.
struct RopeConfig {
  int max_position_embeddings = 2048;
  std::optional<int> original_max_position_embeddings;
  float rope_theta = 10000, partial_rotary_factor = 1;
  bool rope_traditional = false;
  RopeScaling rope_scaling;

  void fields(io::Fields& f);
  ops::Rope make(int head_dim) const;
};

/// A rotation for layers with a window and one for those without: rope_parameters by layer type, or
/// rope_theta and rope_scaling of full layers and rope_local_base_freq of the others.
struct TypedRopes {
  int max_position_embeddings = 131072;
  float rope_theta = 1e6f, rope_local_base_freq = 1e4f;
  RopeScaling full, sliding;  // those of a model without rope_parameters
  bool only_typed = false;    // the other keys are none of the model's: set it before fields()

  void fields(io::Fields& f);
  ops::Rope make(bool slides, int head_dim) const;
};

/// Which layers look back only `sliding_window` tokens.
struct SlidingLayers {
  std::optional<int> sliding_window;
  std::vector<std::string> layer_types;  // empty, or one for each layer
  // These have keys of other names, or none: set them before fields().
  bool enabled = true;
  std::optional<int> first = {};  // without layer_types: from here on; absent: none
  int pattern = 0;                // likewise: all but every pattern-th; 0: see first

  void fields(io::Fields& f, int layers);
  bool slides(int layer) const;
  int window(int layer) const;  ///< 0: none
};

/// A list of kinds has one for each layer, and each of them is known; else a ConfigError.
void check_layer_types(const std::string& where,
                       const std::vector<std::string>& types,
                       int layers,
                       const std::vector<std::string>& known);

/// Throws UnsupportedError naming the key.
ops::Activation activation_named(const std::string& name, const std::string& where);

}  // namespace mlxcpp::nn
