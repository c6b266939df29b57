// Recurrent mixers.  Each reads and advances one state of the layer, by the valid tokens of each
// row only.
#pragma once

#include "mlxcpp/ops/linear.h"
#include "mlxcpp/ops/rows.h"

#include <limits>

namespace mlxcpp::ops {

/// Depthwise causal convolution.  x: (B, L, C), weight: (C, k, 1), bias: (C,) -> (B, L, C).
/// State `slot`: the last k - 1 inputs, (B, k - 1, C).
array causal_conv(const array& x,
                  const Param& weight,
                  const std::optional<Param>& bias,
                  const Layer& layer,
                  int slot = 0);

struct SsmArgs {
  Param a_log, d, dt_bias;  // (H,) each
  float dt_min = 0, dt_max = std::numeric_limits<float>::infinity();
};
/// Mamba 2.  x: (B, L, H, p), dt: (B, L, H) before bias and softplus, b, c: (B, L, G, n), H a
/// multiple of G -> (B, L, H, p), dtype of x.  State `slot`: (B, H, p, n) float32.
array ssm_scan(const array& x,
               const array& dt,
               const array& b,
               const array& c,
               const SsmArgs& args,
               const Layer& layer,
               int slot);

/// Gated delta rule.  q, k: (B, L, Hk, n), v: (B, L, H, p), H a multiple of Hk; decay in (0, 1],
/// beta: (B, L, H) -> (B, L, H, p), dtype of q.  State `slot`: (B, H, p, n) float32.
array gated_delta(const array& q,
                  const array& k,
                  const array& v,
                  const array& decay,
                  const array& beta,
                  const Layer& layer,
                  int slot);

}  // namespace mlxcpp::ops
