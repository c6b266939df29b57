// Storage of one attention of one layer, for all rows: what every kind of cache can do.
#pragma once

#include "mlxcpp/lm/caches.h"
#include "mlxcpp/ops/kv.h"

#include <memory>
#include <optional>
#include <vector>

namespace mlxcpp::lm {

/// Keys (B, K, columns, dk) and values (B, K, columns, dv).
struct KvPair {
  array k, v;
};

class CacheStore : public ops::KvStore {
 public:
  explicit CacheStore(const ops::KvLayout& layout) : layout_(layout) {}
  virtual std::unique_ptr<CacheStore> clone() const = 0;  ///< shares the arrays
  /// True when a row of this many tokens can no longer be trimmed.
  virtual bool forgot(int consumed) const = 0;
  virtual bool forgets() const = 0;  ///< whether a mark must hold a copy
  virtual CacheState state(int consumed) const = 0;
  /// Returns how many tokens the state says were consumed.
  virtual int set_state(const CacheState& state) = 0;

  /// Whether rows of the other may stand beside rows of this one.
  virtual bool like(const CacheStore& other) const = 0;

  void fill(const array& k, const array& v) override { kv_ = KvPair{k, v}; }
  void keep_rows(const array& rows);
  void join(const CacheStore& other, int rows, int other_rows);
  std::vector<array> arrays() const;

 protected:
  static constexpr int kStep = 256;  // columns are added by this many

  bool same_layout(const CacheStore& other) const;
  int columns() const { return kv_ ? kv_->k.shape(2) : 0; }
  /// Room for `columns`, at least; new ones are zero.
  static KvPair grown(const std::optional<KvPair>& old, const KvPair& like, int columns);
  /// Writes at column `start` of every row, or at (B, L) columns where rows differ.
  static KvPair written(const KvPair& to,
                        const KvPair& x,
                        std::optional<int> start,
                        const array& at);
  /// The storage with room for `columns`, given away (KvStore::room).
  ops::KvRoom given_away(int rows, int columns);
  static int rounded_up(int columns) { return (columns + kStep - 1) / kStep * kStep; }

  ops::KvLayout layout_;
  std::optional<KvPair> kv_;  // nothing before the first token
};

/// A kind of cache by its layout: RotatingKv for a window that is smaller than what it would grow
/// to.
std::unique_ptr<CacheStore> make_store(const ops::KvLayout& layout, const CacheOptions& options);

array take_columns(const array& x, int from, int to);
array int_grid(const std::vector<int>& values, int rows);
/// index (B, L) as wide as x, for taking or putting along its columns.
array along_columns(const array& index, const array& x);

}  // namespace mlxcpp::lm
