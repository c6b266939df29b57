// Rotary position embeddings.
#pragma once

#include "mlxcpp/ops/rows.h"

#include <optional>
#include <vector>

namespace mlxcpp::ops {

/// Dynamic NTK: the base grows with a row's own length once that passes `original`.
struct DynamicNtk {
  float factor;
  int original;
};
/// Other frequencies for rows longer than `original` (longrope's long factors).
struct LongFrequencies {
  array freqs;
  int original;
};

struct Rope {
  int dims;  // the leading part of each head that is rotated; 0: nothing is
  float base = 10000, scale = 1;
  bool traditional = false;    // pairs (0, 1), (2, 3)... instead of (0, dims / 2)...
  std::optional<array> freqs;  // (dims / 2,) wavelength / 2 pi; replaces base
  float magnitude = 1;         // factor on the rotated part
  std::optional<DynamicNtk> dynamic;
  std::optional<LongFrequencies> beyond;
  std::vector<int> axis;  // (dims / 2): the position stream of each frequency (M-RoPE)
};

/// x: (B, H, L, d), each token rotated to its place in its row.
array rope(const array& x, const Rope& r, const Layer& layer);

/// Queries that grow with their place in the row, where nothing else tells them of it:
/// x * (1 + by * log(1 + floor((index + 1) / every))).  x: (B, H, L, d).
array scale_by_place(const array& x, int every, float by, const Layer& layer);

}  // namespace mlxcpp::ops
