#include "mlxcpp/lm/options.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/detail/option.h"

#include <cmath>
#include <limits>

namespace mlxcpp::lm {
namespace {

using detail::require;

[[noreturn]] void refuse(const char* field, const char* expected, const std::string& found) {
  throw InputError(describe(field, "out of range", expected, found));
}

void require_part(std::string_view option, float value) {
  require(value >= 0 && value <= 1, option, "a number from 0 to 1", value);
}

void require_finite(std::string_view option, float value) {
  require(std::isfinite(value), option, "a finite number", value);
}

void require_not_negative(std::string_view option, float value) {
  require(value >= 0 && std::isfinite(value), option, "a finite number of at least 0", value);
}

void require_size(std::string_view option, int value) {
  require(value >= 0, option, "a number of at least 0", value);
}

}  // namespace

void SampleOptions::validate() const {
  require_not_negative("temperature", temperature);
  require_finite("top_n_sigma", top_n_sigma);
  require(
      typical_p > 0 && typical_p <= 1, "typical_p", "a number above 0 and at most 1", typical_p);
  require_part("top_p", top_p);
  require_part("min_p", min_p);
  require(
      min_tokens_to_keep >= 1, "min_tokens_to_keep", "a number of at least 1", min_tokens_to_keep);
  require_size("top_k", top_k);
  require_part("xtc_probability", xtc_probability);
  require(xtc_threshold >= 0 && xtc_threshold <= 0.5f,
          "xtc_threshold",
          "a number from 0 to 0.5",
          xtc_threshold);
  for (int id : xtc_special_tokens) require(id >= 0, "xtc_special_tokens", "ids of at least 0", id);
  require(mirostat == 0 || mirostat == 2, "mirostat", "0 or 2", mirostat);
  require_not_negative("mirostat_tau", mirostat_tau);
  require_not_negative("mirostat_eta", mirostat_eta);
}

void PenaltyOptions::validate(int vocab_size) const {
  if (repetition_penalty) {
    require_finite("repetition_penalty", *repetition_penalty);
    require(*repetition_penalty >= 0,
            "repetition_penalty",
            "a number of at least 0",
            *repetition_penalty);
  }
  if (presence_penalty) require_finite("presence_penalty", *presence_penalty);
  if (frequency_penalty) require_finite("frequency_penalty", *frequency_penalty);
  require_size("repetition_context_size", repetition_context_size);
  require_size("presence_context_size", presence_context_size);
  require_size("frequency_context_size", frequency_context_size);
  for (auto [id, value] : logit_bias) {
    require(id >= 0 && id < vocab_size,
            "logit_bias",
            "ids of the vocabulary (0 to " + std::to_string(vocab_size - 1) + ")",
            id);
    require_finite("logit_bias", value);
  }
  require_not_negative("dry_multiplier", dry_multiplier);
  require(dry_base >= 1 && std::isfinite(dry_base),
          "dry_base",
          "a finite number of at least 1",
          dry_base);
  require_size("dry_allowed_length", dry_allowed_length);
  require(dry_penalty_last_n >= -1,
          "dry_penalty_last_n",
          "a number of at least -1",
          dry_penalty_last_n);
  for (auto& breaker : dry_sequence_breakers)
    require(!breaker.empty(), "dry_sequence_breakers", "at least one token each", "none");
  require_size("penalty_context", penalty_context);
  require_size("min_tokens", min_tokens);
}

void StepOptions::validate() const {
  if (prefill_step_size < 1)
    refuse("prefill_step_size", "1 or more", std::to_string(prefill_step_size));
  if (!std::isfinite(prefill_seconds) || prefill_seconds < 0)
    refuse("prefill_seconds", "0 or more", std::to_string(prefill_seconds));
}

void SpeculationOptions::validate() const {
  int n = num_draft_tokens.value_or(1);
  if (n < 1 || n > 32) refuse("num_draft_tokens", "1 to 32", std::to_string(n));
}

void GenerateOptions::validate(int vocab_size) const {
  if (max_tokens && *max_tokens < 0) refuse("max_tokens", "0 or more", std::to_string(*max_tokens));
  if (max_kv_size < 0) refuse("max_kv_size", "0 or more", std::to_string(max_kv_size));
  if (max_kv_size && (keep < 0 || keep >= max_kv_size))
    refuse("max_kv_size", "more than keep", std::to_string(max_kv_size));
  kv_quant.validate();
  require(top_logprobs >= 0 && top_logprobs <= vocab_size,
          "top_logprobs",
          "a number from 0 to " + std::to_string(vocab_size) + ", the vocabulary's size",
          top_logprobs);
  sample.validate();
  penalties.validate(vocab_size);
  step.validate();
  speculation.validate();
}

}  // namespace mlxcpp::lm
