// Models of the golden files.
#pragma once

#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/model.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <mlx/transforms.h>

#include <memory>
#include <string>

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

}  // namespace mlxcpp::test
