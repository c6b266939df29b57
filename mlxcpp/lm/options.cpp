#include "mlxcpp/lm/options.h"

#include "mlxcpp/base/error.h"

#include <cmath>

namespace mlxcpp::lm {
namespace {

[[noreturn]] void refuse(const char* field, const char* expected, const std::string& found) {
  throw InputError(describe(field, "out of range", expected, found));
}

}  // namespace

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
  sample.validate();
  penalties.validate(vocab_size);
  step.validate();
  speculation.validate();
}

}  // namespace mlxcpp::lm
