// Adds an adapter to the weights of a checkpoint, and writes the result as a checkpoint.
// Source: mlx-lm fuse.py, tuner/{lora,dora}.py (0.32.2).  Differs: docs/deviations.md.
#pragma once

#include "mlxcpp/lm/factory.h"
#include "mlxcpp/nn/save.h"

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace mlxcpp::lm {

struct FuseOptions {
  bool dequantize = false;  // all packed weights become numbers; otherwise they are packed anew
  nn::SaveOptions save;
};

struct Fused {
  std::vector<std::string> tensors;  // that were changed, by their names in the checkpoint
  std::uint64_t bytes = 0, parameters = 0;
};

/// Reads the folder `model`, writes the folder `save_path`, which appears as a whole.  Tensors keep
/// their names, dtypes and, if packed, their format.  Throws what load() and Adapter::read() throw;
/// UnsupportedError for GGUF files, other programs' packings, and tensors that the model takes
/// apart in ways that can not be turned round; IoError when `save_path` holds something.
Fused fuse(const std::filesystem::path& model,
           const std::filesystem::path& adapter,
           const std::filesystem::path& save_path,
           const ModelTypeRegistry& registry,
           const FuseOptions& options = {});

}  // namespace mlxcpp::lm
