// Mixers whose output a gate multiplies: a delta rule behind a short convolution, and attention.
// The layers that have the one or the other, and the norms of such decoders.
#pragma once

#include "mlxcpp/nn/blocks.h"

#include <string>
#include <vector>

namespace mlxcpp::nn {

/// The extents of gated delta nets, with the keys that configs have for them.  Every one is
/// positive after fields(), value heads are a multiple of key heads, and all products fit an int.
struct DeltaShape {
  int linear_num_key_heads, linear_num_value_heads, linear_key_head_dim, linear_value_head_dim,
      linear_conv_kernel_dim;

  void fields(io::Fields& f);
  int keys() const { return linear_num_key_heads * linear_key_head_dim; }
  int values() const { return linear_num_value_heads * linear_value_head_dim; }
  int channels() const { return 2 * keys() + values(); }  ///< of the convolution: q, k, v
};

/// Which layers have a gated delta net (linear_attention), and which attention.
struct LinearLayers {
  int full_attention_interval = 4;       // without layer_types: every so manyth attends
  std::vector<std::string> layer_types;  // empty, or one for each layer

  /// Throws UnsupportedError when no layer is linear: see centre_norms.
  void fields(io::Fields& f, int layers);
  bool linear(int layer) const;
};

/// Hugging Face stores the norms of these decoders, but those inside of delta nets, as a distance
/// from one, and MLX as they are.  The shape of the convolutions tells the two layouts apart; both
/// become MLX's.
void centre_norms(WeightMap& w);

/// norm(delta rule(conv(q, k, v))) * silu(z), and an output projection.  Where its inputs come from
/// is the model's.
struct GatedDeltaNet {
  /// qkv: (B, L, channels), z: (B, L, H*p), b, a: (B, L, H), before sigmoid and softplus.
  struct Inputs {
    array qkv, z, b, a;
  };
  DeltaShape shape;
  ops::Activation act;  // after the convolution
  ops::Param conv, a_log, dt_bias;
  RmsNorm norm;
  Linear out;

  /// Takes conv1d, A_log, dt_bias, norm and out_proj.
  GatedDeltaNet(Scope s, const DeltaShape& shape, int dim, ops::Activation act, float eps);
  /// -> (B, L, D).
  array operator()(const Inputs& in, const ops::Layer& layer) const;
  ops::LayerLayout layout() const;
};

/// Attention whose q_proj gives, beside each head of queries, a gate of the same size, the sigmoid
/// of which multiplies the head's output.
struct GatedAttention : ops::SelfAttention {
  /// shape.qk_norm must be there; 2 * heads * head_dim fits an int.
  GatedAttention(Scope s, const AttentionShape& shape, ops::Rope rope);
  array operator()(const array& x, const ops::Layer& layer) const;
  ops::LayerLayout layout() const { return {.kv = {ops::layout(*this)}, .states = {}}; }
};

}  // namespace mlxcpp::nn
