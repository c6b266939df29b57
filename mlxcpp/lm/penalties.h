// What changes a row's logits by what was said before: bias, penalties, DRY, and the end tokens
// that come too early.
// Source: mlx-lm sample_utils.py, make_logits_processors (0.32.2); llama.cpp's sampler for DRY.
// Differs: ids of the history that are beyond the vocabulary are passed over.
#pragma once

#include "mlxcpp/lm/options.h"
#include "mlxcpp/ops/choose.h"

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

namespace mlxcpp::lm {

/// Penalties of one row.  A value: a copy is a fork.
///
/// What they see: the whole prompt and answer, or the last `penalty_context` tokens of both; of
/// these each penalty sees the last *_context_size (dry_penalty_last_n for DRY).
/// What they do, in this order: bias, repetition, presence, frequency, DRY, end tokens.
class Penalties {
 public:
  /// Throws as PenaltyOptions::validate.
  Penalties(const PenaltyOptions& options, int vocab_size);

  /// Whether edits() is always empty.
  bool none() const;
  /// Whether they depend on the tokens, not only on their number.
  bool needs_tokens() const;
  /// The whole prompt, also what is not computed again.
  void begin(std::span<const TokenId> prompt);
  void push(TokenId token);
  /// For the token after `drawn` tokens of the answer: each id once.
  std::vector<ops::Edit> edits(std::uint64_t drawn) const;

 private:
  /// How often a token stands in each penalty's window.
  struct Seen {
    int repetition = 0, presence = 0, frequency = 0;
    bool none() const { return !repetition && !presence && !frequency; }
  };
  struct Setup;
  template <class F>
  void count(int context, F member);
  void add_dry(std::vector<ops::Edit>& out) const;

  std::shared_ptr<const Setup> setup_;
  std::vector<TokenId> history_;  // kept where needs_tokens()
  std::unordered_map<TokenId, Seen> seen_;
};

/// DRY's penalty for each token that would continue a match: llama.cpp's rule.
/// `breakers`: from a breaker's first token to the others.
using Breakers = std::unordered_multimap<TokenId, std::vector<TokenId>>;
std::unordered_map<TokenId, float> dry_penalties(std::span<const TokenId> tokens,
                                                 const PenaltyOptions& options,
                                                 const Breakers& breakers);

}  // namespace mlxcpp::lm
