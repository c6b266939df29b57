// One forward pass over some rows of a batch: tokens in, the next tokens out.
#pragma once

#include "mlxcpp/lm/detail/guessing.h"
#include "mlxcpp/lm/sample.h"
#include "mlxcpp/lm/step.h"

#include <optional>
#include <span>
#include <vector>

namespace mlxcpp::lm::detail {

/// What a pass adds to one row.
struct Feed {
  CachedPrompt* cache;              // one row, with the same options as the others'
  std::span<const TokenId> tokens;  // at least one
  SampleRow* sampling;              // of the token that follows; null: it is not asked for
  std::optional<int> adapter = {};  // absent: the one that the model has chosen
  Guessing* guessing = nullptr;     // is told of the tokens, or checks the guess among them
};

/// Adds the tokens to the caches and evaluates all.  For each feed the tokens that follow: none,
/// one, or, where it guessed, one or more.  The rows have then been told.  When it throws,
/// the caches of these rows can no longer be trusted.
std::vector<std::vector<Token>> feed(const LanguageModel& model, std::span<const Feed> feeds);

}  // namespace mlxcpp::lm::detail
