// The memory of a batch of rows: how many tokens each has consumed, and what each layer kept of
// them.
#pragma once

#include "mlxcpp/lm/input.h"
#include "mlxcpp/ops/kv.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mlxcpp::lm {

using CacheLayout = std::vector<ops::LayerLayout>;

struct CacheOptions {
  int rows = 1;
  bool rotate = true;   // layers with a window keep only the window
  int max_kv_size = 0;  // > 0: every attention keeps only the first `keep` and the last tokens
  int keep = 4;

  void validate() const;  ///< throws InputError naming the field
};

/// What one layer holds, in the classes and the order of mlx-lm's `state` (0.32.2):
/// KVCache [keys, values] {offset}; RotatingKVCache [keys, values] {offset, keep, max_size, _idx};
/// ArraysCache [states...]; CacheList: its parts.  Keys are (1, K, S, d), oldest first.
struct CacheState {
  std::string class_name;
  std::vector<std::optional<array>> arrays;
  std::vector<int> numbers;
  std::vector<CacheState> parts;
};

class CacheStore;  // cache/store.h

class Caches {
 public:
  Caches();  ///< no cache: every pass sees itself only
  Caches(const CacheLayout& layout, const CacheOptions& options);
  Caches(Caches&&) noexcept;
  Caches& operator=(Caches&&) noexcept;
  ~Caches();

  bool empty() const { return layers_.empty(); }
  int rows() const { return int(consumed_.size()); }
  const std::vector<int>& consumed() const { return consumed_; }

  /// A copy that shares storage until one of the two writes.
  Caches fork() const;
  /// False with recurrent states, or once a store that forgets has forgotten something.
  bool trimmable() const;
  /// Forgets the last n[b] tokens of row b.  Throws InputError, changing nothing, when a row has
  /// fewer or the caches can not be trimmed.
  void trim(const std::vector<int>& n);

  /// Counts, states and stores that forget, to come back to; not plain storage.
  struct Mark;
  std::shared_ptr<const Mark> mark() const;
  /// Any number of passes may lie between, and nothing else.  Throws InputError when the mark has
  /// another number of rows.
  void rollback(const Mark& mark);

  void keep_rows(const std::vector<int>& rows);  ///< reorders, drops or repeats rows
  /// Appends the rows of caches of the same layout and options; throws InputError for others.
  void join(const Caches& other);

  std::uint64_t nbytes() const;
  std::vector<array> arrays() const;  ///< all that must be evaluated with each step

  /// Of caches with one row.  Throws InputError for more, and when `state` does not fit.
  std::vector<CacheState> state() const;
  void set_state(const std::vector<CacheState>& state);

  /// Called by LanguageModel only: opens a pass that adds `in` to every row.  `scratch` holds the
  /// states of a pass without a cache.
  ops::Pass begin(const CacheLayout& layout, const Input& in, std::vector<ops::State>& scratch);

 private:
  struct LayerCaches;
  std::vector<std::unique_ptr<LayerCaches>> layers_;
  std::vector<int> consumed_, rope_shift_;
};

}  // namespace mlxcpp::lm
