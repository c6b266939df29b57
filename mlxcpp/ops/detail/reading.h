// Parts of activations, and parameters, as the kernels of recurrent mixers read them.
#pragma once

#include "mlxcpp/ops/cpu/recurrent.h"
#include "mlxcpp/ops/detail/view.h"
#include "mlxcpp/ops/recurrent.h"

#include <list>
#include <vector>

namespace mlxcpp::ops::detail {

/// Reads evaluated arrays where they lie, and keeps copies of others until the kernel has run.
class Reading {
 public:
  /// float32 columns of each token.
  cpu::Sequence sequence(const Part& p);
  /// A small parameter of any dtype, as float32.
  const float* numbers(const array& x);
  /// A parameter as it is stored.
  cpu::Stored stored(const array& x);

 private:
  std::list<View<float>> views_;
  std::list<std::vector<float>> copies_;
};

/// (rows, tokens, size), side by side.
void dense_rows(const cpu::Sequence& x, int rows, int tokens, int size, float* out);

}  // namespace mlxcpp::ops::detail
