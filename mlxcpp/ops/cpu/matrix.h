// Weights as kernels see them.  Units with special compiler flags include this: no functions here.
#pragma once

namespace mlxcpp::cpu {

/// How a row stores its numbers.  Codes of a group stand for code * scale + zero.
enum class Coding : unsigned char {
  f32,
  f16,
  bf16,
  // MLX: codes, scales and zeros in arrays of their own.
  affine2,
  affine3,
  affine4,
  affine5,
  affine6,
  affine8,
  mxfp4,  // groups of 32, scale 2^(e - 127)
  mxfp8,  // e4m3 codes, groups of 32, scale 2^(e - 127)
  nvfp4,  // groups of 16, scales e4m3
  // GGUF: a row is blocks, scales within (ggml-common.h).
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
inline constexpr int kCodings = 24;

enum class Number : unsigned char { f32, f16, bf16 };

/// A matrix of rows x columns (outputs x inputs), as a file has it.  Rows may lie apart.
struct Matrix {
  const void* data = nullptr;
  const void* scales = nullptr;  // MLX's formats only: columns / group of them in a row
  const void* zeros = nullptr;   // affine only
  long row_bytes = 0, scale_row_bytes = 0;
  int rows = 0, columns = 0;
  int group = 0;  // numbers that share a scale
  Coding coding = Coding::f32;
  Number scale_type = Number::f32;  // of scales and zeros, affine only
  float factor = 1;                 // on every number: nvfp4's global scale
};

}  // namespace mlxcpp::cpu
