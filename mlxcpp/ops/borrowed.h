// Arrays over memory that is not MLX's: files that were mapped or read as they are.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <cstddef>
#include <memory>
#include <utility>

namespace mlxcpp::ops {

/// Whether MLX's arrays can stand in other memory: where its allocator is the one for CPUs.
bool can_borrow();

/// Whether the address is a multiple of the dtype's size.  MLX's compiled loops count on it.
bool aligned(const std::byte* data, mx::Dtype dtype);

/// An array over `data`, which nobody changes while `owner` lives; it lives as long as the array's
/// memory is in use.  MLX writes no results there.  Eight bytes before `data` must be readable.
/// Without can_borrow(), and where `data` is not aligned(), the bytes are copied.
array borrowed(const std::byte* data,
               const mx::Shape& shape,
               mx::Dtype dtype,
               std::shared_ptr<const void> owner);

/// A fresh array of MLX's own and the memory to fill it through.
std::pair<array, std::byte*> blank(const mx::Shape& shape, mx::Dtype dtype);

/// Bytes that an array of this shape takes.
std::size_t bytes_of(const mx::Shape& shape, mx::Dtype dtype);

}  // namespace mlxcpp::ops
