// One row's guesses on their way through a pass: what is fed, which are kept, what the cache holds
// afterwards.  Whoever runs the pass does propose -> pass -> accept -> settle.
#pragma once

#include "mlxcpp/lm/speculative.h"
#include "mlxcpp/lm/step.h"

#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace mlxcpp::lm::detail {

/// How the row chooses tokens.
struct Choosing {
  /// From logits (1, V): draws the row's next token, reads it, and remembers it.
  std::function<Token(const array& logits)> sample;
  /// What sample() would draw from at each of n places, where the guesses before it are kept:
  /// (n, V) -> (n, V) float32.
  std::function<array(const array& logits, std::span<const TokenId> guess)> probabilities;
  /// Remembers a token that was chosen without sample(); `logits` (1, V) are those at its place.
  std::function<Token(TokenId id, const array& logits)> take;
  bool best = false;  // sample() takes the largest logit, and take() looks at nothing
  /// What sample() draws from depends on the tokens that it drew before.
  bool own_draws = false;
};

class Guessing {
 public:
  Guessing(std::unique_ptr<Speculation> speculation, std::uint64_t seed)
      : speculation_(std::move(speculation)), uniform_(seed) {}

  /// Part of a prompt that the caches consumed.
  void consumed(std::span<const TokenId> ids, const std::optional<array>& hidden) {
    speculation_->consumed(ids, hidden);
  }
  /// The first token of the answer, chosen and not consumed.
  void begin(TokenId first) { fed_ = {first}; }

  /// What the next pass is to be fed: what is not in the cache yet, and a guess of at most room - 1
  /// tokens.  Good until settle().
  std::span<const TokenId> propose(const Caches& caches,
                                   int room,
                                   const PassTimes& times,
                                   const PassLoad& others = {});
  /// How many of the last tokens of that need logits.
  int asked() const { return int(guess_.ids.size()) + 1; }
  /// From these logits (asked, V): the guesses that are kept, and one more token.
  std::vector<Token> accept(const array& logits, const Choosing& choosing);
  /// Leaves in the cache what was kept; `hidden` (1, L, D) is of all that was fed.  A cache that
  /// can not forget single tokens is as before the pass, and the next one feeds again what was
  /// kept.
  void settle(CachedPrompt& cache, const array& hidden);

  /// Chosen tokens that the cache does not hold.
  int unfed() const { return int(fed_.size()); }
  const SpeculationStats& stats() const { return speculation_->stats(); }
  std::uint64_t nbytes() const { return speculation_->nbytes(); }

 private:
  std::vector<Token> accept_best(const array& logits, const Choosing& choosing);
  std::vector<Token> accept_drawn(const array& logits, const Choosing& choosing);

  std::unique_ptr<Speculation> speculation_;
  Uniform uniform_;
  std::vector<TokenId> fed_;  // between passes: to be fed; in one: with the guess behind them
  Proposal guess_;
  std::shared_ptr<const Caches::Mark> mark_;  // before the pass
  int accepted_ = 0;
  TokenId next_ = 0;  // behind what was accepted
};

}  // namespace mlxcpp::lm::detail
