#include "mlxcpp/io/arena.h"

#include "mlxcpp/base/error.h"

#include <sys/mman.h>

#include <cstdint>
#include <limits>
#include <string>

namespace mlxcpp::io {
namespace {

constexpr std::size_t kLargePage = std::size_t{2} << 20;

#ifdef MAP_NORESERVE
constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
#endif

std::size_t rounded_up(std::size_t n, std::size_t unit) { return (n + unit - 1) / unit * unit; }

}  // namespace

std::shared_ptr<Arena> Arena::reserve(std::size_t bytes) {
  void* map = MAP_FAILED;
  std::size_t map_bytes = 0;
  if (bytes < std::numeric_limits<std::size_t>::max() - 4 * kLargePage) {
    bytes = rounded_up(bytes, kLargePage);
    map_bytes = bytes + kLargePage;  // a start that is aligned lies within
    map = ::mmap(nullptr, map_bytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  }
  if (map == MAP_FAILED)
    throw CapacityError(
        describe("memory", "refused by the system", std::to_string(bytes) + " bytes for weights"));
  auto address = reinterpret_cast<std::uintptr_t>(map);
  auto* start = static_cast<std::byte*>(map) + (rounded_up(address, kLargePage) - address);
#ifdef MADV_HUGEPAGE
  ::madvise(start, bytes, MADV_HUGEPAGE);  // a wish: without, pages are small
#endif
  return std::shared_ptr<Arena>(new Arena(map, map_bytes, start, bytes));
}

Arena::~Arena() { ::munmap(map_, map_bytes_); }

std::byte* Arena::take(std::size_t bytes) {
  auto left = std::size_t(end_ - next_);
  if (left < kAlignment || left - kAlignment < bytes) return nullptr;
  std::byte* piece = next_ + kAlignment;
  std::size_t used = rounded_up(bytes, kAlignment);
  next_ = left - kAlignment < used ? end_ : piece + used;
  return piece;
}

}  // namespace mlxcpp::io
