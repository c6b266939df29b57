// Keeps everything: token p of a row is in column p.  mlx-lm's KVCache.
#pragma once

#include "mlxcpp/lm/cache/store.h"

namespace mlxcpp::lm {

class PlainKv final : public CacheStore {
 public:
  using CacheStore::CacheStore;
  ops::KvView append(const array& k,
                     const array& v,
                     std::shared_ptr<const ops::Rows> rows) override;
  std::optional<ops::KvRoom> room(const ops::Rows& rows) override;
  std::unique_ptr<CacheStore> clone() const override { return std::make_unique<PlainKv>(*this); }
  bool forgot(int) const override { return false; }
  bool forgets() const override { return false; }
  bool like(const CacheStore& other) const override {
    return dynamic_cast<const PlainKv*>(&other) && same_layout(other);
  }
  CacheState state(int consumed) const override;
  int set_state(const CacheState& state) override;
};

}  // namespace mlxcpp::lm
