// Models of the golden files.
#pragma once

#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/model.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <mlx/transforms.h>

#include <memory>
#include <string>
#include <vector>

namespace mlxcpp::test {

/// The model of tests/data/lm/<row>.safetensors.
inline std::shared_ptr<const lm::LanguageModel> small_model(const std::string& row) {
  TempDir dir;
  write_model(dir.path(), MLXCPP_TEST_DATA "/lm/" + row + ".safetensors");
  lm::ModelTypeRegistry registry;
  lm::add_models(registry);
  auto model = lm::load_model(lm::ModelConfiguration::from_directory(dir.path()), registry);
  for (auto& [path, p] : model->manifest().params) mx::eval(*p);  // before the folder goes
  return model;
}

/// The plain golden of every model type, and some whose layers forget or choose keys.
inline std::vector<std::string> architectures() {
  std::vector<std::string> all;
  for (auto& file : golden_files())
    if (auto name = file.stem().string();
        name.ends_with("_wide_heads") ||
        (name.ends_with("_plain") && !name.ends_with("gguf_plain")))
      all.push_back(name);
  for (auto name :
       {"llama_sliding", "qwen2_sliding", "gemma3_text_defaults", "gemma4_text_defaults"})
    all.emplace_back(name);
  return all;
}

}  // namespace mlxcpp::test
