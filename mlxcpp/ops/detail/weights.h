// Weights as our kernels read them.
#pragma once

#include "mlxcpp/ops/cpu/linear.h"
#include "mlxcpp/ops/linear.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace mlxcpp::ops::detail {

/// A weight that stands still: its arrays are evaluated and kept, so that a pass may be computed
/// after the slots of the model were given other arrays.
class BoundWeight {
 public:
  /// Null when kernels can not read it: a tracer (a gradient of weights is asked for), or a dtype
  /// that they do not know; and when a row of the pass has an adapter here.  Evaluates what was not
  /// yet; kept in the weight until a slot is given another array.
  static std::shared_ptr<const BoundWeight> of(const Weight& w);
  /// The same for who sees to adapters himself.
  static std::shared_ptr<const BoundWeight> without_adapters(const Weight& w);

  /// (outputs, inputs); of the first where it is a stack.
  const cpu::Matrix& matrix() const { return matrix_; }
  int outputs() const { return matrix_.rows; }
  int inputs() const { return matrix_.columns; }
  int stacked() const { return stacked_; }  // 0: it is no stack
  /// (outputs), or (stacked, outputs); null without.
  const float* bias() const { return bias_ ? bias_->data<float>() : nullptr; }
  cpu::ExpertStack stack() const;
  /// Entry i of a stack.
  cpu::Matrix matrix(int i) const;

 private:
  static std::shared_ptr<const BoundWeight> make(WeightData& w);

  cpu::Matrix matrix_;
  int stacked_ = 0;
  long stride_ = 0, scale_stride_ = 0;
  std::vector<float> factors_;
  std::optional<array> bias_;
  std::vector<array> kept_;
  std::vector<std::uintptr_t> made_from_;
};

/// The codings of MLX's affine formats, and the types of their scales; nothing for others.
std::optional<cpu::Coding> affine_coding(int bits);
std::optional<cpu::Number> number_of(mx::Dtype dtype);

/// float32 numbers of a small parameter (a norm, a bias), evaluated; nothing for a tracer.
std::optional<array> float_values(const array& x);

}  // namespace mlxcpp::ops::detail
