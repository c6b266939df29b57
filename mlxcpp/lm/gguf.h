// A GGUF file as a model: what its metadata says in the words of config.json, Hugging Face's names
// for its tensors, its tokenizer.
#pragma once

#include "mlxcpp/lm/config.h"
#include "mlxcpp/nn/gguf.h"
#include "mlxcpp/text/tokenizer.h"

#include <string>

namespace mlxcpp::lm {

/// config.json, made once from the metadata.  An architecture without a mapping gives its name as
/// model_type and nothing else.  Throws WeightError for metadata that is missing or malformed,
/// UnsupportedError for what the mapping does not cover.
std::string config_from_gguf(const io::Gguf& file);

/// Throws UnsupportedError when the file's architecture has no mapping; otherwise as nn::load_gguf.
nn::GgufWeights weights_from_gguf(const io::Gguf& file, nn::FileTensors* tensors = nullptr);

/// With the chat template; eos is what the file says (end of text and end of turn).
text::Tokenizer tokenizer_from_gguf(const io::Gguf& file);

}  // namespace mlxcpp::lm
