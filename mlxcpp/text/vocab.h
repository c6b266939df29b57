// What a model file says about its vocabulary when it has no tokenizer.json: the input of
// Tokenizer::from_spec.  GGUF stores these values under `tokenizer.ggml.*`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::text {

using TokenId = std::uint32_t;

/// Kinds of vocabulary entries, with the numbers that GGUF and sentencepiece both use.
enum class PieceKind : std::int32_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6,
};

/// `tokens[i]` is the spelling of id i.  Per-token lists are empty or as long as `tokens`.
struct VocabSpec {
  std::string model;  // tokenizer.ggml.model: gpt2, gemma4, llama, t5 or bert
  std::string pre;    // tokenizer.ggml.pre: names the pre-tokenizer of gpt2 vocabularies
  std::vector<std::string> tokens;
  std::vector<float> scores;           // needed by llama and t5
  std::vector<std::int32_t> kinds;     // PieceKind; empty: all normal
  std::vector<std::string> merges;     // "left right"; needed by gpt2 and gemma4
  std::vector<std::uint8_t> charsmap;  // t5: sentencepiece's precompiled normalizer
  std::optional<TokenId> bos, eos, unk, sep, cls;
  std::optional<bool> add_bos, add_eos;  // absent: the model's own default
  std::optional<bool> add_space_prefix;  // absent: true
  bool remove_extra_whitespaces = false;
};

}  // namespace mlxcpp::text
