// What all copies of a Tokenizer share.
#pragma once

#include "mlxcpp/text/chat_template.h"
#include "mlxcpp/text/detail/bridge.h"
#include "mlxcpp/text/detail/tokenizer_config.h"
#include "mlxcpp/text/tokenizer.h"

#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::text::detail {

/// A template of a model.  A broken one must not keep the model from loading: its error is kept
/// until the template is used.
struct ModelTemplate {
  std::string name;
  std::string source;
  std::optional<ChatTemplate> compiled;
  std::string error;
};

struct TokenizerState {
  rust::Box<bridge::RsTokenizer> rs;
  std::optional<TokenId> bos, eos, unk, pad;
  std::string bos_token, eos_token;  // spellings; empty: none
  std::vector<ModelTemplate> templates;
  std::optional<ThinkingMarkers> thinking;
};

/// Joins a tokenizer with what the files around it say.
TokenizerState make_state(rust::Box<bridge::RsTokenizer> rs, const TokenizerConfig& config);

std::optional<TokenId> find_id(const bridge::RsTokenizer& rs, std::string_view token);

/// Null if there is no template of that name.
const ModelTemplate* find_template(const TokenizerState& state, std::string_view name);

}  // namespace mlxcpp::text::detail
