// What every model's config.json has in common, and how generation is to be done by default.
#pragma once

#include "mlxcpp/text/vocab.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::lm {

using text::TokenId;

/// The typed part of config.json.  Only model_type is required: raw checkpoints lack the rest, and
/// each model validates what it reads itself.
struct BaseConfig {
  std::string model_type;
  std::optional<int> hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads,
      head_dim, vocab_size, max_position_embeddings, sliding_window;
  std::optional<bool> tie_word_embeddings;
  /// generation_config.json's where that says something, else config.json's, else nothing.
  std::optional<std::vector<TokenId>> eos_token_ids;
};

/// What generation_config.json says.  Absent: nothing is said.
struct GenerationDefaults {
  std::optional<float> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  /// mlx-lm's rule: 0, an empty list and null say nothing, a list with a 0 in it does.
  std::optional<std::vector<TokenId>> eos_token_ids;
};

/// A model directory's configs, and the very text that `config` was read from.
struct ConfigFile {
  BaseConfig config;
  std::string json;
  GenerationDefaults generation_defaults;
};

/// Throws ConfigError naming the key, what was expected and found.  A nested `text_config` is not
/// looked into: models that have one read it.
BaseConfig parse_config(const std::string& json);

/// Never throws Error: what is broken is logged and passed over, the eos ids and the sampling
/// advice each as a whole.  `do_sample: false` means temperature 0.
GenerationDefaults parse_generation_config(const std::string& json);

/// Reads config.json once, then generation_config.json once if it can be read.  Throws IoError when
/// there is no config.json.
ConfigFile load_config(const std::string& directory);

}  // namespace mlxcpp::lm
