// What one forward pass is given: the mathematics, never "image" or "sound".
#pragma once

#include "mlxcpp/ops/mx.h"

#include <optional>
#include <vector>

namespace mlxcpp::lm {

/// Rows of different lengths are padded on the right.
struct Input {
  array tokens;                     // (B, L) int32, also when embeddings are given
  std::vector<int> lengths;         // valid tokens of each row; empty: all L
  std::optional<array> embeddings;  // (B, L, D), in place of the lookup
  std::optional<array> positions;   // (B, L) or (3, B, L) int32, rope only; absent: index + shift
  std::vector<int> rope_shift;      // for each row, remembered by the caches; empty: unchanged
  std::optional<array> spans;  // (B, L) int32: equal numbers > 0 see each other; whole in a pass
  std::optional<array> per_layer;  // (B, L, layers, d) additions; absent: looked up from tokens
  /// For each row, of how many of its last valid tokens hidden() gives states; others are anything
  /// finite.  Empty: of all.  What caches keep is the same.
  std::vector<int> needed;
  std::vector<int> adapters;  // for each row, 0: none; empty: no row has one
};

}  // namespace mlxcpp::lm
