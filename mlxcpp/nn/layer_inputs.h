// Inputs that each layer has for itself: a second table of embeddings, joined with a projection of
// the first, and how a layer takes them in.
#pragma once

#include "mlxcpp/nn/blocks.h"

#include <optional>
#include <vector>

namespace mlxcpp::nn {

struct LayerInputShape {
  int vocab, layers, size, dim;  // size: of one layer's input; dim: of the hidden state
  float eps;
};

/// embed_tokens_per_layer, per_layer_model_projection, per_layer_projection_norm.
struct LayerInputs {
  Embedding table;
  Linear project;
  RmsNorm norm;
  int layers, size;

  LayerInputs(Scope s, const LayerInputShape& shape);
  /// tokens: (B, L), embeddings: (B, L, D) -> (B, L, size) for each layer.  `given`: (B, L, layers,
  /// size), in place of the table; throws InputError when it has other extents.
  std::vector<array> operator()(const array& tokens,
                                const array& embeddings,
                                const std::optional<array>& given) const;

 private:
  array looked_up(const array& tokens) const;
};

/// What a layer adds for its input: norm(project(act(gate(h)) * input)).
struct LayerInputGate {
  Linear gate, project;
  RmsNorm norm;
  ops::Activation act;

  /// per_layer_input_gate, per_layer_projection, post_per_layer_input_norm.
  LayerInputGate(Scope s, const LayerInputShape& shape, ops::Activation act);
  /// h: (B, L, D), input: (B, L, size) -> (B, L, D).
  array operator()(const array& h, const array& input) const;
};

}  // namespace mlxcpp::nn
