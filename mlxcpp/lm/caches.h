// The memory of a batch of rows: how many tokens each has consumed, and what each layer kept of
// them.
#pragma once

#include "mlxcpp/lm/input.h"
#include "mlxcpp/lm/kv_quant.h"
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
  KvQuant quant = {};

  void validate() const;  ///< throws InputError naming the field
};

/// Bytes of each number of a key or value that is not packed.
int kv_number_bytes(const ops::KvLayout& layout, const KvQuant& quant);

/// What one layer holds, in the classes and the order of mlx-lm's `state` (0.32.2):
/// KVCache [keys, values] {offset}; RotatingKVCache [keys, values] {offset, keep, max_size, _idx};
/// ChunkedKVCache [keys, values] {offset, chunk_size, start_position}; QuantizedKVCache [keys,
/// scales, biases, the same of values] {offset, group_size, bits}; ArraysCache [states...];
/// CacheList: its parts.  Keys are (1, K, S, d), oldest first.  Of our own: QuantizedKVCache with
/// {offset, group_size, bits of keys, bits of values}, where numbers of 0 bits are one array; and
/// QuantizedRotatingKVCache, the same after {offset, keep, max_size, _idx}.
struct CacheState {
  std::string class_name;
  std::vector<std::optional<array>> arrays;
  std::vector<int> numbers;
  std::vector<CacheState> parts;
};

/// A batch is its rows: each has storage of its own, at an offset of its own, so that rows come and
/// go without copying.
class Caches {
 public:
  Caches();  ///< no cache: every pass sees itself only
  Caches(const CacheLayout& layout, const CacheOptions& options);
  Caches(Caches&&) noexcept;
  Caches& operator=(Caches&&) noexcept;
  ~Caches();

  bool empty() const { return none_; }
  int rows() const { return int(rows_.size()); }
  std::vector<int> consumed() const;  ///< tokens of each row

  /// A copy that shares what is stored; neither ever sees what the other adds.  To be kept, its
  /// arrays() should be evaluated: until then it may keep alive what it was copied from.
  Caches fork() const;
  /// A batch of the very rows of these: what a pass adds to it, they have.
  static Caches together(const std::vector<Caches*>& parts);
  /// A hint: each row is going to hold so many tokens.
  void reserve(int tokens);
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
  /// Appends copies (see fork) of the rows of caches of the same layout and options; throws
  /// InputError for others.
  void join(const Caches& other);

  std::uint64_t nbytes() const;  ///< that these keep alive; what rows share counts once
  /// Of several caches together.
  static std::uint64_t nbytes(const std::vector<const Caches*>& all);
  std::vector<array> arrays() const;  ///< all that must be evaluated with each step
  std::vector<array> stored() const;  ///< all that these keep alive; what rows share is there twice

  /// Segments of which these use less than eight ninths, and which nobody else holds, are copied at
  /// the size that is used: once, for all of these.  Of evaluated caches; true: there were some.
  static bool tighten(const std::vector<Caches*>& all);

  /// Of caches with one row.  Throws InputError for more, and when `state` does not fit.
  std::vector<CacheState> state() const;
  /// `consumed`: of states that are all recurrent, and so do not say it.
  void set_state(const std::vector<CacheState>& state, int consumed = 0);

  /// Called by LanguageModel only: opens a pass that adds `in` to every row; and takes the states
  /// of one that went well.  Without a cache the states go with the pass.
  ops::Pass begin(const CacheLayout& layout, const Input& in);
  void end(ops::Pass& pass);

 private:
  struct Row;
  std::vector<std::shared_ptr<Row>> rows_;
  bool none_ = true;
};

}  // namespace mlxcpp::lm
