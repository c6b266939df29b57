#include "mlxcpp/nn/grouped_moe.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"

#include <tuple>
#include <utility>

namespace mlxcpp::nn {

void GroupedMoeConfig::fields(io::Fields& f) {
  f.may("n_routed_experts", &n_routed_experts);
  if (!n_routed_experts) return;
  f.need("moe_intermediate_size", &moe_intermediate_size)
      .may("n_shared_experts", &n_shared_experts)
      .may("num_experts_per_tok", &num_experts_per_tok)
      .may("n_group", &n_group)
      .may("topk_group", &topk_group)
      .may("first_k_dense_replace", &first_k_dense_replace)
      .may("moe_layer_freq", &moe_layer_freq)
      .may("routed_scaling_factor", &routed_scaling_factor)
      .may("norm_topk_prob", &norm_topk_prob)
      .may("topk_method", &topk_method)
      .may("scoring_func", &scoring_func);
  check(f);
}

void GroupedMoeConfig::check(const io::Fields& f) const {
  for (auto [key, name, known] : {std::tuple{"topk_method", &topk_method, "noaux_tc"},
                                  {"scoring_func", &scoring_func, "sigmoid"}})
    if (*name != known)
      throw UnsupportedError(describe(f.where(key), "not supported", known, *name));
  for (auto [key, value] : {std::pair{"n_routed_experts", *n_routed_experts},
                            {"n_group", n_group},
                            {"moe_intermediate_size", moe_intermediate_size},
                            {"n_shared_experts", n_shared_experts},
                            {"moe_layer_freq", moe_layer_freq}})
    io::require_positive(f.where(key), value);
  io::require_divisible(f.where("n_routed_experts"), *n_routed_experts, "n_group", n_group);
  io::require_in_range(f.where("topk_group"), topk_group, 1, n_group);
  int open = topk_group * (*n_routed_experts / n_group);  // experts of the groups that are used
  io::require_in_range(f.where("num_experts_per_tok"), num_experts_per_tok, 1, open);
  io::require_product(f.where("n_shared_experts"), moe_intermediate_size, n_shared_experts);
}

bool GroupedMoeConfig::sparse(int layer) const {
  return n_routed_experts && layer >= first_k_dense_replace && layer % moe_layer_freq == 0;
}

GroupedMoe::GroupedMoe(Scope s, int dim, const GroupedMoeConfig& c, ops::Activation act)
    : gate(s / "gate",
           {.dim = dim,
            .experts = c.experts(),
            .k = c.num_experts_per_tok,
            .groups = c.n_group,
            .used_groups = c.topk_group,
            .normalise = c.norm_topk_prob,
            .factor = c.routed_scaling_factor}),
      experts(s / "switch_mlp",
              {.count = c.experts(),
               .dim = dim,
               .hidden = c.moe_intermediate_size,
               .glu = {.act = act}}),
      shared(s / "shared_experts", dim, c.moe_intermediate_size * c.n_shared_experts, act) {}

}  // namespace mlxcpp::nn
