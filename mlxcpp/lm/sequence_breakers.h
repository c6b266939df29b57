// Which tokens make up a text that DRY's matches shall not cross, however it is cut into tokens.
// Source: llama.cpp's get_overlapping_token_sequences.  Differs: long texts are refused, not cut.
#pragma once

#include "mlxcpp/text/tokenizer.h"

#include <string>
#include <vector>

namespace mlxcpp::lm {

/// llama.cpp's: newline, colon, quotation mark, asterisk.
std::vector<std::string> default_sequence_breakers();

/// Throws InputError for a text that is empty or longer than 40 bytes.
void check_sequence_breakers(const std::vector<std::string>& texts);

/// For PenaltyOptions::dry_sequence_breakers: every token that holds one of the texts, and every
/// one that ends with the beginning of a text, followed by the tokens of its rest.  Looks at each
/// token of the vocabulary.  Throws as check_sequence_breakers().
std::vector<std::vector<text::TokenId>> sequence_breakers(const text::Tokenizer& tokenizer,
                                                          const std::vector<std::string>& texts);

}  // namespace mlxcpp::lm
