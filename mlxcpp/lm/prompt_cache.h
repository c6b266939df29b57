// Caches of earlier prompts, by their tokens: what a new prompt has in common with one of them is
// not computed again.
// Source: mlx-lm models/cache.py, LRUPromptCache (0.32.2).  Differs: docs/deviations.md.
#pragma once

#include "mlxcpp/lm/caches.h"
#include "mlxcpp/lm/options.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mlxcpp::lm {

class PromptDisk;  // prompt_disk.h

/// What an entry ends with, in the order of being given up.
enum class PromptKind { assistant, user, system };
inline constexpr int kPromptKinds = 3;

struct PromptCacheOptions {
  std::size_t max_entries = 10;
  std::uint64_t max_bytes = UINT64_MAX;  // kept alive; storage that entries share counts once
};

/// One store for several models: `model` is a name under which caches fit each other (the model,
/// its adapters, the options of its caches).  Belongs to the thread that computes.
class PromptCache {
 public:
  explicit PromptCache(PromptCacheOptions options = {});
  PromptCache(PromptCache&&) noexcept;
  PromptCache& operator=(PromptCache&&) noexcept;
  ~PromptCache();

  /// Caches of one row that hold the first `tokens` ids: a fork, so nothing was copied.
  struct Hit {
    Caches caches;
    int tokens;
  };
  /// Makes caches without content, for what must be read from a disk.
  using MakeCaches = std::function<Caches()>;

  /// The longest beginning of `ids` that is there, but for the last id, which must be computed.
  /// With `make`, the disk is asked, too, for what is longer.
  std::optional<Hit> lookup(std::string_view model,
                            std::span<const TokenId> ids,
                            const MakeCaches& make = {});

  /// Keeps a fork of evaluated caches of one row that have consumed exactly `ids`; what the
  /// entry makes needless and what is beyond the limits goes.  Storage of which entries use only a
  /// part, and nobody else any, is copied at the size of that part.  False: it is larger than the
  /// limit by itself, and was not kept.  Throws InputError when counts differ.
  bool insert(std::string_view model,
              std::span<const TokenId> ids,
              const Caches& caches,
              PromptKind kind = PromptKind::assistant);
  /// The caches themselves, which nobody else goes on with.
  bool insert(std::string_view model,
              std::span<const TokenId> ids,
              Caches&& caches,
              PromptKind kind = PromptKind::assistant);

  /// Gives up entries until there are at most so many, and so many bytes.
  void shrink(std::size_t entries, std::uint64_t bytes = UINT64_MAX);
  void erase(std::string_view model);  ///< all entries of a model that is gone

  /// From now on, entries that go because of the limits are written there, and found again.
  void spill_to(std::shared_ptr<PromptDisk> disk);
  void flush();  ///< writes all entries to the disk, which must be there

  struct Stats {
    std::size_t entries[kPromptKinds] = {};  // by PromptKind
    std::uint64_t bytes = 0;
    std::uint64_t lookups = 0, hits = 0, hit_tokens = 0, evictions = 0;
  };
  Stats stats() const;
  std::size_t size() const;
  std::uint64_t nbytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlxcpp::lm
