// The model files of this room: one function each, listed in registry.cpp.
#pragma once

#include "mlxcpp/lm/model.h"

#include <memory>

namespace mlxcpp::lm {

std::unique_ptr<LanguageModel> make_llama(io::Fields config, nn::WeightMap& weights);

}  // namespace mlxcpp::lm
