// Routed experts, and one that every token goes to, behind a gate of its own.
#pragma once

#include "mlxcpp/nn/blocks.h"

namespace mlxcpp::nn {

/// With the keys that configs have.  Every one is positive after fields().
struct SharedExpertShape {
  int num_experts, num_experts_per_tok, moe_intermediate_size, shared_expert_intermediate_size;

  void fields(io::Fields& f);
};

/// Softmax over all experts, then the best k, and sigmoid(shared_expert_gate) * shared_expert.
struct SharedExpertMoe {
  Linear gate, shared_gate;
  Experts experts;
  GatedMlp shared;
  int k;
  bool normalise;  // the weights of the best add up to one

  /// Takes gate, switch_mlp, shared_expert and shared_expert_gate.
  SharedExpertMoe(
      Scope s, const SharedExpertShape& shape, int dim, ops::Activation act, bool normalise);
  array operator()(const array& x) const;
};

}  // namespace mlxcpp::nn
