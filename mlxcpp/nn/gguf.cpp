#include "mlxcpp/nn/gguf.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"

#include <mlx/allocator.h>
#include <mlx/types/half_types.h>

#include <cstring>
#include <span>
#include <utility>

namespace mlxcpp::nn {
namespace {

using Bytes = std::span<const std::byte>;
constexpr int kBlock = 32;  // elements of a Q4_0, Q4_1 or Q8_0 block, and our group size

/// A fresh array and the memory to fill it through.
template <class T>
std::pair<array, T*> blank(const mx::Shape& shape, mx::Dtype dtype) {
  size_t bytes = size_of(dtype);
  for (int extent : shape) bytes *= size_t(extent);
  mx::allocator::Data memory = mx::allocator::malloc(bytes);
  mx::allocator::Buffer buffer = memory.buffer();
  auto* data = static_cast<T*>(buffer.raw_ptr());
  array a(std::move(memory), shape, dtype);
  return {std::move(a), data};
}

float half_at(const std::byte* p) {
  mx::float16_t h;
  std::memcpy(&h, p, sizeof h);
  return float(h);
}

/// Where row r of the result stands in the file.
struct RowOrder {
  int head_rows = 0;  // 0: in order
  size_t operator()(size_t r) const {
    if (!head_rows) return r;
    size_t head = r / head_rows, i = r % head_rows, half = head_rows / 2;
    return head * head_rows + (i < half ? 2 * i : 2 * (i - half) + 1);
  }
};

/// One block: 32 elements of `bits` bits in MLX's order, their scale and bias.
struct Group {
  std::uint8_t* packed;
  float *scale, *bias;
};

/// Nibble i of a block stands in byte i (low) or i - 16 (high); MLX wants neighbours in one byte.
void repack_nibbles(const std::byte* q, std::uint8_t* out) {
  for (int i = 0; i < 8; ++i) {
    auto a = std::to_integer<std::uint8_t>(q[2 * i]),
         b = std::to_integer<std::uint8_t>(q[2 * i + 1]);
    out[i] = std::uint8_t((a & 0x0f) | (b << 4));
    out[8 + i] = std::uint8_t((a >> 4) | (b & 0xf0));
  }
}
void unpack_q4_0(const std::byte* block, const Group& g) {
  *g.scale = half_at(block);
  *g.bias = -8 * *g.scale;
  repack_nibbles(block + 2, g.packed);
}
void unpack_q4_1(const std::byte* block, const Group& g) {
  *g.scale = half_at(block);
  *g.bias = half_at(block + 2);
  repack_nibbles(block + 4, g.packed);
}
void unpack_q8_0(const std::byte* block, const Group& g) {
  *g.scale = half_at(block);
  *g.bias = -128 * *g.scale;
  for (int i = 0; i < kBlock; ++i) g.packed[i] = std::to_integer<std::uint8_t>(block[2 + i]) ^ 0x80;
}

struct BlockKind {
  int bits;
  size_t bytes;
  void (*unpack)(const std::byte*, const Group&);
};
std::optional<BlockKind> block_kind(io::GgmlType type) {
  switch (type) {
    case io::GgmlType::q4_0: return BlockKind{4, 18, unpack_q4_0};
    case io::GgmlType::q4_1: return BlockKind{4, 20, unpack_q4_1};
    case io::GgmlType::q8_0: return BlockKind{8, 34, unpack_q8_0};
    default: return {};
  }
}
std::optional<mx::Dtype> plain_dtype(io::GgmlType type) {
  switch (type) {
    case io::GgmlType::f32: return mx::float32;
    case io::GgmlType::f16: return mx::float16;
    case io::GgmlType::bf16: return mx::bfloat16;
    default: return {};
  }
}

mx::Shape mlx_shape(const io::Gguf& file, const io::GgufTensor& t) {
  mx::Shape shape;
  for (auto extent : t.shape) {
    if (extent > INT32_MAX)
      throw WeightError(describe(file.label() + ": " + std::string(t.name),
                                 "extent too large",
                                 "at most 2147483647",
                                 std::to_string(extent)));
    shape.push_back(int(extent));
  }
  return shape;
}

RowOrder row_order(const io::Gguf& file, const io::GgufTensor& t, const GgufTarget& to) {
  if (!to.interleaved_heads) return {};
  std::int64_t rows = t.shape.empty() ? 1 : t.shape[0],
               fits = 2 * std::int64_t(to.interleaved_heads);
  if (rows % fits != 0)
    throw WeightError(describe(file.label() + ": " + std::string(t.name),
                               "rows do not fit the heads",
                               "a multiple of " + std::to_string(fits),
                               std::to_string(rows)));
  return {int(rows / to.interleaved_heads)};
}

array copied(Bytes bytes, const mx::Shape& shape, mx::Dtype dtype, RowOrder order) {
  auto [out, data] = blank<std::byte>(shape, dtype);
  size_t rows = shape.empty() ? 1 : size_t(shape[0]), row_bytes = bytes.size() / rows;
  if (!order.head_rows) {
    std::memcpy(data, bytes.data(), bytes.size());
  } else {
    for (size_t r = 0; r < rows; ++r)
      std::memcpy(data + r * row_bytes, bytes.data() + order(r) * row_bytes, row_bytes);
  }
  return out;
}

void add_packed(GgufWeights& to,
                const std::string& path,
                Bytes bytes,
                const mx::Shape& shape,
                const BlockKind& kind,
                RowOrder order) {
  size_t groups = size_t(shape.back()) / kBlock, packed_bytes = kBlock * kind.bits / 8;
  size_t rows = bytes.size() / (groups * kind.bytes);
  mx::Shape packed_shape = shape, scale_shape = shape;
  packed_shape.back() = int(groups * packed_bytes / 4);
  scale_shape.back() = int(groups);
  auto [weight, packed] = blank<std::uint8_t>(packed_shape, mx::uint32);
  auto [scales, scale] = blank<float>(scale_shape, mx::float32);
  auto [biases, bias] = blank<float>(scale_shape, mx::float32);
  for (size_t r = 0, g = 0; r < rows; ++r) {
    const std::byte* block = bytes.data() + order(r) * groups * kind.bytes;
    for (size_t i = 0; i < groups; ++i, ++g, block += kind.bytes)
      kind.unpack(block, {packed + g * packed_bytes, scale + g, bias + g});
  }
  to.arrays.emplace(path + ".weight", weight);
  to.arrays.emplace(path + ".scales", scales);
  to.arrays.emplace(path + ".biases", biases);
  to.quantization.exceptions[path] = ops::Quant{ops::Format::affine, kind.bits, kBlock};
}

/// MXFP4: a scale, then nibbles as Q4_0 has them; MLX's codes and scales are the same.
void add_mxfp4(
    GgufWeights& to, const std::string& path, Bytes bytes, const mx::Shape& shape, RowOrder order) {
  constexpr size_t block_bytes = 1 + kBlock / 2;
  size_t groups = size_t(shape.back()) / kBlock, rows = bytes.size() / (groups * block_bytes);
  mx::Shape packed_shape = shape, scale_shape = shape;
  packed_shape.back() = shape.back() / 8;
  scale_shape.back() = int(groups);
  auto [weight, packed] = blank<std::uint8_t>(packed_shape, mx::uint32);
  auto [scales, scale] = blank<std::uint8_t>(scale_shape, mx::uint8);
  for (size_t r = 0, g = 0; r < rows; ++r) {
    const std::byte* block = bytes.data() + order(r) * groups * block_bytes;
    for (size_t i = 0; i < groups; ++i, ++g, block += block_bytes) {
      scale[g] = std::to_integer<std::uint8_t>(block[0]);
      repack_nibbles(block + 1, packed + g * kBlock / 2);
    }
  }
  to.arrays.emplace(path + ".weight", weight);
  to.arrays.emplace(path + ".scales", scales);
  to.quantization.exceptions[path] = ops::Quant{ops::Format::mxfp4, 4, kBlock};
}

void add_tensor(GgufWeights& to,
                const io::Gguf& file,
                const io::GgufTensor& t,
                const GgufTarget& target) {
  auto fail = [&](const char* what, const char* expected) {
    throw WeightError(describe(file.label() + ": " + std::string(t.name),
                               what,
                               expected,
                               std::string(io::name_of(t.type))));
  };
  mx::Shape shape = mlx_shape(file, t);
  RowOrder order = row_order(file, t, target);
  if (auto dtype = plain_dtype(t.type)) {
    array stored = copied(t.bytes, shape, *dtype, order);
    to.arrays.emplace(target.name, target.change ? target.change(stored) : stored);
    return;
  }
  auto kind = block_kind(t.type);
  if (!target.name.ends_with(".weight") || !(kind || t.type == io::GgmlType::mxfp4))
    fail("tensor type not supported", "F32, F16, BF16, Q4_0, Q4_1, Q8_0 or MXFP4");
  if (target.change) fail("packed, where a checkpoint has other numbers", "F32, F16 or BF16");
  std::string path = target.name.substr(0, target.name.size() - 7);
  if (kind)
    add_packed(to, path, t.bytes, shape, *kind, order);
  else
    add_mxfp4(to, path, t.bytes, shape, order);
}

}  // namespace

GgufWeights load_gguf(const io::Gguf& file, const GgufNames& names) {
  GgufWeights out;
  for (const auto& t : file.tensors()) {
    auto target = names(t.name);
    if (!target) continue;
    if (out.arrays.count(target->name))
      throw WeightError(describe(file.label() + ": " + std::string(t.name),
                                 "stands for " + target->name + ", as another tensor does"));
    add_tensor(out, file, t, *target);
  }
  return out;
}

}  // namespace mlxcpp::nn
