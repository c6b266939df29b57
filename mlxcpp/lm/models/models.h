// The model files of this room: one function each.  Their model types are in registry.cpp.
#pragma once

#include "mlxcpp/lm/model.h"

namespace mlxcpp::lm {

MakeModelFunction make_llama;
MakeModelFunction make_qwen2;
MakeModelFunction make_qwen3;

}  // namespace mlxcpp::lm
