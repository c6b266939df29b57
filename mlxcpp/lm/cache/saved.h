// The checks that every saved cache of keys and values has in common.
#pragma once

#include "mlxcpp/lm/cache/store.h"

#include <string_view>

namespace mlxcpp::lm {

inline constexpr std::string_view kQuantisedClass = "QuantizedKVCache";

struct SavedKv {
  std::string_view class_name;
  std::optional<KvPair> kv;  // in the dtype that models compute in, row-contiguous
  std::vector<int> numbers;
  KvQuant quant;

  /// Throws InputError unless `s` is of this class, has keys and values of one row that fit the
  /// layout (or neither), and `count` numbers, none negative.
  static SavedKv read(const CacheState& s,
                      std::string_view class_name,
                      size_t count,
                      const ops::KvLayout& layout);
  /// Likewise for packed ones: numbers end with group_size, bits; or with group_size and the bits
  /// of keys and of values, where one of these may be 0.
  static SavedKv read_packed(const CacheState& s,
                             std::string_view class_name,
                             size_t count,
                             const ops::KvLayout& layout);
  [[noreturn]] void refuse(std::string_view why) const;
};

/// What read_packed() reads; `numbers` are those before the group size.
CacheState saved_packed(std::string_view class_name,
                        const std::optional<KvPair>& kv,
                        std::vector<int> numbers,
                        const KvQuant& quant);

}  // namespace mlxcpp::lm
