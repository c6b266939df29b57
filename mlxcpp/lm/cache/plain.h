// Keeps everything, token after token.  mlx-lm's KVCache, and its QuantizedKVCache once packed.
// Differs: it grows by segments that forks share.  What is in a shared segment never changes: who
// goes on begins a segment of its own.  Where our kernels read, the newest tokens are packed once
// their segment is full: until then they are written in place.
#pragma once

#include "mlxcpp/lm/cache/store.h"

namespace mlxcpp::lm {

class PlainKv final : public CacheStore {
 public:
  using CacheStore::CacheStore;
  std::unique_ptr<CacheStore> clone() const override { return std::make_unique<PlainKv>(*this); }
  ops::KvPart append(const array& k, const array& v, int offset) override;
  std::optional<ops::KvRoom> room(int offset, int tokens) override;
  void fill(const array& k, const array& v) override;
  void reserve(int tokens) override { reserved_ = tokens; }
  void trim(int consumed) override;
  bool forgot(int) const override { return false; }
  bool forgets() const override { return false; }
  bool like(const CacheStore& other) const override {
    return dynamic_cast<const PlainKv*>(&other) && same_layout(other);
  }
  CacheState state(int consumed) const override;
  int set_state(const CacheState& state) override;
  std::vector<array> arrays() const override;
  std::vector<array> written() const override;
  std::vector<Share> shares() override;

 private:
  struct Held {
    std::shared_ptr<KvPair> segment;
    int count;  // of its columns
  };
  int size() const;
  bool packs(int offset) const { return quant_.packs() && (packed_ || offset >= quant_.start); }
  bool fits(int tokens) const;
  int columns_for(int tokens) const;
  void begin_segment(const KvPair& like, int tokens);
  void pack_segments(bool last);
  KvPair whole() const;
  KvPair whole_packed() const;
  ops::KvPart part(const array& k, const array& v) const;

  std::vector<Held> held_;
  bool packed_ = false;  // all, but for a last segment that still grows
  int reserved_ = 0;
  int filling_ = 0;  // tokens that fill() brings
};

}  // namespace mlxcpp::lm
