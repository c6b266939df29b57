// Turns the tensors of a GGUF file into the form of an MLX checkpoint.
#pragma once

#include "mlxcpp/nn/weights.h"

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

namespace mlxcpp::io {
class Gguf;
}

namespace mlxcpp::nn {

/// The name that a GGUF tensor has in a Hugging Face checkpoint.
struct GgufTarget {
  std::string name;
  /// What makes the checkpoint's tensor of it, where it is not packed; null: it is the same.
  array (*change)(const array&) = nullptr;
  /// > 0: llama.cpp's converter has interleaved the two halves of each of this many heads (its rope
  /// turns neighbours); the rows are put back.
  int interleaved_heads = 0;
};
/// Nothing: the tensor is not needed.
using GgufNames = std::function<std::optional<GgufTarget>(std::string_view)>;

struct GgufWeights {
  std::map<std::string, array> arrays;
  Quantization quantization;
};

/// Q4_0, Q4_1 and Q8_0 become affine with groups of 32 and float32 scales, MXFP4 mxfp4, without
/// loss; F32, F16 and BF16 are copied.  Throws WeightError naming the tensor and its type for any
/// other.
GgufWeights load_gguf(const io::Gguf& file, const GgufNames& names);

}  // namespace mlxcpp::nn
