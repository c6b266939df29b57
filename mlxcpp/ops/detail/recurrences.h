// Recurrent mixers composed of MLX's operations: what MLXCPP_OPS=mlx, other devices, gradients and
// vmap run, and what our kernels are compared with.
#pragma once

#include "mlxcpp/ops/recurrent.h"

namespace mlxcpp::ops::detail {

/// What a mixer gives, and its state after the valid tokens.
struct Advanced {
  array y, state;
};
struct SsmNumbers {
  array a_log, d, dt_bias;
  float dt_min, dt_max;
};

array state_or_zeros(const State& state, const mx::Shape& shape, mx::Dtype dtype);

/// As in recurrent.h, but `state` is that before.
Advanced conv_composition(const array& x,
                          const array& weight,
                          const std::optional<array>& bias,
                          const State& state,
                          const Rows& rows);
Advanced ssm_composition(const array& x,
                         const array& dt,
                         const array& b,
                         const array& c,
                         const SsmNumbers& args,
                         const State& state,
                         const Rows& rows);
Advanced delta_composition(const array& q,
                           const array& k,
                           const array& v,
                           const array& decay,
                           const array& beta,
                           const State& state,
                           const Rows& rows);
Advanced delta_net_composition(const array& q,
                               const array& k,
                               const array& v,
                               const array& a,
                               const array& b,
                               const array& a_log,
                               const array& dt_bias,
                               const State& state,
                               const Rows& rows);
array gated_norm_composition(const array& y,
                             const array& gate,
                             const std::optional<array>& weight,
                             const NormKind& kind);

}  // namespace mlxcpp::ops::detail
