// Writes the weights of a checkpoint as mlx-lm does.
// Source: mlx-lm utils.py save_model, make_shards (0.32.2).  Differs: tensors are evaluated and
// written one by one, sorted by name.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>

namespace mlxcpp::nn {

struct SaveOptions {
  std::uint64_t shard_bytes = std::uint64_t{5} << 30;  // of tensors in a file, unless one is larger
  /// Told the bytes written and in all; an exception ends it.
  std::function<void(std::uint64_t, std::uint64_t)> progress;
};

/// model.safetensors, or model-00001-of-0000n.safetensors and so on, and
/// model.safetensors.index.json.  Each array is let go of when it is written.  `parameters` stands
/// in the index: numbers, not codes.  Throws IoError; WeightError for a dtype that the format has
/// not.
void save_weights(const std::filesystem::path& folder,
                  std::map<std::string, array> arrays,
                  std::uint64_t parameters,
                  const SaveOptions& options = {});

}  // namespace mlxcpp::nn
