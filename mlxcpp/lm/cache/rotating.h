// Keeps the first `keep` tokens of a row and the last of the others, `max_size` in all.  mlx-lm's
// RotatingKVCache.  Differs: a chunk sees exactly what single steps would (mlx-lm's mask lets it
// see less of the kept first tokens and more of the last).
#pragma once

#include "mlxcpp/lm/cache/store.h"

namespace mlxcpp::lm {

class RotatingKv final : public CacheStore {
 public:
  RotatingKv(const ops::KvLayout& layout, int max_size, int keep)
      : CacheStore(layout), size_(max_size), keep_(keep) {}
  ops::KvView append(const array& k,
                     const array& v,
                     std::shared_ptr<const ops::Rows> rows) override;
  std::optional<ops::KvRoom> room(const ops::Rows& rows) override;
  std::unique_ptr<CacheStore> clone() const override { return std::make_unique<RotatingKv>(*this); }
  bool forgot(int consumed) const override { return consumed > size_; }
  bool forgets() const override { return true; }
  bool like(const CacheStore& other) const override;
  CacheState state(int consumed) const override;
  int set_state(const CacheState& state) override;

 private:
  int column_of(int token) const;
  int token_in(int column, int consumed) const;
  ops::Kept kept() const { return {keep_, size_ - keep_}; }
  ops::KvView append_in_order(const KvPair& fresh, const ops::Rows& rows, int end);
  ops::KvView overwrite_oldest(const KvPair& fresh, const ops::Rows& rows);
  ops::KvView append_and_turn(const KvPair& fresh, const ops::Rows& rows);

  int size_, keep_;
};

}  // namespace mlxcpp::lm
