// The seam between attention and what the runtime keeps: models see neither side.
#pragma once

#include "mlxcpp/ops/rows.h"

#include <memory>
#include <optional>
#include <vector>

namespace mlxcpp::ops {

inline constexpr int kHole = 1 << 30;  // the index of a column that holds no token

/// What a store that forgets still holds: the first and the last tokens of a row.  last 0: all.
struct Kept {
  int first = 0, last = 0;
};

/// What attention may read in this pass: old keys and the new ones.  A value, good until the pass
/// ends, so that a later layer may attend to an earlier layer's view.
struct KvView {
  array k, v;  // (B, K, S, dk), (B, K, S, dv)
  std::optional<array>
      key_index;        // (B, S) int32: the token in each column, or kHole; absent: = column
  bool recent = false;  // one query a row, and every column may be seen by it
  Kept kept;
  std::shared_ptr<const Rows> rows;
};

/// What one attention keeps for each token.  The window is the model's mathematics; keeping only
/// that much is the runtime's choice.
struct KvLayout {
  int heads, k_dim, v_dim, window = 0;
};
/// What one layer keeps.  States: shapes without the row axis.
struct LayerLayout {
  std::vector<KvLayout> kv;
  std::vector<mx::Shape> states;
};

/// Room in a store for the tokens of a pass, which a kernel writes itself.
struct KvRoom {
  array k, v;  // the whole storage: (B, K, columns, dk), (B, K, columns, dv), float32

  struct Sight {
    std::vector<int> columns;    // (B): where each row's first token goes; the others follow
    int seen = 0;                // attention reads the first so many columns
    std::vector<int> key_index;  // (B, seen): as KvView's; empty: = column
    Kept kept;
  } sight;
};

/// Storage of one attention of one layer.  Implemented by lm/.
class KvStore {
 public:
  virtual ~KvStore() = default;
  virtual KvView append(const array& k, const array& v, std::shared_ptr<const Rows> rows) = 0;

  /// Instead of append: gives the storage away, so that it may be written in place; fill() gives it
  /// back.  Nothing where the tokens do not go to columns in a row.
  virtual std::optional<KvRoom> room(const Rows&) { return {}; }
  virtual void fill(const array& /*k*/, const array& /*v*/) {}
};

/// k: (B, K, L, dk), v: (B, K, L, dv).  `slot` picks one of several attentions of a layer.
KvView kv_append(const Layer& layer, const array& k, const array& v, int slot = 0);

}  // namespace mlxcpp::ops
