// Memory for what is read of files, in large pages where the system has them: numbers that are
// streamed from it arrive faster than from a map, whose pages are small.
#pragma once

#include <cstddef>
#include <memory>

namespace mlxcpp::io {

/// Address space that takes memory as it is written to.
class Arena {
 public:
  static constexpr std::size_t kAlignment = 64;

  /// For pieces of so many bytes in all.  Throws CapacityError when the system has not even the
  /// addresses.
  static std::shared_ptr<Arena> reserve(std::size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  /// A piece, aligned to kAlignment, with as many bytes before it that are readable and nobody's;
  /// null when there is no room left.
  std::byte* take(std::size_t bytes);

 private:
  Arena(void* map, std::size_t map_bytes, std::byte* start, std::size_t bytes)
      : map_(map), map_bytes_(map_bytes), next_(start), end_(start + bytes) {}
  void* map_;
  std::size_t map_bytes_;
  std::byte *next_, *end_;
};

}  // namespace mlxcpp::io
