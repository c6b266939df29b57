// Guessing what comes next, cheaply, so that one pass of the model can check several tokens.
#pragma once

#include "mlxcpp/lm/caches.h"
#include "mlxcpp/lm/options.h"

#include <optional>
#include <span>
#include <vector>

namespace mlxcpp::lm {

/// Tokens that may follow, best guess first in time.
struct Proposal {
  std::vector<TokenId> ids;
  /// Of each id: the V probabilities that it was drawn by.  Empty: nothing was drawn, each is sure.
  std::vector<std::vector<float>> probs;
};

/// The guesses of one row.  It is told only what the row has consumed, each token once and in
/// order: a guess that was refused never happened.  Belongs to the model's thread.
class Drafter {
 public:
  virtual ~Drafter() = default;

  /// Further tokens that the row has consumed.  `hidden`: (1, n, D), the model's states of them;
  /// absent where they were not computed now (found in a cache).
  virtual void consumed(std::span<const TokenId> ids, const std::optional<array>& hidden) = 0;
  /// False: consumed() is given no states, and of most tokens they are not computed.
  virtual bool wants_states() const { return true; }
  /// What sort of guess propose() would make of what follows `next`, a token that was chosen but
  /// is not consumed yet.  Guesses of a sort are right alike often.  Nothing: it has none.
  virtual std::optional<int> sort_of(TokenId next) = 0;
  /// At most n tokens, perhaps fewer, perhaps none.
  virtual Proposal propose(TokenId next, int n) = 0;
  /// Kept from one call to the next; 0 where that is next to nothing.
  virtual std::uint64_t nbytes() const { return 0; }
  /// An upper estimate of that after so many tokens, guessed ones included, in bytes.
  virtual std::uint64_t most_bytes(int /*tokens*/) const { return 0; }

  static constexpr int kSorts = 4;  // sort_of is below it
};

/// How a draft that has logits draws: as the row does, without what looks at its history.
struct DraftSampling {
  SampleOptions sample;
  std::uint64_t seed = 0;
};

}  // namespace mlxcpp::lm
