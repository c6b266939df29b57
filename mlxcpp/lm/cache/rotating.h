// Keeps the first `keep` tokens of a row and the last of the others, `max_size` in all.  mlx-lm's
// RotatingKVCache, and ChunkedKVCache where the window is a chunk.  Differs: a chunk of a prompt
// sees exactly what single steps would (mlx-lm's mask lets it see less of the kept first tokens and
// more of the last); it can be packed.
#pragma once

#include "mlxcpp/lm/cache/store.h"

namespace mlxcpp::lm {

struct SavedKv;  // saved.h

class RotatingKv final : public CacheStore {
 public:
  RotatingKv(const ops::KvLayout& layout, const KvQuant& quant, int max_size, int keep)
      : CacheStore(layout, quant), size_(max_size), keep_(keep) {}
  std::unique_ptr<CacheStore> clone() const override { return std::make_unique<RotatingKv>(*this); }
  ops::KvPart append(const array& k, const array& v, int offset) override;
  std::optional<ops::KvRoom> room(int offset, int tokens) override;
  void fill(const array& k, const array& v) override;
  bool forgot(int consumed) const override { return consumed > size_; }
  bool forgets() const override { return true; }
  bool like(const CacheStore& other) const override;
  CacheState state(int consumed) const override;
  int set_state(const CacheState& state) override;
  std::vector<array> arrays() const override;
  std::vector<array> written() const override { return arrays(); }

 private:
  int columns() const { return kv_ ? kv_->columns() : 0; }
  int column_of(int token) const;
  int token_in(int column, int consumed) const;
  std::vector<int> tokens_after(int consumed) const;
  ops::Kept kept() const { return {keep_, size_ - keep_}; }
  bool chunked() const { return layout_.chunked && keep_ == 0 && size_ == layout_.window; }
  void grow(const KvPair& like, int columns);
  void pack();
  ops::KvPart seen_in_order(int columns) const;
  ops::KvPart append_in_order(const KvPair& fresh, int offset, int end);
  ops::KvPart overwrite_oldest(const KvPair& fresh, int offset);
  ops::KvPart append_and_turn(const KvPair& fresh, int offset);
  CacheState named(const std::optional<KvPair>& kv, int consumed) const;
  SavedKv read(const CacheState& state, int* write_at) const;

  std::optional<KvPair> kv_;  // nothing before the first token
  int size_, keep_;
  bool packed_ = false;
};

}  // namespace mlxcpp::lm
