// Turns the tensors of a GGUF file into the form of an MLX checkpoint.
#pragma once

#include "mlxcpp/nn/file_tensors.h"
#include "mlxcpp/nn/weights.h"

#include <cstdint>
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

  /// Makes numbers of a tensor's blocks, for changes that blocks do not allow.
  void unpack(const std::string& tensor);
};

/// F32, F16 and BF16 stay as they are, MXFP4 becomes mxfp4.  With our own kernels, the blocks of
/// Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, IQ4_NL and IQ4_XS stay as they are, too; without,
/// Q4_0, Q4_1 and Q8_0 become affine with groups of 32 and float32 scales, without loss, the others
/// dense, in float32 on the CPU and float16 elsewhere.  What stays are arrays of `tensors`; null:
/// copies.  Throws WeightError naming the tensor and its type for any other.
GgufWeights load_gguf(const io::Gguf& file, const GgufNames& names, FileTensors* tensors = nullptr);

/// The bytes that its tensors take then.
std::uint64_t loaded_bytes(const io::Gguf& file);

}  // namespace mlxcpp::nn
