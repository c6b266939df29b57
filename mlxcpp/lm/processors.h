// Changing logits by what was said before: bias and penalties.
// Source: mlx-lm sample_utils.py, make_logits_processors (0.32.2).  Differs: ids of the history
// that are beyond the vocabulary are passed over.
#pragma once

#include "mlxcpp/ops/mx.h"
#include "mlxcpp/text/vocab.h"

#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace mlxcpp::lm {

using text::TokenId;

struct PenaltyOptions {
  /// Repetition divides positive logits and multiplies negative ones, once an id; presence
  /// subtracts once an id; frequency subtracts for every occurrence.  0 or none: off (repetition 1,
  /// too).
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  /// How many of the last tokens count.  0: the whole history.
  int repetition_context_size = 20, presence_context_size = 20, frequency_context_size = 20;
  /// Added to the logits of these ids; the same id twice adds up.
  std::vector<std::pair<int, float>> logit_bias;

  /// Throws InputError that names the option: values that are not finite, a negative repetition
  /// penalty or context size, a bias for an id beyond the vocabulary.
  void validate(int vocab_size) const;
};

/// Sees the tokens so far (prompt and answer) and raw logits (1, V); returns logits of the same
/// shape and dtype.  A value without state: a copy is a fork.
using Processor = std::function<array(std::span<const TokenId> tokens, const array& logits)>;

/// In the order bias, repetition, presence, frequency; what is off is absent.  Throws as
/// `validate`, but learns the vocabulary's size only from the logits.
std::vector<Processor> make_processors(const PenaltyOptions& options);

}  // namespace mlxcpp::lm
