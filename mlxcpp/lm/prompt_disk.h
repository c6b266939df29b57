// Prompt caches in a folder of files, for what does not fit into memory or shall outlive the
// process.
#pragma once

#include "mlxcpp/lm/prompt_cache.h"

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

namespace mlxcpp::lm {

/// Each entry is a prompt-cache file (prompt_file.h), named by a hash of its model and its tokens.
/// A file appears whole or not at all; one that is torn or says something else than its name is
/// removed, files of other names are left alone.  The files that were used longest ago go first.
/// Several processes may share a folder.  Belongs to the thread that computes.
class PromptDisk {
 public:
  /// Makes the folder, readable by its owner only, or takes over what is in it.  Throws IoError.
  PromptDisk(std::filesystem::path folder, std::uint64_t max_bytes);
  ~PromptDisk();

  struct Saved {
    std::vector<TokenId> ids;
    Caches caches;
    PromptKind kind;
    std::size_t common;  // how many of the ids asked for can be used, less than all
  };
  /// The entry that has most in common with `ids`, if that is more than `known` tokens.
  std::optional<Saved> read(std::string_view model,
                            std::span<const TokenId> ids,
                            std::size_t known,
                            const PromptCache::MakeCaches& make);

  /// Writes caches of one row that hold `ids`, unless they are there.  False: they are larger than
  /// the budget.  Throws IoError, for example on a full disk.
  bool write(std::string_view model,
             std::span<const TokenId> ids,
             const Caches& caches,
             PromptKind kind);

  std::size_t size() const;
  std::uint64_t nbytes() const;  ///< of all files, at most max_bytes
  const std::filesystem::path& folder() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlxcpp::lm
