// Text as it is generated: pulled event by event, so that a command, a server and a test share one
// loop, and dropping the stream cancels it.
#pragma once

#include "mlxcpp/lm/options.h"
#include "mlxcpp/lm/speculation_stats.h"
#include "mlxcpp/lm/token.h"
#include "mlxcpp/text/tokenizer.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::lm {

class LanguageModel;
struct CachedPrompt;  // step.h

enum class StopReason {
  eos,        // the model ended its answer
  stop,       // a stop string was found; the text ends before it
  length,     // max_tokens
  context,    // prompt and answer fill the model's context
  cancelled,  // cancel(), or prefill progress said so
};
/// "stop" for eos and stop strings, "length" for length and context, as APIs have it.
std::string_view finish_reason(StopReason reason);
std::string_view name_of(StopReason reason);

struct GenerateStats {
  int prompt_tokens = 0;      // of the prompt, those found in the cache included
  int cached_tokens = 0;      // of them, found in the cache
  int generation_tokens = 0;  // the eos token included
  double prompt_seconds = 0, generation_seconds = 0;
  double time_to_first_token = 0;  // seconds since the stream was made
  std::uint64_t peak_memory = 0;   // bytes that MLX held at most
  SpeculationStats speculation;    // all zero without guesses

  double prompt_tps() const;      ///< tokens that had to be computed, a second
  double generation_tps() const;  ///< from the second token on
};

struct Event {
  std::string text;                        // may be empty: held back, or the token shows nothing
  std::optional<text::TokenId> token;      // absent in the last event unless a token caused it
  std::optional<float> logprob;            // of the token, if GenerateOptions::logprobs
  std::vector<TokenLogprob> top_logprobs;  // likewise; the most likely first
  std::optional<StopReason> stop;          // set in the last event
  std::string stop_string;                 // what was found, for StopReason::stop
  GenerateStats stats;
};

/// One answer.  Belongs to the thread that made it, except cancel().  Errors of the request are
/// thrown by the constructor, errors of the computation by next(); after one the stream has ended.
class TokenStream {
 public:
  /// `cache`: what it already holds of the prompt is not computed again; nothing: a fresh one.
  /// `context_length` 0: unlimited.  Throws InputError for an empty prompt, one that is longer than
  /// the context, or options that are out of range.
  TokenStream(std::shared_ptr<const LanguageModel> model,
              const text::Tokenizer& tokenizer,
              std::vector<text::TokenId> prompt,
              const GenerateOptions& options,
              int context_length = 0,
              std::shared_ptr<CachedPrompt> cache = {});
  TokenStream(TokenStream&&) noexcept;
  TokenStream& operator=(TokenStream&&) noexcept;
  /// The cache then reports exactly the ids that it has consumed.
  ~TokenStream();

  /// Nothing after the event that has `stop`.
  std::optional<Event> next();
  /// From any thread or a signal handler: the stream ends at its next step.
  void cancel();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A whole answer.
struct Generated {
  std::string text;
  std::vector<text::TokenId> tokens;  // the eos token included
  StopReason stop = StopReason::length;
  GenerateStats stats;
};
Generated collect(TokenStream stream);

}  // namespace mlxcpp::lm
