// The seam between attention and what the runtime keeps: models see neither side.
#pragma once

#include "mlxcpp/ops/rows.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace mlxcpp::ops {

inline constexpr int kHole = 1 << 30;  // the index of a column that holds no token

/// What a store that forgets still holds: the first and the last tokens of a row.  last 0: all.
struct Kept {
  int first = 0, last = 0;
};

/// Keys or values, (B, K, columns, size): as they are, float32 rounded to float16, or packed by
/// mx::quantize.
struct KvNumbers {
  array values;  // (B, K, columns, size), or uint32 (..., size * bits / 32)
  std::optional<array> scales = {}, zeros = {};  // (B, K, columns, size / group_size)
  int bits = 0, group_size = 0;                  // bits 0: as they are; 16: rounded

  KvNumbers(array dense) : values(std::move(dense)) {}  // NOLINT: an array is numbers
  /// Packs (B, K, columns, size); 16 bits: rounds float32, leaves others; 0: leaves it.
  static KvNumbers of(const array& dense, int bits, int group_size = 0);
  int columns() const { return values.shape(2); }
  int size() const { return scales ? scales->shape(3) * group_size : values.shape(3); }
  bool rounded() const { return bits == 16; }
  /// Of what the numbers stand for.
  mx::Dtype dtype() const {
    return scales ? scales->dtype() : rounded() ? mx::float32 : values.dtype();
  }
  array dense() const;
  std::vector<array> arrays() const;
  /// The same with each array replaced: f(array) -> array.
  template <class F>
  KvNumbers map(F f) const {
    KvNumbers y = *this;
    y.values = f(values);
    if (scales) y.scales = f(*scales), y.zeros = f(*zeros);
    return y;
  }
};
/// Joins numbers of one kind along `axis`.
KvNumbers concatenate(const std::vector<KvNumbers>& parts, int axis);

/// Neighbouring columns: the first `columns` of each.
struct KvPiece {
  KvNumbers k, v;
  int columns;

  KvPiece(KvNumbers keys, KvNumbers values_) : KvPiece(keys, values_, keys.columns()) {}
  KvPiece(KvNumbers keys, KvNumbers values_, int n)
      : k(std::move(keys)), v(std::move(values_)), columns(n) {}
};

/// What one row sees of keys; or what all rows see alike, where no cache is.
struct KvPart {
  std::vector<KvPiece> pieces;  // in order; at least one, which may have no columns
  /// (rows, columns) int32: the token in each column, or kHole; absent: = column.
  std::optional<array> key_index = {};
  bool recent = false;  // one query a row, and every column may be seen by it
  Kept kept = {};

  int columns() const;
  int v_size() const;
  array k() const;  ///< (B, K, columns, dk), in one piece, dense
  array v() const;
};

/// What attention may read in this pass: old keys and the new ones.  A value, good until the pass
/// ends, so that a later layer may attend to an earlier layer's view.
struct KvView {
  std::vector<KvPart> parts;  // one for each row, or one for all
  std::shared_ptr<const Rows> rows;

  /// All rows, without a cache.
  static KvView of(const array& k, const array& v, std::shared_ptr<const Rows> rows) {
    return {{KvPart{.pieces = {{k, v}}}}, std::move(rows)};
  }
  /// Row by row: part b with rows->row(b).
  KvView row(int b) const { return {{parts[b]}, rows->row(b)}; }
};

/// What one attention keeps for each token.  The window is the model's mathematics; keeping only
/// that much is the runtime's choice.  `chunked`: the window is a chunk.
struct KvLayout {
  int heads, k_dim, v_dim, window = 0;
  bool chunked = false;
  bool whole = false;  // read as arrays, too, by operations that want them in their own dtype
};
/// What one layer keeps.  States: shapes without the row axis.
struct LayerLayout {
  std::vector<KvLayout> kv;
  std::vector<mx::Shape> states;
};

/// Room in the store of one row for the tokens of a pass, which a kernel writes itself.
struct KvRoom {
  std::vector<KvPiece> before;  // columns that are only read
  KvNumbers k, v;               // then these, float32 or rounded: not packed

  struct Sight {
    int column = 0;                   // of k and v, where the first token goes; the others follow
    int seen = 0;                     // attention reads the first so many columns of k and v
    std::vector<int> key_index = {};  // of all columns that are seen; empty: = column
    Kept kept = {};
  } sight;
};

/// Storage of one attention of one layer, for the rows of a pass.  Implemented by lm/.
class KvStore {
 public:
  virtual ~KvStore() = default;
  virtual KvView append(const array& k, const array& v, std::shared_ptr<const Rows> rows) = 0;

  /// Instead of append of float32: the rows' storage, to be written in place; fill() gives it back,
  /// or nothing has happened.  Empty where the tokens do not go to columns in a row.
  virtual std::vector<KvRoom> room(const Rows&) { return {}; }
  /// k and v of each room.
  virtual void fill(const std::vector<std::pair<array, array>>& /*filled*/) {}
};

/// k: (B, K, L, dk), v: (B, K, L, dv).  `slot` picks one of several attentions of a layer.
KvView kv_append(const Layer& layer, const array& k, const array& v, int slot = 0);

}  // namespace mlxcpp::ops
