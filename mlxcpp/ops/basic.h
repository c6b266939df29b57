// Small operations that every model uses.
#pragma once

#include "mlxcpp/ops/linear.h"

#include <optional>
#include <vector>

namespace mlxcpp::ops {

/// x: (..., D), in the dtype of x; sums in float32.  A null weight means no scale.
array rms_norm(const array& x, const Param& weight, float eps);
/// x: (..., D), in the dtype of x; without the mean, and with a bias.
array layer_norm(const array& x, const Param& weight, const Param& bias, float eps);

/// An enum, not a function: a fused kernel must be able to name it.
enum class Activation { silu, gelu, gelu_tanh, relu2 };
/// The activation that Hugging Face's `hidden_act` names, or nothing.
std::optional<Activation> activation_of(const std::string& hidden_act);
array activate(const array& x, Activation a);

/// How a gated feed-forward network joins its halves: act(gate) * (up + shift), both clamped to
/// `limit` before (gate from above only), and silu's inner slope.
struct Glu {
  Activation act = Activation::silu;
  float limit = 0;  // 0: none
  float slope = 1;  // x * sigmoid(slope * x), with silu only
  float shift = 0;
};
array gated(const array& gate, const array& up, const Glu& how);

array add(const array& a, const array& b);

/// Cuts before each given index.  (mx::split(x, {n}, axis) is another function: n equal parts.)
std::vector<array> split_at(const array& x, const std::vector<int>& cuts, int axis = -1);

/// The places from ... to before `to` along an axis (below 0: from the last); x where that is all.
array take_columns(const array& x, int from, int to, int axis);
/// (B, ...) -> (1, ...).
array take_row(const array& x, int row);

array scale(const array& x, float by);     ///< in the dtype of x
array softcap(const array& x, float cap);  ///< cap * tanh(x / cap)
array softplus(const array& x);            ///< log(1 + exp(x))

}  // namespace mlxcpp::ops
