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

struct SampleOptions {
  float temperature = 0;                // 0: the most likely token, and no filter matters
  float top_p = 1, min_p = 0;           // top_p 0 or 1, min_p 0: off
  int min_tokens_to_keep = 1;           // of min_p
  int top_k = 0;                        // 0: off
  float xtc_probability = 0;            // 0: off
  float xtc_threshold = 0.1f;           // at most 0.5
  std::vector<int> xtc_special_tokens;  // never removed by XTC (newline, eos)

  /// Throws InputError that names the option.
  void validate() const;
};

struct PenaltyOptions {
  /// Repetition divides positive logits and multiplies negative ones, once an id; presence
  /// subtracts once an id; frequency subtracts for every occurrence.  0 or none: off (repetition 1,
  /// too).
  std::optional<float> repetition_penalty, presence_penalty, frequency_penalty;
  /// How many of the last tokens count.  0: the whole history.
  int repetition_context_size = 20, presence_context_size = 20, frequency_context_size = 20;
  /// Added to the logits of these ids; the same id twice adds up.
  std::vector<std::pair<int, float>> logit_bias;

  /// Throws InputError that names the option: values that are not finite, a negative repetition
  /// penalty or context size, a bias for an id beyond the vocabulary.
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
  bool logprobs = false;
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
