// The tokenizer that the load factory hands out: text to ids and back, special tokens, chat
// template, thinking markers.
// Source: mlxrs tokenizer wrapper and mlx-lm tokenizer_utils.TokenizerWrapper.  Differs: reads
// chat_template.jinja, lists of named templates, tokenizer.model and vocabularies from GGUF.
//
// Text is UTF-8 (ill-formed bytes are read as U+FFFD), offsets are bytes.  Special tokens that the
// text spells out become their ids, as in Hugging Face.  Failures throw TokenizerError unless a
// member says otherwise.
#pragma once

#include "mlxcpp/text/chat_template.h"
#include "mlxcpp/text/decode_stream.h"
#include "mlxcpp/text/vocab.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::text {

namespace detail {
struct TokenizerState;
}

/// Ids with what each came from.
struct Encoding {
  struct Offset {
    std::uint32_t begin, end;  // bytes of the text, [begin, end)
    bool operator==(const Offset&) const = default;
  };
  std::vector<TokenId> ids;
  std::vector<Offset> offsets;
  std::vector<bool> special;  // added by the tokenizer, not spelled by the text
};

/// The markers between which a reasoning model thinks, as text and as ids.
struct ThinkingMarkers {
  std::string start, end;
  std::vector<TokenId> start_ids, end_ids;
};

/// A value: a copy shares the immutable state.  Const members may run in several threads at once.
class Tokenizer {
 public:
  /// The ids that end an answer.  Absent: config's eos_token decides.  Empty: nothing ends it.
  using EosIds = std::optional<std::vector<TokenId>>;

  /// Reads tokenizer.json, else tokenizer.model, and the optional files beside it
  /// (tokenizer_config.json, special_tokens_map.json, added_tokens.json, chat_template.*).
  /// Throws IoError for unreadable files; errors name the file.
  static Tokenizer from_directory(const std::string& directory, EosIds eos = {});

  /// From the texts of tokenizer.json and tokenizer_config.json (may be empty).
  static Tokenizer from_json(std::string_view tokenizer_json,
                             std::string_view config_json = {},
                             EosIds eos = {});

  /// From the bytes of a sentencepiece tokenizer.model and tokenizer_config.json (may be empty).
  static Tokenizer from_sentencepiece(std::string_view model,
                                      std::string_view config_json = {},
                                      EosIds eos = {});

  /// From a vocabulary, as GGUF files hold it.  An empty template means none.
  static Tokenizer from_spec(const VocabSpec& spec,
                             std::string_view chat_template = {},
                             EosIds eos = {});

  std::vector<TokenId> encode(std::string_view text, bool add_special_tokens = true) const;
  Encoding encode_full(std::string_view text, bool add_special_tokens = true) const;

  /// Encodes a prompt that may have been rendered by a template: special tokens are added unless
  /// the text already starts with the begin-of-sequence token.
  std::vector<TokenId> encode_prompt(std::string_view text) const;

  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens = false) const;
  DecodeStream decode_stream(bool skip_special_tokens = false) const;

  /// Number of tokens, added ones included.
  std::size_t vocab_size() const;
  std::optional<TokenId> id(std::string_view token) const;
  std::optional<std::string> token(TokenId id) const;
  bool is_special(TokenId id) const;

  std::optional<TokenId> bos() const;
  std::optional<TokenId> unk() const;
  std::optional<TokenId> pad() const;
  /// The id that stands for the end: the first of an explicit list, else config's.
  std::optional<TokenId> eos() const;
  /// All ids that end an answer, sorted.
  const std::vector<TokenId>& eos_ids() const { return eos_ids_; }
  bool is_eos(TokenId id) const;
  /// Adds a token (its spelling, or its id in digits) to eos_ids(); unknown ones throw.
  void add_eos_token(std::string_view token);

  bool has_chat_template() const;
  /// The default template's source; empty if there is none.
  const std::string& chat_template() const;

  /// Renders `messages_json` (an array; see messages.h).  A template's own complaint, or messages
  /// and options that do not fit each other, throw InputError.
  std::string apply_chat_template(std::string_view messages_json,
                                  const ChatOptions& options = {}) const;
  std::vector<TokenId> apply_chat_template_ids(std::string_view messages_json,
                                               const ChatOptions& options = {}) const;

  /// Present if the vocabulary holds a known pair of thinking markers.
  const std::optional<ThinkingMarkers>& thinking() const;
  bool has_thinking() const { return thinking().has_value(); }

 private:
  Tokenizer(detail::TokenizerState&& state, EosIds eos);

  std::shared_ptr<const detail::TokenizerState> state_;
  std::vector<TokenId> eos_ids_;  // sorted
  std::optional<TokenId> eos_;
};

}  // namespace mlxcpp::text
