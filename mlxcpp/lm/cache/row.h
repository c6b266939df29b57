// All that one row keeps: for each layer a store for each of its attentions, and its recurrent
// states.
#pragma once

#include "mlxcpp/lm/cache/store.h"

#include <memory>
#include <optional>
#include <vector>

namespace mlxcpp::lm {

/// A recurrent state of one row.  Rows that went through a pass together share one array, so that
/// the next pass of the same rows need not gather it.
class RowState {
 public:
  RowState() = default;
  explicit RowState(const array& own) : whole_(std::make_shared<array>(own)) {}
  RowState(std::shared_ptr<const array> whole, int row) : whole_(std::move(whole)), row_(row) {}

  bool begun() const { return whole_ != nullptr; }
  ops::State value() const;  ///< (1, ...)
  /// The same apart from the other rows, which it would keep alive.
  RowState apart() const;
  const std::shared_ptr<const array>& whole() const { return whole_; }
  int row() const { return row_; }

 private:
  std::shared_ptr<const array> whole_;  // (rows, ...)
  int row_ = 0;
};

struct LayerCaches {
  std::vector<std::unique_ptr<CacheStore>> kv;
  std::vector<RowState> states;
  std::vector<mx::Shape> state_shapes;  // without the row axis

  LayerCaches() = default;
  LayerCaches(LayerCaches&&) = default;
  LayerCaches& operator=(LayerCaches&&) = default;
  LayerCaches(const LayerCaches& other);
  /// Whether rows of the other may stand beside rows of this one.
  bool like(const LayerCaches& other) const;
};

struct Caches::Row {
  std::vector<LayerCaches> layers;
  int consumed = 0, rope_shift = 0;

  Row copy() const;
  bool like(const Row& other) const;
  bool trimmable() const;
};

/// States of the same place of several rows as one: (rows, ...), zeros for those that have not
/// begun; nothing where none has.
ops::State gathered(const std::vector<const RowState*>& states);

/// One attention of one layer, for the rows of a pass.
class RowsKv final : public ops::KvStore {
 public:
  explicit RowsKv(std::vector<CacheStore*> rows) : rows_(std::move(rows)) {}
  ops::KvView append(const array& k,
                     const array& v,
                     std::shared_ptr<const ops::Rows> rows) override;
  std::vector<ops::KvRoom> room(const ops::Rows& rows) override;
  void fill(const std::vector<std::pair<array, array>>& filled) override;

 private:
  std::vector<CacheStore*> rows_;
};

}  // namespace mlxcpp::lm
