// One answer as the host sees it: its text, where it ends, its figures.  Looks at no array.
#pragma once

#include "mlxcpp/lm/stream.h"
#include "mlxcpp/text/stop.h"

#include <chrono>
#include <cstdint>
#include <vector>

namespace mlxcpp::lm::detail {

/// Another one for each answer, also within the same tick of a clock.
std::uint64_t fresh_seed();

class Answer {
 public:
  /// `context_length` 0: unlimited.  Throws InputError for an empty prompt, one that is longer than
  /// the context, ids beyond the vocabulary, and options that are out of range.  Tokens that
  /// min_tokens holds back are the tokenizer's, unless options name others.
  Answer(const text::Tokenizer& tokenizer,
         std::vector<TokenId> prompt,
         GenerateOptions options,
         int vocab_size,
         int context_length);

  const std::vector<TokenId>& prompt() const { return prompt_; }
  const GenerateOptions& options() const { return options_; }

  /// How many tokens may still be generated.
  int room() const;
  /// Why there is none.
  StopReason out_of_room() const;

  void speculated(const SpeculationStats& stats) { stats_.speculation = stats; }
  void prefilled(int cached_tokens, double seconds);  ///< seconds add up
  /// The event of a token.  It has `stop` when the token ends the answer: eos, the end of a stop
  /// string, or the last one that there was room for.
  Event take(const Token& token);
  /// The last event, without a token.
  Event end(StopReason reason) { return end({}, reason); }

 private:
  Event end(Event event, StopReason reason);

  text::Tokenizer tokenizer_;
  std::vector<TokenId> prompt_;
  GenerateOptions options_;
  int context_length_;
  text::DecodeStream decoder_;
  text::StopMatcher stops_;
  GenerateStats stats_;
  std::chrono::steady_clock::time_point created_, first_token_;
};

}  // namespace mlxcpp::lm::detail
