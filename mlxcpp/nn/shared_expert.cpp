#include "mlxcpp/nn/shared_expert.h"

#include "mlxcpp/io/checks.h"
#include "mlxcpp/nn/router.h"

#include <mlx/ops.h>

#include <utility>

namespace mlxcpp::nn {

void SharedExpertShape::fields(io::Fields& f) {
  for (auto [key, value] :
       {std::pair{"num_experts", &num_experts},
        {"num_experts_per_tok", &num_experts_per_tok},
        {"moe_intermediate_size", &moe_intermediate_size},
        {"shared_expert_intermediate_size", &shared_expert_intermediate_size}}) {
    f.need(key, value);
    io::require_positive(f.where(key), *value);
  }
  io::require_in_range(f.where("num_experts_per_tok"), num_experts_per_tok, 1, num_experts);
}

SharedExpertMoe::SharedExpertMoe(
    Scope s, const SharedExpertShape& c, int dim, ops::Activation act, bool norm)
    : gate(s / "gate", dim, c.num_experts),
      shared_gate(s / "shared_expert_gate", dim, 1),
      experts(s / "switch_mlp",
              {.count = c.num_experts,
               .dim = dim,
               .hidden = c.moe_intermediate_size,
               .glu = {.act = act}}),
      shared(s / "shared_expert", dim, c.shared_expert_intermediate_size, act),
      k(c.num_experts_per_tok),
      normalise(norm) {}

array SharedExpertMoe::operator()(const array& x) const {
  auto [chosen, weights] = softmax_top_k(gate(x), k, normalise);
  array own = mx::multiply(mx::sigmoid(shared_gate(x)), shared(x));
  return ops::add(experts(x, chosen, weights), own);
}

}  // namespace mlxcpp::nn
