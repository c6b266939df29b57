// How keys and values are packed in caches.
#pragma once

#include <string_view>

namespace mlxcpp::lm {

/// MLX's affine form.  0 bits: as they are; 2, 3, 4, 5, 6 or 8.
struct KvQuant {
  int k_bits = 0, v_bits = 0;
  int group_size = 64;  // 32, 64 or 128; head sizes must be multiples
  int start = 0;        // rows are packed once they hold so many tokens

  bool on() const { return k_bits || v_bits; }
  bool operator==(const KvQuant&) const = default;
  void validate() const;  ///< throws InputError naming the field
};

}  // namespace mlxcpp::lm
