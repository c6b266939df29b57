// Which files hold a model's weights.
// Source: mlxrs 0.1.0 lm/load.rs (discovery order, index rules), mlx-lm utils.py (the glob).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::io {

/// model.safetensors.index.json.
struct WeightIndex {
  std::map<std::string, std::string> shard_of;  // tensor -> file name
  std::vector<std::string> shards;              // each once, sorted

  bool places(const std::string& tensor, const std::filesystem::path& file) const {
    auto it = shard_of.find(tensor);
    return it != shard_of.end() && it->second == file.filename();
  }
};

/// Throws IoError when the index can not be read, ConfigError when it is not of its form (a tensor
/// twice, a value that is no string), WeightError when a shard's name is not a bare file name or
/// the file is missing.
WeightIndex read_index(const std::filesystem::path& directory);

struct WeightFiles {
  enum class Kind { safetensors, gguf, npz };
  Kind kind;
  std::vector<std::filesystem::path> paths;
  /// When present, a tensor that it does not name is to be left out.
  std::optional<WeightIndex> index;
};

/// The first of these that there is: model.safetensors.index.json (even a dangling link counts, and
/// is then an error), model.safetensors, model*.safetensors sorted by name, weights.safetensors,
/// exactly one *.gguf, model.npz, weights.npz, exactly one *.npz.  A path to a .gguf file is
/// itself. Throws IoError when there is no such directory, WeightError when it holds none of them
/// (the message lists them) or several of which one is meant.
WeightFiles find_weight_files(const std::filesystem::path& directory);

}  // namespace mlxcpp::io
