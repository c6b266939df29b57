// tokenizer_config.json and the older files beside it, as far as a tokenizer needs them.
#pragma once

#include "mlxcpp/text/vocab.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::text::detail {

struct NamedTemplate {
  std::string name;  // "default", "tool_use", ...
  std::string source;
};

struct AddedToken {
  TokenId id;
  std::string content;
  bool special;
};

struct TokenizerConfig {
  std::optional<std::string> bos, eos, unk, pad;  // spellings
  std::optional<bool> add_bos, add_eos;
  std::string tokenizer_class;
  std::vector<AddedToken> added_tokens;
  std::vector<NamedTemplate> templates;
};

/// Reads tokenizer_config.json; empty text gives an empty config.  `where` names it in errors.
TokenizerConfig parse_tokenizer_config(std::string_view text, std::string_view where);

/// Fills special tokens that `config` lacks from special_tokens_map.json.
void add_special_tokens_map(std::string_view text, std::string_view where, TokenizerConfig& config);

/// Adds tokens that `config` lacks from added_tokens.json (spelling to id).
void add_added_tokens(std::string_view text, std::string_view where, TokenizerConfig& config);

/// The templates of chat_template.json: {"chat_template": ...}.
std::vector<NamedTemplate> parse_chat_template_json(std::string_view text, std::string_view where);

}  // namespace mlxcpp::text::detail
