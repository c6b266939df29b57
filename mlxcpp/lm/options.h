// What can be asked of a generation.
#pragma once

#include "mlxcpp/lm/kv_quant.h"
#include "mlxcpp/text/vocab.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mlxcpp::lm {

using text::TokenId;

/// Tokens done and in all; false cancels.
using PrefillProgress = std::function<bool(int done, int total)>;

/// In the order in which the filters act; sample.h says how.
struct SampleOptions {
  float temperature = 0;                // 0: the most likely token, and no filter matters
  float top_n_sigma = 0;                // 0 or less: off
  float typical_p = 1;                  // 1: off
  float top_p = 1, min_p = 0;           // top_p 0 or 1, min_p 0: off
  int min_tokens_to_keep = 1;           // of min_p
  int top_k = 0;                        // 0: off
  float xtc_probability = 0;            // 0: off
  float xtc_threshold = 0.1f;           // at most 0.5
  std::vector<int> xtc_special_tokens;  // never removed by XTC (newline, eos)
  int mirostat = 0;                     // 2: Mirostat 2, and no other filter acts; 0: off
  float mirostat_tau = 5;               // the surprise that it aims at, in bits
  float mirostat_eta = 0.1f;            // how fast it learns

  /// Throws InputError that names the option.
  void validate() const;
};

/// What changes logits before a token is sampled; penalties.h says how.
struct PenaltyOptions {
  /// Repetition divides positive logits and multiplies negative ones, once an id; presence
  /// subtracts once an id; frequency subtracts for every occurrence.  0 or none: off (repetition 1,
  /// too).
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  /// How many of the last tokens count.  0: all that penalties see.
  int repetition_context_size = 20, presence_context_size = 20, frequency_context_size = 20;
  /// Added to the logits of these ids; the same id twice adds up.
  std::vector<std::pair<int, float>> logit_bias;
  /// DRY: a token that would continue what was said before, for a match of n >= dry_allowed_length
  /// tokens, loses dry_multiplier * dry_base ^ (n - dry_allowed_length).  Multiplier 0: off.
  float dry_multiplier = 0, dry_base = 1.75f;
  int dry_allowed_length = 2;
  int dry_penalty_last_n = -1;  // how many of the last tokens DRY sees; -1: all, 0: off
  /// No match goes on across one of these.
  std::vector<std::vector<TokenId>> dry_sequence_breakers;
  /// All penalties see the prompt and the answer, or the last so many tokens of both (0: all).
  int penalty_context = 0;
  /// False: of the prompt only its last token, as older versions of mlx-lm.
  bool penalties_see_prompt = true;
  /// No end token before so many tokens.  `end_tokens` empty: a stream takes the tokenizer's.
  int min_tokens = 0;
  std::vector<TokenId> end_tokens;

  /// Throws InputError that names the option: values that are not finite or out of range, ids
  /// beyond the vocabulary (those of breakers and end tokens may be).
  void validate(int vocab_size) const;
};

struct StepOptions {
  /// The most tokens of a prompt in one forward pass.
  int prefill_step_size = 2048;
  /// Chunks shrink or grow to about this much work, so that a cancel acts soon; 0: never.
  double prefill_seconds = 1;
  /// Build the step after the next token before that token is read.  Absent: where the device
  /// computes beside the host.
  std::optional<bool> look_ahead;

  void validate() const;  ///< throws InputError naming the field
};

class LanguageModel;

/// Where guesses of the next tokens come from, which one pass of the model then checks.
enum class DraftKind {
  none,
  lookup,  // the text so far
  model,   // a smaller model
  mtp,     // the model's own heads for further tokens
};

struct SpeculationOptions {
  DraftKind kind = DraftKind::none;
  /// The most tokens of a guess.  Absent: 10 of the text, else 3.
  std::optional<int> num_draft_tokens;
  /// Guesses are shorter, or not made, where they do not pay.
  bool adaptive = true;
  std::shared_ptr<const LanguageModel> draft;  // of DraftKind::model

  void validate() const;  ///< throws InputError naming the field
};

struct GenerateOptions {
  /// Absent: until the model ends its answer or its context is full.  0: nothing is computed.
  std::optional<int> max_tokens;
  SampleOptions sample;
  PenaltyOptions penalties;
  std::vector<std::string> stop;      // text that ends the answer, not part of it
  std::optional<std::uint64_t> seed;  // absent: another one for each stream
  bool ignore_eos = false;
  bool logprobs = false;  // of the tokens, before filters and temperature
  int top_logprobs = 0;   // likewise of so many most likely ones; asks for `logprobs`, too
  /// > 0: caches keep the first `keep` and the last tokens, this many in all.
  int max_kv_size = 0;
  int keep = 4;
  KvQuant kv_quant = {};  // how caches pack keys and values
  StepOptions step;
  SpeculationOptions speculation;
  PrefillProgress prefill_progress;

  void validate(int vocab_size) const;  ///< throws InputError naming the field
};

}  // namespace mlxcpp::lm
