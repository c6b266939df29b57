// A sampled token.
#pragma once

#include "mlxcpp/text/vocab.h"

#include <optional>
#include <vector>

namespace mlxcpp::lm {

using text::TokenId;

struct TokenLogprob {
  TokenId id;
  float logprob;
};

/// A token with what its row asked for: its log-probability, and the most likely tokens.
struct Token {
  TokenId id;
  std::optional<float> logprob;
  std::vector<TokenLogprob> top;  // the most likely first
};

}  // namespace mlxcpp::lm
