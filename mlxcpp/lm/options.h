// What can be asked of a generation.
#pragma once

#include "mlxcpp/lm/processors.h"
#include "mlxcpp/lm/sample.h"
#include "mlxcpp/text/vocab.h"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::lm {

using text::TokenId;

/// Tokens done and in all; false cancels.
using PrefillProgress = std::function<bool(int done, int total)>;

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
  StepOptions step;
  PrefillProgress prefill_progress;

  void validate(int vocab_size) const;  ///< throws InputError naming the field
};

}  // namespace mlxcpp::lm
