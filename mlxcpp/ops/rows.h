// One forward pass, described once: which tokens it adds to which rows, and what each layer keeps.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <deque>
#include <memory>
#include <optional>
#include <vector>

namespace mlxcpp::ops {

/// The tokens that one pass adds to each row: (B, L), right padded, so that token p of a row is
/// column p.  The same for all layers.  Padding is finite garbage that no valid token sees and no
/// cache keeps.
struct Rows {
  int batch, length;
  std::vector<int> offsets, lengths;  // per row: tokens before this pass, valid tokens in it
  std::vector<int> needed;            // of so many of the last valid ones states are wanted
  array offset;                       // (B,) int32, = offsets
  array index;                        // (B, L) int32: offset + column.  Masks use this
  std::optional<array> positions;     // (B, L) or (3, B, L) int32, for rope only, if not the index
  std::optional<array> spans;         // (B, L) int32: equal numbers > 0 see each other both ways
  bool same_offset, full;             // host facts that pick the fast paths

  Rows(int batch, int length, std::vector<int> offsets, std::vector<int> lengths);
  int end(int row) const { return offsets[row] + lengths[row]; }
  int longest_end() const;
  array valid() const;  ///< (B, L) bool
  array ends() const;   ///< (B,) int32: offset + valid tokens
  /// Row b by itself, (1, L); made once.
  std::shared_ptr<const Rows> row(int b) const;

 private:
  mutable std::vector<std::shared_ptr<const Rows>> each_;
};

class KvStore;
using State = std::optional<array>;  // of a recurrent mixer: empty before the first token

/// What one layer may use in one pass.  Models and blocks hand it to ops and look at nothing
/// inside.
struct Layer {
  std::shared_ptr<const Rows> rows;
  std::vector<KvStore*> kv;  // one for each attention; null: no cache (training, evaluation)
  std::vector<State*> states;
};

/// Its layers point into `stores` and `states`, which end with it.
struct Pass {
  std::shared_ptr<const Rows> rows;
  std::vector<Layer> layers = {};
  std::vector<std::shared_ptr<KvStore>> stores = {};
  std::deque<State> states = {};
};

}  // namespace mlxcpp::ops
