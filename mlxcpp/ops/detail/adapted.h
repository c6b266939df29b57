// What low-rank adapters add to products, to rows of tables and to products of experts.
#pragma once

#include "mlxcpp/ops/detail/weights.h"

#include <functional>
#include <memory>
#include <optional>

namespace mlxcpp::ops::detail {

/// y: a product without its bias, (B, ..., out), of x: (B, ..., in).  Throws InputError when the
/// pass has adapters for another number of rows.
array adapted(const array& y, const array& x, const Adapters& adapters);

/// y: rows of a table, (B, ..., D), of ids (B, ...).
array adapted_rows(const array& y, const array& ids, const Adapters& adapters);

/// y: what experts give, (..., 1, out), of x: (..., 1, in).  expert, lane: (...), the adapter of
/// each in lane.
array adapted_experts(const array& y,
                      const array& x,
                      const Adapters& adapters,
                      const array& expert,
                      const array& lane);

/// The adapter of each of `count` rows, (count,) int32; where all have the same, for any count.
array rows_of(const Adapters& adapters, int count);

/// linear() by our kernels.  compose(x, w, residual) is the same by MLX's.
using ComposeLinear =
    std::function<array(const array&, const WeightData&, const std::optional<array>&)>;
array own_adapted(const array& x,
                  const Weight& w,
                  const std::shared_ptr<const BoundWeight>& bound,
                  const std::optional<array>& residual,
                  const ComposeLinear& compose);

/// Adapters of a stack of experts as kernels see them: float32, in order.
struct ExpertAdapters {
  const float* a;  // (N, E, rank, in)
  const float* b;  // (N, E, out, rank)
  int adapters, experts, rank, in, out;

  static ExpertAdapters of(const array& a, const array& b);
  /// y: (rows, out) += ..., where row m of x is x + (m / repeat) * in, uses expert which[m] and
  /// adapter lane[m], 0 for none.
  void add(
      const float* x, int repeat, int rows, const unsigned* which, const int* lane, float* y) const;
};

}  // namespace mlxcpp::ops::detail
