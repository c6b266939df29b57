// The model files of this room: one function each.  Their model types are in registry.cpp.
#pragma once

#include "mlxcpp/lm/model.h"

#include <string_view>

namespace mlxcpp::lm {

/// Of a canonical model_type; null when this room has none.
MakeModel find_model(std::string_view model_type);

MakeModelFunction make_deepseek_v32;
MakeModelFunction make_deepseek_v3;
MakeModelFunction make_falcon_h1;
MakeModelFunction make_gemma3;
MakeModelFunction make_gemma3_text;
MakeModelFunction make_gemma3n;
MakeModelFunction make_gemma4;
MakeModelFunction make_gemma4_text;
MakeModelFunction make_glm_moe_dsa;
MakeModelFunction make_gpt_oss;
MakeModelFunction make_lfm2;
MakeModelFunction make_llama;
MakeModelFunction make_llama4;
MakeModelFunction make_mamba2;
MakeModelFunction make_nemotron_h;
MakeModelFunction make_phi3;
MakeModelFunction make_qwen2;
MakeModelFunction make_qwen3;
MakeModelFunction make_qwen3_5;
MakeModelFunction make_qwen3_5_moe;
MakeModelFunction make_qwen3_moe;
MakeModelFunction make_qwen3_next;

}  // namespace mlxcpp::lm
