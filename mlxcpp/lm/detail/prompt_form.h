// mlx-lm's prompt-cache files as trees: a path names each array and each text.
#pragma once

#include "mlxcpp/lm/prompt_file.h"

#include <cstddef>
#include <map>
#include <string>
#include <string_view>

namespace mlxcpp::lm {

struct PromptTree {
  std::map<std::string, array> arrays;
  std::map<std::string, std::string> texts;

  /// Throws UnsupportedError for a cache that the form can not hold.
  static PromptTree of(const PromptFile& file, PromptFileForm form);
  /// Tells the form by itself.  Throws InputError that begins with `where`.
  PromptFile file(const std::string& where) const;
};

/// User metadata alone.
std::map<std::string, std::string> user_metadata(const std::map<std::string, std::string>& texts,
                                                 const std::string& where);

namespace detail {

/// A class of keys and values, and how many numbers CacheState has for it: where it is packed, the
/// last two are group_size and bits, or the last three where values have bits of their own.
struct KvClass {
  std::string_view name;
  std::size_t numbers;
  bool packed = false;
};
inline constexpr KvClass kKvClasses[] = {{"KVCache", 1},
                                         {"RotatingKVCache", 4},
                                         {"QuantizedKVCache", 3, true},
                                         {"ChunkedKVCache", 3},
                                         {"QuantizedRotatingKVCache", 6, true}};
/// Null for a class that is not of keys and values.
const KvClass* kv_class(std::string_view name);

std::string join(const std::string& path, std::size_t i);  ///< path.i

}  // namespace detail
}  // namespace mlxcpp::lm
