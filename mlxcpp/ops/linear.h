// Parameters, and the products that use them.
#pragma once

#include "mlxcpp/ops/format.h"
#include "mlxcpp/ops/mx.h"

#include <array>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace mlxcpp::ops {

namespace detail {
class BoundWeight;
}

/// One bound parameter.  Copies share the slot, so that training, quantising or an adapter can set
/// it after a model was built.
using Param = std::shared_ptr<array>;

/// Low-rank adapters of one weight, stacked: entry n - 1 is adapter n.  A product with x gets b a x
/// added, a table's row i gets row i of b times a.  a: (N, r, in), b: (N, out, r); of experts
/// (N, E, r, in) and (N, E, out, r).  Weights that are used head by head have none.
struct Adapters {
  array a, b;
  /// Set for each pass by LanguageModel: (B,) int32, the adapter of each row and 0 for none; or
  /// nothing when no row has one.
  std::shared_ptr<const std::optional<array>> rows;
  /// (N, out), of weight-decomposed adapters (DoRA): the sum is multiplied by it.  None of experts.
  std::optional<array> factor = {};
};

/// Everything that belongs to one projection.
struct WeightData {
  Quant quant{.format = Format::dense, .bits = 0, .group_size = 0};
  /// Dense (..., out, in), packed uint32 (..., out, in * bits / 32), or uint8 (..., out, bytes of a
  /// row) in GGUF's blocks.
  Param value;
  std::optional<Param> scales;  // (..., out, in / group_size); MLX's formats only
  std::optional<Param> zeros;   // affine only: MLX's "biases"
  /// nvfp4 only, and where given: the largest weight, () or (E), float32.  Numbers are those of
  /// value and scales times global_scale / (6 * 448).  MLX's products do not take it on the CPU.
  std::optional<Param> global_scale;
  std::optional<Param> bias;  // (..., out)
  std::optional<Adapters> adapters;
  /// What our kernels made of the arrays above, while they stay the same.
  std::shared_ptr<const detail::BoundWeight> bound;

  bool dense() const { return quant.format == Format::dense; }
  bool blocks() const { return gguf_blocks(quant.format); }
  /// Whether a row of the running pass has an adapter here.
  bool adapted() const { return adapters && *adapters->rows; }
  int outputs() const { return value->shape(-2); }
  int inputs() const;
  /// The dtype that the numbers stand for: of the scales when packed, float16 in blocks.
  mx::Dtype dtype() const;
};
using Weight = std::shared_ptr<WeightData>;

/// x: (..., in) -> (..., out).  Product, adapter, bias, residual, in that order, each once.
array linear(const array& x, const Weight& w, const std::optional<array>& residual = {});

/// The product with the weight the other way round, nothing else.  x: (..., out) -> (..., in).
array linear_back(const array& x, const Weight& w);

/// Several weights on one input (q|k|v, gate|up): one operation where the backend has it.
std::vector<array> linear_all(const array& x, const std::vector<Weight>& weights);
template <class... W>
std::array<array, sizeof...(W)> linear_each(const array& x, const W&... w) {
  auto y = linear_all(x, {w...});
  return [&]<size_t... I>(std::index_sequence<I...>) {
    return std::array<array, sizeof...(W)>{std::move(y[I])...};
  }
  (std::index_sequence_for<W...>());
}

/// Rows of a table.  ids: (...) int32 -> (..., D), in the dtype that models compute in.
array embed(const array& ids, const Weight& table);

/// y times the factor that the weight's global scale stands for; y where there is none.  With
/// `expert` (...), y is (..., rows, out) and each has the factor of its expert.
array with_global_scale(const array& y,
                        const WeightData& w,
                        const std::optional<array>& expert = {});

/// The whole table or matrix as numbers, in the dtype of the scales.
array dequantised(const WeightData& w);

}  // namespace mlxcpp::ops
