// What a model constructor is given.
#pragma once

#include "mlxcpp/lm/config.h"
#include "mlxcpp/nn/weights.h"

#include <map>
#include <string>

namespace mlxcpp::lm {

struct LoadedModel {
  BaseConfig config;
  /// Verbatim, the text that `config` was parsed from: a model's own keys are read from it.
  std::string config_json;
  /// Tensors by the names of the file, lazy.
  std::map<std::string, array> weights;
  nn::Quantization quantization;
  bool mtp = false;  // heads for further tokens are wanted
};

}  // namespace mlxcpp::lm
