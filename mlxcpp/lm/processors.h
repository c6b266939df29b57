// Changing logits by what was said before: bias and penalties.
// Source: mlx-lm sample_utils.py, make_logits_processors (0.32.2).  Differs: ids of the history
// that are beyond the vocabulary are passed over.
#pragma once

#include "mlxcpp/lm/options.h"
#include "mlxcpp/ops/mx.h"

#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace mlxcpp::lm {

/// Sees the tokens so far (prompt and answer) and raw logits (1, V); returns logits of the same
/// shape and dtype.  A value without state: a copy is a fork.
using Processor = std::function<array(std::span<const TokenId> tokens, const array& logits)>;

/// In the order bias, repetition, presence, frequency; what is off is absent.  Throws as
/// `validate`, but learns the vocabulary's size only from the logits.
std::vector<Processor> make_processors(const PenaltyOptions& options);

}  // namespace mlxcpp::lm
