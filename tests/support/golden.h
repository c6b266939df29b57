// Goldens of tests/data/lm: what the reference implementations gave, and the models that they gave
// it for.  Formats: tools/oracle/README.md.
#pragma once

#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/model.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace mlxcpp::test {

/// The name-seeded tensor that tools/oracle/common.py makes, in float32.
array seeded_tensor(const std::string& name, const mx::Shape& shape);

struct Golden {
  std::map<std::string, array> tensors;
  std::map<std::string, std::string> metadata;

  static Golden read(const std::filesystem::path& file);
  const array& at(const std::string& name) const { return tensors.at(name); }
  std::vector<int> ids(const std::string& name) const;
};

/// Whether a golden has a tensor or metadata of this name, by its header alone: every test program
/// asks it of every file.
bool golden_has(const std::filesystem::path& file, const std::string& name);

/// Paths in tests/data/lm of goldens whose file name begins so, sorted.
std::vector<std::filesystem::path> golden_files(const std::string& prefix = "");

/// Writes a model directory as a checkpoint has it: config.json, model.safetensors, tokenizer.json.
void write_model(const std::filesystem::path& directory, const std::filesystem::path& golden);

/// Largest |a - b| divided by the largest |b|.
float relative_difference(const array& a, const array& b);

/// (1, L) logits in float32 as (L, V), through the cache.
array forward(const lm::LanguageModel& model, lm::Caches& caches, const std::vector<int>& ids);

}  // namespace mlxcpp::test
