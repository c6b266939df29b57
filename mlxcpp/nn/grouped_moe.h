// DeepSeek's feed-forward network of experts: a few that a grouped router picks for each token,
// beside those that all tokens share.
#pragma once

#include "mlxcpp/nn/blocks.h"
#include "mlxcpp/nn/router.h"

#include <optional>
#include <string>

namespace mlxcpp::nn {

/// Keys by DeepSeek's names, defaults as transformers has them.
struct GroupedMoeConfig {
  std::optional<int> n_routed_experts;  // absent: every layer is dense
  int n_shared_experts = 1, moe_intermediate_size = 0, num_experts_per_tok = 8, n_group = 8,
      topk_group = 4, first_k_dense_replace = 3, moe_layer_freq = 1;
  float routed_scaling_factor = 2.5f;
  bool norm_topk_prob = true;
  std::string topk_method = "noaux_tc", scoring_func = "sigmoid";  // the only ones

  void fields(io::Fields& f);
  bool sparse(int layer) const;
  int experts() const { return n_routed_experts.value_or(0); }

 private:
  void check(const io::Fields& f) const;
};

struct GroupedMoe {
  GroupedRouter gate;
  Experts experts;
  GatedMlp shared;

  /// Takes gate, switch_mlp and shared_experts.
  GroupedMoe(Scope s, int dim, const GroupedMoeConfig& config, ops::Activation act);
  array operator()(const array& x) const {
    auto [chosen, weights] = gate(x);
    return ops::add(experts(x, chosen, weights), shared(x));
  }
};

}  // namespace mlxcpp::nn
