// Operations that our own kernels compute on the CPU, as nodes of MLX's graph.
#pragma once

#include "mlxcpp/ops/device.h"
#include "mlxcpp/ops/mx.h"

#include <mlx/primitives.h>

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace mlxcpp::ops::detail {

/// The same operation composed of MLX's.  All that a kernel does not compute comes from it:
/// gradients and vmap; and it is what MLXCPP_OPS=mlx runs.
using Composition = std::function<std::vector<array>(const std::vector<array>&)>;

/// A node that calls a function of plain arrays.
class Kernel final : public mx::Primitive {
 public:
  /// Gets evaluated inputs, and outputs with memory, on the stream's thread.
  using Run = std::function<void(const std::vector<array>&, std::vector<array>&)>;
  /// Gets the same on the caller's thread while the inputs may not be computed yet: takes their
  /// pointers, and gives what the stream's thread shall do.  Cheaper with many inputs.
  using Bind = std::function<std::function<void()>(const std::vector<array>&, std::vector<array>&)>;

  Kernel(const char* name, Run run, Composition composition);
  Kernel(const char* name, Bind bind, Composition composition);

  void eval_cpu(const std::vector<array>& inputs, std::vector<array>& outputs) override;
  void eval_gpu(const std::vector<array>& inputs, std::vector<array>& outputs) override;
  DEFINE_VMAP()
  DEFINE_GRADS()
  const char* name() const override { return name_; }

  /// Output i takes the memory of input reuse[i] when nobody else needs that; -1: never.  An input
  /// that somebody needs is copied into the output before the kernel runs.
  std::vector<int> reuse;

 private:
  const char* name_;
  Bind bind_;
  Composition composition_;
};

/// float32, row-contiguous, as kernels want their inputs.
array dense_float(const array& x);
const float* floats(const array& x);
float* floats(array& x);

/// One output of the given shape, float32 unless said otherwise.
array kernel(const char* name,
             mx::Shape shape,
             std::vector<array> inputs,
             Kernel::Run run,
             Composition composition,
             mx::Dtype dtype = mx::float32);
std::vector<array> kernel(const char* name,
                          std::vector<std::pair<mx::Shape, mx::Dtype>> outputs,
                          std::vector<array> inputs,
                          Kernel::Run run,
                          Composition composition,
                          std::vector<int> reuse = {});
std::vector<array> nodes(std::shared_ptr<Kernel> kernel,
                         std::vector<std::pair<mx::Shape, mx::Dtype>> outputs,
                         std::vector<array> inputs);

}  // namespace mlxcpp::ops::detail
