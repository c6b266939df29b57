// The Mamba-2 mixer: one projection in, a short convolution, a selective scan, a gate, one
// projection out.
// Source: mlx-lm models/mamba2.py, falcon_h1.py, nemotron_h.py (0.32.2), transformers likewise.
// Differs from mlx-lm: the norm goes over each group of heads, as transformers has it.
#pragma once

#include "mlxcpp/nn/blocks.h"
#include "mlxcpp/ops/recurrent.h"

#include <limits>
#include <optional>
#include <string_view>
#include <vector>

namespace mlxcpp::nn {

/// What a config says of the mixer.  After fields() every extent is positive, groups divide heads,
/// and the projection's outputs fit an int.  Where a model sets an extent before, its key may be
/// absent, or empty: not read.
struct Mamba2Shape {
  /// Each architecture has names of its own for them.
  struct Keys {
    std::string_view heads, head_dim, groups, state, kernel, conv_bias;
  };
  int heads = 0, head_dim = 0;
  int groups = 0, state = 0;  // heads of a group share B and C, of `state` numbers each
  int kernel = 0;             // of the convolution
  bool conv_bias = true, in_bias = false, out_bias = false;
  std::vector<float> time_step_limit = {0, std::numeric_limits<float>::infinity()};

  void fields(io::Fields& f, const Keys& keys);
  int inner() const { return heads * head_dim; }
  int shared() const { return groups * state; }  // B of all groups; C likewise
  int mixed() const { return inner() + 2 * shared(); }
};

/// What is done with the mixer's parts.
struct Mamba2Kind {
  ops::Activation act = ops::Activation::silu;  // after the convolution
  std::optional<float> norm_eps = {};           // of a norm over each group; absent: no norm
  bool norm_before_gate = false;
  std::vector<float> multipliers = {};  // of gate, x, B, C and dt; empty: none
};

/// in_proj, conv1d, A_log, D, dt_bias, norm where there is one, out_proj.
struct Mamba2 {
  Mamba2Shape shape;
  ops::Activation act;
  bool norm_before_gate;
  Linear in, out;
  ops::Param conv;
  std::optional<ops::Param> conv_bias;
  ops::SsmArgs ssm;
  std::optional<RmsNorm> norm;       // its weight stretches over all groups
  std::optional<array> multipliers;  // one for each output of `in`

  Mamba2(Scope s, int dim, const Mamba2Shape& shape, const Mamba2Kind& kind);
  /// x: (B, L, D) -> (B, L, D).
  array operator()(const array& x, const ops::Layer& layer) const;
  ops::LayerLayout layout() const {
    return {
        .kv = {},
        .states = {{shape.kernel - 1, shape.mixed()}, {shape.heads, shape.head_dim, shape.state}}};
  }
};

}  // namespace mlxcpp::nn
