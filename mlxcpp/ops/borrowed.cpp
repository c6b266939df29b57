#include "mlxcpp/ops/borrowed.h"

#include <mlx/allocator.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace mlxcpp::ops {
namespace {

/// MLX's allocator for CPUs keeps a block's size in this many bytes before the numbers, and calls
/// the address of that size the buffer.
constexpr std::size_t kBefore = sizeof(std::size_t);

}  // namespace

bool can_borrow() {
  static const bool can = [] {
    mx::allocator::Data probe = mx::allocator::malloc(64);
    mx::allocator::Buffer buffer = probe.buffer();
    return buffer.ptr() && buffer.raw_ptr() == static_cast<char*>(buffer.ptr()) + kBefore;
  }();
  return can;
}

bool aligned(const std::byte* data, mx::Dtype dtype) {
  return reinterpret_cast<std::uintptr_t>(data) % size_of(dtype) == 0;
}

std::size_t bytes_of(const mx::Shape& shape, mx::Dtype dtype) {
  std::size_t bytes = size_of(dtype);
  for (int extent : shape) bytes *= std::size_t(extent);
  return bytes;
}

std::pair<array, std::byte*> blank(const mx::Shape& shape, mx::Dtype dtype) {
  mx::allocator::Data memory = mx::allocator::malloc(bytes_of(shape, dtype));
  mx::allocator::Buffer buffer = memory.buffer();
  auto* data = static_cast<std::byte*>(buffer.raw_ptr());
  array a(std::move(memory), shape, dtype);
  return {std::move(a), data};
}

array borrowed(const std::byte* data,
               const mx::Shape& shape,
               mx::Dtype dtype,
               std::shared_ptr<const void> owner) {
  if (!can_borrow() || !aligned(data, dtype)) {
    auto [copy, to] = blank(shape, dtype);
    if (std::size_t bytes = bytes_of(shape, dtype)) std::memcpy(to, data, bytes);
    return copy;
  }
  mx::allocator::Buffer buffer(const_cast<std::byte*>(data) - kBefore);
  auto keep = [owner = std::move(owner)](mx::allocator::Buffer) mutable { owner.reset(); };
  return array(mx::allocator::Data(buffer, std::move(keep)), shape, dtype);
}

}  // namespace mlxcpp::ops
