// The checks that every saved cache of keys and values has in common.
#pragma once

#include "mlxcpp/lm/cache/store.h"

#include <string_view>

namespace mlxcpp::lm {

struct SavedKv {
  std::string_view class_name;
  std::optional<KvPair> kv;
  std::vector<int> numbers;

  /// Throws InputError unless `s` is of this class, has keys and values of one row that fit the
  /// layout (or neither), and `count` numbers, none negative.
  static SavedKv read(const CacheState& s,
                      std::string_view class_name,
                      size_t count,
                      const ops::KvLayout& layout);
  [[noreturn]] void refuse(std::string_view why) const;
};

}  // namespace mlxcpp::lm
