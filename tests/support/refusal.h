// What loading says about a config or a checkpoint that is not right.
#pragma once

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/nn/checkpoint.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <functional>
#include <map>
#include <string>

namespace mlxcpp::test {

/// What loading a golden's model says after some keys of its config changed (paths, such as
/// "text_config.vocab_size"; null: absent), and with other tensors.
inline std::string refusal_with(const std::string& golden,
                                const std::map<std::string, nlohmann::json>& changes,
                                const std::function<void(std::map<std::string, array>&)>& edit) {
  auto file = golden_files(golden + ".safetensors").at(0);
  TempDir dir;
  write_model(dir.path(), file);
  auto config = nlohmann::json::parse(Golden::read(file).metadata.at("config"));
  for (auto& [key, value] : changes) {
    std::string path = "/" + key;
    std::ranges::replace(path, '.', '/');
    config[nlohmann::json::json_pointer(path)] = value;
  }
  auto text = config.dump();
  lm::LoadedModel loaded{.config = lm::parse_config(text),
                         .config_json = text,
                         .weights = nn::load_safetensors(io::find_weight_files(dir.path())),
                         .quantization = nn::Quantization::read(io::Fields::parse(text))};
  edit(loaded.weights);
  lm::ModelTypeRegistry registry;
  lm::add_models(registry);
  return message_of<Error>([&] { registry.create(loaded); });
}

/// Without one of its tensors.
inline std::string refusal(const std::string& golden,
                           const std::map<std::string, nlohmann::json>& changes,
                           const std::string& missing = "") {
  return refusal_with(golden, changes, [&](auto& tensors) {
    if (!missing.empty()) EXPECT_EQ(tensors.erase(missing), 1u) << missing;
  });
}

}  // namespace mlxcpp::test
