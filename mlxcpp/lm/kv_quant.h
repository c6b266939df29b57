// How caches keep keys and values.
#pragma once

#include <string_view>

namespace mlxcpp::lm {

/// 2, 3, 4, 5, 6 or 8 bits: packed in MLX's affine form; 0 of one of them: not packed.  0 of both:
/// float32 is rounded to float16 where ops::may_round().  16 of both: always; 32: never.
struct KvQuant {
  int k_bits = 0, v_bits = 0;
  int group_size = 64;  // 32, 64 or 128; head sizes must be multiples
  int start = 0;        // rows are packed once they hold so many tokens

  bool packs() const { return (k_bits && k_bits <= 8) || (v_bits && v_bits <= 8); }
  bool operator==(const KvQuant&) const = default;
  void validate() const;  ///< throws InputError naming the field
};

}  // namespace mlxcpp::lm
