#include "mlxcpp/ops/format.h"

#include "mlxcpp/ops/cpu/linear.h"

#include <array>
#include <numeric>
#include <vector>

namespace mlxcpp::ops {
namespace {

// Source: ggml ggml-common.h, the block structs.  A group is what one scale belongs to.
struct BlockFormat {
  Format format;
  const char* name;
  BlockLayout layout;
  int bits, group;
};
constexpr std::array kBlockFormats = {
    BlockFormat{Format::q4_0, "q4_0", {32, 18}, 4, 32},
    BlockFormat{Format::q4_1, "q4_1", {32, 20}, 4, 32},
    BlockFormat{Format::q5_0, "q5_0", {32, 22}, 5, 32},
    BlockFormat{Format::q5_1, "q5_1", {32, 24}, 5, 32},
    BlockFormat{Format::q8_0, "q8_0", {32, 34}, 8, 32},
    BlockFormat{Format::q2_k, "q2_k", {256, 84}, 2, 16},
    BlockFormat{Format::q3_k, "q3_k", {256, 110}, 3, 16},
    BlockFormat{Format::q4_k, "q4_k", {256, 144}, 4, 32},
    BlockFormat{Format::q5_k, "q5_k", {256, 176}, 5, 32},
    BlockFormat{Format::q6_k, "q6_k", {256, 210}, 6, 16},
    BlockFormat{Format::iq4_nl, "iq4_nl", {32, 18}, 4, 32},
    BlockFormat{Format::iq4_xs, "iq4_xs", {256, 136}, 4, 32},
};

/// Both lists have the formats of blocks in one order.
cpu::Coding coding_of(Format format) {
  using cpu::Coding;
  constexpr int kApart = int(Coding::q4_0) - int(Format::q4_0);
  static_assert(int(Coding::iq4_xs) - int(Format::iq4_xs) == kApart);
  static_assert(int(Coding::q4_k) - int(Format::q4_k) == kApart);
  return Coding(int(format) + kApart);
}

const BlockFormat* find(Format format) {
  for (const auto& b : kBlockFormats)
    if (b.format == format) return &b;
  return nullptr;
}

}  // namespace

std::optional<BlockLayout> block_layout(Format format) {
  if (auto* b = find(format)) return b->layout;
  return {};
}

Quant quant_of_blocks(Format format) {
  auto* b = find(format);
  return {format, b ? b->bits : 0, b ? b->group : 0};
}

void unpack_blocks(Format format, const std::byte* rows, int count, int columns, float* out) {
  auto layout = block_layout(format).value();
  cpu::Matrix m{.data = rows,
                .row_bytes = long(columns) / layout.numbers * layout.bytes,
                .rows = count,
                .columns = columns,
                .group = quant_of_blocks(format).group_size,
                .coding = coding_of(format)};
  std::vector<int> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  cpu::rows_of(m, all.data(), count, out);
}

std::string mode_of(Format format) {
  switch (format) {
    case Format::dense: return "dense";
    case Format::affine: return "affine";
    case Format::mxfp4: return "mxfp4";
    case Format::mxfp8: return "mxfp8";
    case Format::nvfp4: return "nvfp4";
    default: break;
  }
  auto* b = find(format);
  return b ? b->name : "";
}

std::optional<Format> format_of(const std::string& mode) {
  for (auto f : {Format::affine, Format::mxfp4, Format::mxfp8, Format::nvfp4})
    if (mode_of(f) == mode) return f;
  return {};
}

}  // namespace mlxcpp::ops
