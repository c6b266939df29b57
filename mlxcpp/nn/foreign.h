// Checkpoints that other programs packed (AutoAWQ, GPTQ, compressed-tensors, block fp8), in MLX's
// form.
// Source: AutoAWQ 0.2.9, AutoGPTQ 0.7.1, GPTQModel 7.7.0, compressed-tensors 0.20.0, transformers
// 5.24.0 (Fp8Dequantize).  Differs from mlx-lm, which reads AWQ alone: docs/deviations.md.
#pragma once

#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/nn/weights.h"

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::nn {

/// What config.json's `quantization_config` says, where it is another program's.
struct Foreign {
  enum class Method { awq, gptq, packed_int, nvfp4, fp8 };
  /// One way in which integers were packed; a checkpoint may have several.
  struct Scheme {
    int bits = 4;
    int group_size = 0;  // 0: a row is one group
    bool zeros = false;  // zero points of their own
  };

  Method method;
  std::vector<Scheme> schemes;            // of awq, gptq (one) and packed_int
  bool zeros_less_one = false;            // gptq: what stands there is the zero point - 1
  std::array<int, 2> block = {128, 128};  // fp8: rows and columns that share a scale ...
  bool may_be_whole = false;              // ... or one scale for all: the config names no block

  /// Nothing for a dense or MLX checkpoint.  `text_config` is looked into, too.  Throws
  /// UnsupportedError for a method, format or option that we do not have, ConfigError for values
  /// that make no sense.
  static std::optional<Foreign> read(const io::Fields& config);
};

struct ForeignWeights {
  std::map<std::string, array> arrays;
  Quantization quantization;
};

/// Integers become MLX's affine form with the same codes, scale and -scale * zero point in the
/// dtype of activations; groups that MLX does not have become several that it has.  nvfp4 keeps its
/// bytes.  fp8 becomes bfloat16.  All lazy: a tensor's source is freed when its conversion is
/// evaluated.  Throws WeightError naming the tensor where shapes, dtypes or values do not fit,
/// UnsupportedError for groups in the order of activations and sizes that MLX cannot have.
ForeignWeights load_foreign(const io::WeightFiles& files, const Foreign& foreign);

/// What the tensors take once they are converted.
std::uint64_t converted_bytes(const io::WeightFiles& files, const Foreign& foreign);

}  // namespace mlxcpp::nn
