// One forward pass and one sampled token at a time.  The only place where the work of host and
// device overlaps.
#pragma once

#include "mlxcpp/lm/model.h"
#include "mlxcpp/lm/options.h"
#include "mlxcpp/lm/sample.h"
#include "mlxcpp/lm/speculative.h"

#include <climits>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace mlxcpp::lm {
namespace detail {
class Guessing;  // guessing.h
}  // namespace detail

/// What the caches of one generation must be.
CacheOptions cache_options(const GenerateOptions& options);

/// Caches of one row, and the ids that they have consumed, in order.
struct CachedPrompt {
  CacheOptions options;
  Caches caches;
  std::vector<TokenId> ids;

  CachedPrompt(const LanguageModel& model, const CacheOptions& options);
  void clear(const LanguageModel& model);  ///< as if nothing had been consumed
  /// Leaves what is the beginning of `prompt`, less its last token, which must be fed; returns how
  /// many tokens that are.  Caches that can not forget single tokens may have to forget all.
  int keep_shared(const LanguageModel& model, std::span<const TokenId> prompt);
};

/// prefill() once, then next().  When a computation fails, the cache is cleared: what is in it can
/// no longer be trusted.
class Stepper {
 public:
  /// `cache` holds what was consumed before, and is advanced.  Both are kept alive.
  Stepper(std::shared_ptr<const LanguageModel> model,
          std::shared_ptr<CachedPrompt> cache,
          const GenerateOptions& options,
          std::uint64_t seed);
  ~Stepper();
  Stepper(const Stepper&) = delete;
  Stepper& operator=(const Stepper&) = delete;

  /// Feeds a prompt (not empty) that follows what the cache holds, in chunks.  False when
  /// `progress` said so: the cache then holds the chunks that were done.
  bool prefill(std::span<const TokenId> prompt, const PrefillProgress& progress = {});
  /// `room`: so many tokens, this one included, are wanted at most; guesses go no further.
  Token next(int room = INT_MAX);
  /// Takes back tokens that were fed before they were given out, where the cache can; where it can
  /// not, the cache's ids say so.
  void finish();
  SpeculationStats speculation() const;

 private:
  /// (1, L) ids -> (1, L, D): states of the last `needed`, or of all where guesses want them.
  array hidden(const array& tokens, int needed);
  array logits(const array& hidden, int last) const;  // (1, L, D) -> (last, V)
  Sampled sample(const array& logits);                // (1, V)
  std::vector<array> to_evaluate(const Sampled& s) const;
  Token take(const Sampled& s);  // reads it, and remembers it

  // With guesses (step_speculative.cpp).
  Token next_guessed(int room);
  void guess_and_check(int room);

  std::shared_ptr<const LanguageModel> model_;
  std::shared_ptr<CachedPrompt> cache_;
  StepOptions options_;
  SampleRow row_;
  bool look_ahead_;
  std::optional<Sampled> pending_;  // the next one to give out
  std::optional<TokenId> last_;     // the last one given out
  bool fed_ahead_ = false;          // ... and it is in the cache already
  int steps_ = 0;

  std::unique_ptr<detail::Guessing> guessing_;  // null: no guesses
  PassTimes times_;
  std::deque<Token> ready_;  // to be given out
};

}  // namespace mlxcpp::lm
