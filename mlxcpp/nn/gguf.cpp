#include "mlxcpp/nn/gguf.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/ops/borrowed.h"
#include "mlxcpp/ops/device.h"

#include <mlx/types/half_types.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

namespace mlxcpp::nn {
namespace {

using Bytes = std::span<const std::byte>;
constexpr int kBlock = 32;  // elements of a Q4_0, Q4_1 or Q8_0 block, and our group size
constexpr const char* kSupported =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS or "
    "MXFP4";

size_t bytes_of_row(int columns, ops::BlockLayout block) {
  return size_t(columns) / size_t(block.numbers) * size_t(block.bytes);
}

/// A fresh array and the memory to fill it through.
template <class T>
std::pair<array, T*> blank(const mx::Shape& shape, mx::Dtype dtype) {
  auto [a, data] = ops::blank(shape, dtype);
  return {std::move(a), reinterpret_cast<T*>(data)};
}

float half_at(const std::byte* p) {
  mx::float16_t h;
  std::memcpy(&h, p, sizeof h);
  return float(h);
}

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
/// The blocks that our kernels read.
std::optional<ops::Format> block_format(io::GgmlType type) {
  using io::GgmlType;
  using ops::Format;
  switch (type) {
    case GgmlType::q4_0: return Format::q4_0;
    case GgmlType::q4_1: return Format::q4_1;
    case GgmlType::q5_0: return Format::q5_0;
    case GgmlType::q5_1: return Format::q5_1;
    case GgmlType::q8_0: return Format::q8_0;
    case GgmlType::q2_k: return Format::q2_k;
    case GgmlType::q3_k: return Format::q3_k;
    case GgmlType::q4_k: return Format::q4_k;
    case GgmlType::q5_k: return Format::q5_k;
    case GgmlType::q6_k: return Format::q6_k;
    case GgmlType::iq4_nl: return Format::iq4_nl;
    case GgmlType::iq4_xs: return Format::iq4_xs;
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

/// Numbers in the dtype that is computed in: what MLX's kernels have no format for.
array unpacked(Bytes bytes, const mx::Shape& shape, ops::Format format, RowOrder order) {
  bool half = !ops::on_cpu();
  auto [out, data] = ops::blank(shape, half ? mx::float16 : mx::float32);
  int columns = shape.back();
  size_t row_bytes = bytes_of_row(columns, *ops::block_layout(format));
  size_t rows = row_bytes ? bytes.size() / row_bytes : 0;
  std::vector<float> row(half ? size_t(columns) : 0);
  for (size_t r = 0; r < rows; ++r) {
    auto* numbers = reinterpret_cast<float*>(data) + r * size_t(columns);
    if (half) numbers = row.data();
    ops::unpack_blocks(format, bytes.data() + order(r) * row_bytes, 1, columns, numbers);
    auto* halves = reinterpret_cast<mx::float16_t*>(data) + r * size_t(columns);
    if (half) std::copy_n(numbers, columns, halves);
  }
  return out;
}

/// Puts the tensors of one file where a model finds them.
class Loader {
 public:
  Loader(const io::Gguf& file, FileTensors* tensors) : file_(file), tensors_(tensors) {}

  void add(const io::GgufTensor& t, const GgufTarget& target) {
    mx::Shape shape = mlx_shape(file_, t);
    RowOrder order = row_order(file_, t, target);
    if (auto dtype = plain_dtype(t.type)) {
      array stored = place({t.bytes, shape, *dtype}, order);
      out.arrays.emplace(target.name, target.change ? target.change(stored) : stored);
      return;
    }
    auto format = block_format(t.type);
    bool known = format || t.type == io::GgmlType::mxfp4;
    if (!target.name.ends_with(".weight") || shape.empty() || !known)
      fail(t, "tensor type not supported", kSupported);
    if (target.change) fail(t, "packed, where a checkpoint has other numbers", "F32, F16 or BF16");
    std::string path = target.name.substr(0, target.name.size() - 7);
    if (!format)
      add_mxfp4(out, path, t.bytes, shape, order);
    else if (ops::own_kernels())
      return add_blocks(t, path, *format, std::move(shape), order);
    else if (auto kind = block_kind(t.type))
      add_packed(out, path, t.bytes, shape, *kind, order);
    else
      out.arrays.emplace(target.name, unpacked(t.bytes, shape, *format, order));
    if (file_.file()) file_.file()->forget(t.bytes);
  }

  GgufWeights out;

 private:
  [[noreturn]] void fail(const io::GgufTensor& t, const char* what, const char* expected) const {
    throw WeightError(describe(file_.label() + ": " + std::string(t.name),
                               what,
                               expected,
                               std::string(io::name_of(t.type))));
  }

  array place(const StoredTensor& t, RowOrder order) const {
    FileTensors copies(Residency::mapped);
    return tensors_ ? tensors_->place(file_.file(), t, order) : copies.place(nullptr, t, order);
  }

  void add_blocks(const io::GgufTensor& t,
                  const std::string& path,
                  ops::Format format,
                  mx::Shape shape,
                  RowOrder order) {
    size_t row = bytes_of_row(shape.back(), *ops::block_layout(format));
    if (row > INT32_MAX)
      throw WeightError(describe(file_.label() + ": " + std::string(t.name),
                                 "row too large",
                                 "at most 2147483647 bytes",
                                 std::to_string(row)));
    shape.back() = int(row);
    out.arrays.emplace(path + ".weight", place({t.bytes, shape, mx::uint8}, order));
    out.quantization.exceptions[path] = ops::quant_of_blocks(format);
  }

  const io::Gguf& file_;
  FileTensors* tensors_;
};

std::uint64_t elements(const io::GgufTensor& t) {
  auto* type = io::find_ggml_type(std::uint32_t(t.type));
  return t.bytes.size() / type->block_bytes * type->block_size;
}

}  // namespace

void GgufWeights::unpack(const std::string& tensor) {
  auto format = quantization.blocks_of(tensor);
  auto it = arrays.find(tensor);
  if (!format || it == arrays.end()) return;
  ops::WeightData w;
  w.quant = ops::quant_of_blocks(*format);
  w.value = std::make_shared<array>(it->second);
  it->second = ops::dequantised(w);
  quantization.exceptions.erase(tensor.substr(0, tensor.rfind('.')));
}

GgufWeights load_gguf(const io::Gguf& file, const GgufNames& names, FileTensors* tensors) {
  Loader loader(file, tensors);
  for (const auto& t : file.tensors()) {
    auto target = names(t.name);
    if (!target) continue;
    if (loader.out.arrays.count(target->name))
      throw WeightError(describe(file.label() + ": " + std::string(t.name),
                                 "stands for " + target->name + ", as another tensor does"));
    loader.add(t, *target);
  }
  return std::move(loader.out);
}

std::uint64_t loaded_bytes(const io::Gguf& file) {
  std::uint64_t total = 0;
  for (const auto& t : file.tensors()) {
    auto kind = block_kind(t.type);
    if (ops::own_kernels() || !block_format(t.type))
      total += t.bytes.size();
    else if (kind)
      total += elements(t) / kBlock * std::uint64_t(kBlock * kind->bits / 8 + 8);
    else
      total += elements(t) * (ops::on_cpu() ? 4 : 2);
  }
  return total;
}

}  // namespace mlxcpp::nn
