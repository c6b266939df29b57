// Recurrent mixers.  Each reads and advances one state of the layer, by the valid tokens of each
// row only.
#pragma once

#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/linear.h"
#include "mlxcpp/ops/rows.h"

#include <limits>

namespace mlxcpp::ops {

/// Some neighbouring columns of (B, L, D): one product gives the inputs of several operations, and
/// a kernel reads them where they are.
struct Part {
  array of;  // (B, L, D), or (B, L, heads, size)
  int from, heads, size;

  Part(const array& whole);  // NOLINT: an array is a part
  Part(const array& columns, int first, int count, int each)
      : of(columns), from(first), heads(count), size(each) {}
  array flat() const;    ///< (B, L, heads * size)
  array headed() const;  ///< (B, L, heads, size)
};

/// Depthwise causal convolution, and what follows it.  x: (B, L, C), weight: (C, k, 1), bias:
/// (C,) -> (B, L, C).  State `slot`: the last k - 1 inputs, (B, k - 1, C).
array causal_conv(const Part& x,
                  const Param& weight,
                  const std::optional<Param>& bias,
                  const Layer& layer,
                  int slot = 0,
                  std::optional<Activation> act = {});

/// after * causal_conv(before * x), of before, after and x: thirds of (B, L, 3C).
array gated_conv(const array& thirds,
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
array ssm_scan(const Part& x,
               const Part& dt,
               const Part& b,
               const Part& c,
               const SsmArgs& args,
               const Layer& layer,
               int slot);

/// Gated delta rule.  q, k: (B, L, Hk, n), v: (B, L, H, p), H a multiple of Hk; decay in (0, 1],
/// beta: (B, L, H) -> (B, L, H, p), dtype of q.  State `slot`: (B, H, p, n) float32.
array gated_delta(const Part& q,
                  const Part& k,
                  const Part& v,
                  const Part& decay,
                  const Part& beta,
                  const Layer& layer,
                  int slot);

struct DeltaArgs {
  Param a_log, dt_bias;  // (H,) each
};
/// gated_delta with keys of length one and queries of length 1 / sqrt(n), the decay
/// exp(-exp(a_log) softplus(a + dt_bias)), and beta the sigmoid of b.
array gated_delta_net(const Part& q,
                      const Part& k,
                      const Part& v,
                      const Part& a,
                      const Part& b,
                      const DeltaArgs& args,
                      const Layer& layer,
                      int slot);

/// How a gate joins what a mixer gives.
struct NormKind {
  int groups = 1;  // that are normalised each by itself
  float eps = 0;
  bool gate_first = false;  // the norm is of the product
};
/// norm(y) * silu(gate) or norm(y * silu(gate)).  y: (B, L, D) or (B, L, H, p), gate: (B, L, D);
/// weight: (D,), or (D / groups,) for all groups, or null for no norm -> (B, L, D), dtype of y.
array gated_norm(const array& y, const Part& gate, const Param& weight, const NormKind& kind);

}  // namespace mlxcpp::ops
