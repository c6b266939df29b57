#include "mlxcpp/nn/layer_inputs.h"

#include "mlxcpp/base/error.h"

#include <mlx/ops.h>

#include <cmath>

namespace mlxcpp::nn {

LayerInputs::LayerInputs(Scope s, const LayerInputShape& c)
    : table(s / "embed_tokens_per_layer", c.vocab, c.layers * c.size),
      project(s / "per_layer_model_projection", c.dim, c.layers * c.size),
      norm(s / "per_layer_projection_norm", c.size, c.eps),
      layers(c.layers),
      size(c.size) {}

array LayerInputs::looked_up(const array& tokens) const {
  array known = mx::less(tokens, array(table.w->outputs()));  // others look like token 0
  array rows = table(mx::where(known, tokens, array(0)));
  return ops::scale(rows, in_precision_of(table, std::sqrt(float(size))));
}

std::vector<array> LayerInputs::operator()(const array& tokens,
                                           const array& embeddings,
                                           const std::optional<array>& given) const {
  if (given && (given->shape(2) != layers || given->shape(3) != size))
    throw InputError(describe("input.per_layer",
                              "does not fit",
                              std::to_string(layers) + " layers of " + std::to_string(size),
                              to_string(given->shape())));
  auto by_layer = [&](const array& x) { return mx::unflatten(x, -1, {layers, size}); };
  array own = given ? *given : by_layer(looked_up(tokens));
  array projected = ops::scale(project(embeddings), 1 / std::sqrt(float(embeddings.shape(-1))));
  array all = ops::scale(mx::add(norm(by_layer(projected)), own), std::sqrt(0.5f));
  std::vector<array> inputs = mx::split(all, layers, 2);
  for (array& input : inputs) input = mx::squeeze(input, 2);
  return inputs;
}

LayerInputGate::LayerInputGate(Scope s, const LayerInputShape& c, ops::Activation activation)
    : gate(s / "per_layer_input_gate", c.dim, c.size),
      project(s / "per_layer_projection", c.size, c.dim),
      norm(s / "post_per_layer_input_norm", c.dim, c.eps),
      act(activation) {}

array LayerInputGate::operator()(const array& h, const array& input) const {
  return norm(project(mx::multiply(ops::activate(gate(h), act), input)));
}

}  // namespace mlxcpp::nn
