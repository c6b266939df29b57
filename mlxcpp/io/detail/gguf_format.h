// The numbers of value types in GGUF metadata, for the parser and the getters.
#pragma once

#include <cstdint>

namespace mlxcpp::io::detail {

enum class GgufType : std::uint32_t {
  uint8 = 0,
  int8 = 1,
  uint16 = 2,
  int16 = 3,
  uint32 = 4,
  int32 = 5,
  float32 = 6,
  boolean = 7,
  string = 8,
  list = 9,
  uint64 = 10,
  int64 = 11,
  float64 = 12,
};

/// Bytes of one value; 0 for strings, lists and unknown types.
constexpr std::uint64_t size_of(GgufType type) {
  switch (type) {
    case GgufType::uint8:
    case GgufType::int8:
    case GgufType::boolean: return 1;
    case GgufType::uint16:
    case GgufType::int16: return 2;
    case GgufType::uint32:
    case GgufType::int32:
    case GgufType::float32: return 4;
    case GgufType::uint64:
    case GgufType::int64:
    case GgufType::float64: return 8;
    default: return 0;
  }
}

}  // namespace mlxcpp::io::detail
