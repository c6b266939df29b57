// Prompt-cache files: what mlx-lm's cache_prompt writes and its generate reads, and the reverse.
// Source: mlx-lm models/cache.py, save_prompt_cache (0.32.2; 0.31.3 and the source d78bf58, whose
// files it can not read).  Differs: a file may say which tokens it holds and which model it is of.
#pragma once

#include "mlxcpp/lm/caches.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/lm/step.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::lm {

/// All are read; each mlx-lm reads only the one that it writes.
enum class PromptFileForm {
  current,       // mlx-lm 0.32.0 as released, and later: numbers are arrays
  source_0_32,   // its source of summer 2026, that calls itself 0.32.0: numbers are text
  release_0_31,  // up to 0.31.3: likewise, and recurrent states have no masks
};

inline constexpr std::uint64_t kPromptFileLimit = std::uint64_t{8} << 30;  // bytes

/// A file as it is: caches in mlx-lm's order, where layers that keep nothing are left out.
struct PromptFile {
  std::vector<CacheState> caches;
  std::map<std::string, std::string> metadata;

  /// Throws IoError or WeightError for a file that is no safetensors or larger than the limit, and
  /// InputError naming the cache for one that is no prompt cache.
  static PromptFile read(const std::filesystem::path& path,
                         std::uint64_t max_bytes = kPromptFileLimit);
  /// Writes the whole file or leaves what was there.  Throws UnsupportedError for caches that the
  /// form can not hold.
  void write(const std::filesystem::path& path,
             PromptFileForm form = PromptFileForm::current) const;
};

/// What a file says beside its caches.  Absent: nothing is said.
struct PromptFileInfo {
  std::optional<std::string> model;             // as --model named it
  std::optional<std::string> tokenizer_config;  // JSON text
  std::optional<std::string> fingerprint;       // of the model; only in our files
  std::optional<std::vector<TokenId>> ids;      // that were consumed; only in our files
  std::optional<std::string> adapter = {};      // its path, where the model had one; likewise

  /// Throws InputError when the ids are no list of numbers.
  static PromptFileInfo of(const std::map<std::string, std::string>& metadata);
  std::map<std::string, std::string> metadata() const;
};

/// The metadata alone, without reading the caches.  Throws as PromptFile::read.
std::map<std::string, std::string> prompt_metadata(const std::filesystem::path& path);

/// 16 hexadecimal digits that files of this model carry.
std::string fingerprint_text(const LanguageModel& model);

/// Writes evaluated caches of one row, the ids they hold, and of which model they are.  `info`
/// gives the names; fingerprint and ids are filled in.
void save_prompt(const std::filesystem::path& path,
                 const LanguageModel& model,
                 const CachedPrompt& prompt,
                 PromptFileInfo info = {},
                 PromptFileForm form = PromptFileForm::current);

struct LoadedPrompt {
  std::shared_ptr<CachedPrompt> prompt;
  PromptFileInfo info;
};
/// Caches as the file has them: rotating or quantised where it says so.  Where the file does not
/// say its ids, prompt->ids are `stand_in` as often as tokens were consumed.  Throws InputError
/// naming file and cause: another model, a class or a shape that the model's layers have not.
LoadedPrompt load_prompt(const std::filesystem::path& path,
                         const LanguageModel& model,
                         TokenId stand_in = 0,
                         std::uint64_t max_bytes = kPromptFileLimit);

/// mlx-lm's list of caches from one state a layer, and back: `like` are states of caches of the
/// same layout.
std::vector<CacheState> without_empty_layers(std::vector<CacheState> layers);
std::vector<CacheState> with_empty_layers(std::vector<CacheState> caches,
                                          const std::vector<CacheState>& like);
/// How caches of this layout must be made to take these states.
CacheOptions options_for(const std::vector<CacheState>& layers, const CacheLayout& layout);

}  // namespace mlxcpp::lm
