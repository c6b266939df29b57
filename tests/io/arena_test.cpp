#include "mlxcpp/io/arena.h"

#include "mlxcpp/base/error.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

namespace mlxcpp::io {
namespace {

TEST(Arena, pieces_are_aligned_apart_and_writable) {
  auto arena = Arena::reserve(1 << 20);
  const std::size_t sizes[] = {1, 64, 65, 0, 4096, 7};
  std::vector<std::byte*> pieces;
  for (auto size : sizes) {
    auto* piece = arena->take(size);
    ASSERT_NE(piece, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(piece) % Arena::kAlignment, 0u);
    std::memset(piece, int(pieces.size()) + 1, size);
    EXPECT_EQ(piece[-1], std::byte{0}) << "nobody's";
    EXPECT_EQ(piece[-long(Arena::kAlignment)], std::byte{0});
    pieces.push_back(piece);
  }
  for (std::size_t i = 0; i < pieces.size(); ++i)
    for (std::size_t at = 0; at < sizes[i]; ++at)
      ASSERT_EQ(pieces[i][at], std::byte(i + 1)) << i << " " << at;
}

TEST(Arena, gives_nothing_beyond_its_end) {
  auto arena = Arena::reserve(4096);  // in whole large pages
  std::size_t room = std::size_t{2} << 20;
  EXPECT_EQ(arena->take(room), nullptr) << "the bytes before count";
  EXPECT_EQ(arena->take(std::numeric_limits<std::size_t>::max()), nullptr);
  auto* piece = arena->take(room - Arena::kAlignment);
  ASSERT_NE(piece, nullptr);
  piece[room - Arena::kAlignment - 1] = std::byte{1};
  EXPECT_EQ(arena->take(0), nullptr);
}

TEST(Arena, takes_no_memory_before_it_is_written_to) {
  auto arena = Arena::reserve(std::size_t{1} << 40);  // more than machines have
  auto* piece = arena->take(std::size_t{1} << 39);
  ASSERT_NE(piece, nullptr);
  piece[0] = piece[(std::size_t{1} << 39) - 1] = std::byte{1};
}

TEST(Arena, that_the_system_refuses_is_a_capacity_error) {
  EXPECT_THROW(Arena::reserve(std::numeric_limits<std::size_t>::max()), CapacityError);
  EXPECT_THROW(Arena::reserve(std::size_t{1} << 62), CapacityError);
}

}  // namespace
}  // namespace mlxcpp::io
