// A model's folder as mlx-lm writes it: weights, config.json, and what else stands beside them.
// Source: mlx-lm utils.py save, save_config (0.32.2).  Differs: files of the tokenizer and others
// are copied as they are; vision_config stays, since no tensor is dropped.
#pragma once

#include "mlxcpp/nn/save.h"

#include <filesystem>
#include <map>
#include <string>

namespace mlxcpp::lm {

/// What a folder is made of.
struct CheckpointParts {
  std::map<std::string, array> weights;
  std::uint64_t parameters = 0;  // numbers, not codes
  std::string config_json;
  std::filesystem::path source;  // a folder: its other files are copied
};

/// config.json's text: without _name_or_path, with `quantization` also as `quantization_config`,
/// keys sorted.  Throws ConfigError when it is no object.
std::string config_to_save(const std::string& config_json);

/// Writes a folder that appears as a whole.  Throws IoError, for one when `target` is there already
/// and holds something.
void save_checkpoint(const std::filesystem::path& target,
                     CheckpointParts parts,
                     const nn::SaveOptions& options = {});

}  // namespace mlxcpp::lm
