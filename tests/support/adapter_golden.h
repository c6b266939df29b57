// Goldens of tests/data/adapters: adapters as folders, and what mlx-lm and PEFT's formula give with
// them.
#pragma once

#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/model.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <mlx/io.h>

#include <memory>
#include <string>
#include <unordered_map>

namespace mlxcpp::test {

/// One of each kind of adapter, module and packing.
inline constexpr const char* kAdapterGoldens[] = {"lora",
                                                  "lora_last_layer",
                                                  "lora_keys",
                                                  "lora_tied_table",
                                                  "lora_packed",
                                                  "lora_split",
                                                  "lora_experts",
                                                  "lora_packed_experts",
                                                  "lora_inside",
                                                  "dora",
                                                  "dora_tied_table",
                                                  "dora_packed",
                                                  "peft",
                                                  "peft_rslora",
                                                  "peft_dora",
                                                  "peft_dora_packed",
                                                  "peft_experts"};

struct AdapterGolden {
  explicit AdapterGolden(const std::string& name)
      : golden(Golden::read(MLXCPP_TEST_DATA "/adapters/" + name + ".safetensors")) {}

  std::filesystem::path row() const {
    return golden_files(golden.metadata.at("row") + ".safetensors").at(0);
  }
  std::unordered_map<std::string, array> tensors() const {
    std::unordered_map<std::string, array> all;
    for (auto& [key, value] : golden.tensors)
      if (key.starts_with("adapter.")) all.emplace(key.substr(8), value);
    return all;
  }
  /// Writes the adapter's folder.
  void write(const std::filesystem::path& folder) const {
    std::filesystem::create_directories(folder);
    write_parts(folder, golden.metadata.at("adapter_config"), tensors());
  }
  /// Likewise with another config or other tensors.
  void write_parts(const std::filesystem::path& folder,
                   const std::string& config,
                   const std::unordered_map<std::string, array>& parts) const {
    std::filesystem::create_directories(folder);
    std::ofstream(folder / "adapter_config.json") << config;
    mx::save_safetensors((folder / golden.metadata.at("file")).string(), parts);
  }

  Golden golden;
};

/// The model of a golden row, perhaps with an adapter.
inline std::shared_ptr<const lm::LanguageModel> load_row(const std::filesystem::path& row,
                                                         const std::string& adapter_path = {}) {
  TempDir dir;
  write_model(dir.path(), row);
  lm::ModelTypeRegistry registry;
  lm::add_models(registry);
  return lm::load_model(
      lm::ModelConfiguration::from_directory(dir.path()), registry, {.adapter_path = adapter_path});
}

}  // namespace mlxcpp::test
