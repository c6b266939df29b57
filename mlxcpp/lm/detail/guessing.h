// One row's guesses on their way through a pass: what is fed, which are kept, what the cache holds
// afterwards.  Whoever runs the pass does propose -> pass -> accept -> settle; or, where there is
// no guess and the row is sampled within the pass like any other, propose -> pass -> consumed ->
// chosen.
#pragma once

#include "mlxcpp/lm/sample.h"
#include "mlxcpp/lm/speculative.h"
#include "mlxcpp/lm/step.h"

#include <memory>
#include <span>
#include <vector>

namespace mlxcpp::lm::detail {

class Guessing {
 public:
  Guessing(std::unique_ptr<Speculation> speculation, std::uint64_t seed)
      : speculation_(std::move(speculation)), uniform_(seed) {}

  /// Part of a prompt that the caches consumed, or what propose() gave without a guess.
  void consumed(std::span<const TokenId> ids, const std::optional<array>& hidden) {
    speculation_->consumed(ids, hidden);
  }
  /// Whether guesses come from states; else only those that are asked for need be computed.
  bool wants_states() const { return speculation_->wants_states(); }
  /// What follows, chosen without a guess and not consumed.
  void chosen(TokenId next) { fed_ = {next}; }

  /// What the next pass is to be fed: what is not in the cache yet, and a guess of at most room - 1
  /// tokens.  Good until settle().
  std::span<const TokenId> propose(const Caches& caches,
                                   int room,
                                   const PassTimes& times,
                                   const PassLoad& load = {});
  /// Whether there is a guess in it.
  bool guesses() const { return !guess_.ids.empty(); }
  /// How many of the last tokens of that need logits.
  int asked() const { return int(guess_.ids.size()) + 1; }
  /// From these logits (asked, V): the guesses that are kept, and one more token, which the row has
  /// then drawn and been told.
  std::vector<Token> accept(const array& logits, SampleRow& row);
  /// Leaves in the cache what was kept; `hidden` (1, L, D): states of all that was fed, where
  /// guesses want them.  A cache that can not forget single tokens is as before the pass, and the
  /// next one feeds again what was kept.
  void settle(CachedPrompt& cache, const array& hidden);

  /// The last n tokens that accept() gave are not wanted: forgets those of them that the cache
  /// holds, where it can.
  void take_back(CachedPrompt& cache, int n) const;

  /// Chosen tokens that the cache does not hold.
  int unfed() const { return int(fed_.size()); }
  const SpeculationStats& stats() const { return speculation_->stats(); }
  std::uint64_t nbytes() const { return speculation_->nbytes(); }
  std::uint64_t most_bytes(int tokens) const { return speculation_->most_bytes(tokens); }

 private:
  std::vector<Token> accept_best(const array& logits, SampleRow& row) const;
  std::vector<Token> accept_drawn(const array& logits, SampleRow& row);
  std::vector<Token> accept_same(const array& logits, SampleRow& row) const;

  std::unique_ptr<Speculation> speculation_;
  Uniform uniform_;
  std::vector<TokenId> fed_;  // between passes: to be fed; in one: with the guess behind them
  Proposal guess_;
  std::shared_ptr<const Caches::Mark> mark_;  // before the pass
  int accepted_ = 0;
  TokenId next_ = 0;  // behind what was accepted
};

}  // namespace mlxcpp::lm::detail
