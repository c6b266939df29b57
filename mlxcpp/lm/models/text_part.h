// The decoder inside of a multimodal checkpoint.
#pragma once

#include "mlxcpp/nn/weights.h"

#include <initializer_list>
#include <string>

namespace mlxcpp::lm {

/// Drops what `towers` name, and gives the rest a decoder's own names: Hugging Face has the decoder
/// under "model.language_model" (before that under "language_model.model", as mlx-lm does).
inline void keep_text_part(nn::WeightMap& w, std::initializer_list<std::string> towers) {
  for (auto& tower : towers)
    for (std::string before : {"", "model."}) w.drop_prefix(before + tower + ".");
  w.rename_prefix("model.language_model.", "model.");
  w.rename_prefix("language_model.", "");
}

}  // namespace mlxcpp::lm
