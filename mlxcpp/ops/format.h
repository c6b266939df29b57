// How weights are stored: MLX's formats, and the blocks of GGUF files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace mlxcpp::ops {

enum class Format : std::uint8_t {
  dense,
  // MLX: codes, scales and zeros in arrays of their own.
  affine,
  mxfp4,
  mxfp8,
  nvfp4,
  // GGUF: a row is blocks, scales within.  Only our own kernels compute with them.
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
};

/// Of a format of blocks: so many numbers take so many bytes.
struct BlockLayout {
  int numbers;
  int bytes;
};
/// Nothing for formats that are not GGUF's.
std::optional<BlockLayout> block_layout(Format format);
inline bool gguf_blocks(Format format) { return format >= Format::q4_0; }

struct Quant {
  Format format = Format::affine;
  int bits = 4;  // of blocks: of a code, as the format is named
  int group_size = 64;
  bool operator==(const Quant&) const = default;
};
/// The parameters that a format of blocks has.
Quant quant_of_blocks(Format format);

/// Numbers of `count` rows that follow each other, each of `columns`: whole blocks.
void unpack_blocks(Format format, const std::byte* rows, int count, int columns, float* out);

/// The name of a format: MLX's ("affine", ...), or GGUF's in lower case ("q4_k").
std::string mode_of(Format format);
/// The quantised format that has this name in MLX; nothing if there is none.
std::optional<Format> format_of(const std::string& mode);

}  // namespace mlxcpp::ops
