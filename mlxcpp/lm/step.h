// One forward pass and one sampled token at a time.  The only place where the work of host and
// device overlaps.
#pragma once

#include "mlxcpp/lm/model.h"
#include "mlxcpp/lm/options.h"

#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace mlxcpp::lm {

/// Caches of one row and the ids that they have consumed, in order.
struct CachedPrompt {
  Caches caches;
  std::vector<TokenId> ids;
};

/// The next token, and its log-probability where that was asked for.
struct Token {
  TokenId id;
  std::optional<float> logprob;
};

class Stepper {
 public:
  /// `cache` holds what was consumed before; it is advanced.  Both are kept alive.
  Stepper(std::shared_ptr<const LanguageModel> model,
          std::shared_ptr<CachedPrompt> cache,
          const GenerateOptions& options,
          std::uint64_t seed);

  /// Feeds a prompt (not empty) that follows what the cache holds.  False when progress cancelled:
  /// the cache then holds the chunks that were done.
  bool prefill(std::span<const TokenId> prompt, const PrefillProgress& progress = {});
  /// After prefill.  The token is not in the cache yet when this returns.
  Token next();
  /// Takes back a token that was fed ahead of time.  The destructor does it, too.
  void finish();
  ~Stepper();

 private:
  array forward(const array& tokens);  // (1, L) -> (1, V), of the last
  void sample(const array& logits);

  std::shared_ptr<const LanguageModel> model_;
  std::shared_ptr<CachedPrompt> cache_;
  StepOptions options_;
  Sampler sampler_;
  std::vector<Processor> processors_;
  bool normalise_, logprobs_, look_ahead_;
  array key_;
  std::vector<TokenId> history_;          // prompt and answer, for processors
  std::optional<array> token_, logprob_;  // sampled, not yet given out
  bool fed_ = false;                      // the last token given out is in the cache already
};

}  // namespace mlxcpp::lm
