#include "mlxcpp/lm/processors.h"

#include "mlxcpp/lm/detail/option.h"

#include <mlx/ops.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace mlxcpp::lm {
namespace {

using detail::require;

bool on(const std::optional<float>& penalty) { return penalty && *penalty != 0; }

void require_context(std::string_view option, int size) {
  require(size >= 0, option, "a number of at least 0", size);
}

void require_finite(std::string_view option, const std::optional<float>& value) {
  if (value) require(std::isfinite(*value), option, "a finite number", *value);
}

void require_known(int id, int vocab_size) {
  require(id >= 0 && id < vocab_size,
          "logit_bias",
          "ids of the vocabulary (0 to " + std::to_string(vocab_size - 1) + ")",
          id);
}

array like(float value, const array& logits) { return array(value, logits.dtype()); }

/// The last `context` tokens (0: all) as (1, n) indices; nothing if none is in the vocabulary.
std::optional<array> recent(std::span<const TokenId> tokens, int context, const array& logits) {
  auto n = static_cast<std::size_t>(context);
  if (n > 0 && n < tokens.size()) tokens = tokens.last(n);
  auto vocab = static_cast<TokenId>(logits.shape(-1));
  std::vector<TokenId> ids;
  ids.reserve(tokens.size());
  std::copy_if(
      tokens.begin(), tokens.end(), std::back_inserter(ids), [&](TokenId t) { return t < vocab; });
  if (ids.empty()) return {};
  return array(ids.begin(), {1, static_cast<int>(ids.size())});
}

Processor bias(const std::vector<std::pair<int, float>>& pairs) {
  std::vector<int> ids;
  std::vector<float> values;
  for (auto [id, value] : pairs) {
    ids.push_back(id);
    values.push_back(value);
  }
  int n = static_cast<int>(ids.size());
  int highest = *std::max_element(ids.begin(), ids.end());
  return [index = array(ids.begin(), {1, n}), added = array(values.begin(), {1, n}), highest](
             std::span<const TokenId>, const array& logits) {
    require_known(highest, logits.shape(-1));
    return mx::scatter_add_axis(logits, index, mx::astype(added, logits.dtype()), -1);
  };
}

// In the next two an id may occur twice in the index: both writes then carry the same value.

Processor repetition(float penalty, int context) {
  return [=](std::span<const TokenId> tokens, const array& logits) {
    auto index = recent(tokens, context, logits);
    if (!index) return logits;
    auto old = mx::take_along_axis(logits, *index, -1);
    auto by = like(penalty, logits);
    auto changed =
        mx::where(mx::less(old, like(0, logits)), mx::multiply(old, by), mx::divide(old, by));
    return mx::put_along_axis(logits, *index, changed, -1);
  };
}

Processor presence(float penalty, int context) {
  return [=](std::span<const TokenId> tokens, const array& logits) {
    auto index = recent(tokens, context, logits);
    if (!index) return logits;
    auto old = mx::take_along_axis(logits, *index, -1);
    return mx::put_along_axis(logits, *index, mx::subtract(old, like(penalty, logits)), -1);
  };
}

Processor frequency(float penalty, int context) {
  return [=](std::span<const TokenId> tokens, const array& logits) {
    auto index = recent(tokens, context, logits);
    if (!index) return logits;
    auto added = mx::full(index->shape(), like(-penalty, logits));
    return mx::scatter_add_axis(logits, *index, added, -1);
  };
}

}  // namespace

void PenaltyOptions::validate(int vocab_size) const {
  require_finite("repetition_penalty", repetition_penalty);
  if (repetition_penalty)
    require(*repetition_penalty >= 0,
            "repetition_penalty",
            "a number of at least 0",
            *repetition_penalty);
  require_finite("presence_penalty", presence_penalty);
  require_finite("frequency_penalty", frequency_penalty);
  require_context("repetition_context_size", repetition_context_size);
  require_context("presence_context_size", presence_context_size);
  require_context("frequency_context_size", frequency_context_size);
  for (auto [id, value] : logit_bias) {
    require_known(id, vocab_size);
    require_finite("logit_bias", value);
  }
}

std::vector<Processor> make_processors(const PenaltyOptions& options) {
  const auto& o = options;
  o.validate(std::numeric_limits<int>::max());
  std::vector<Processor> chain;
  if (!o.logit_bias.empty()) chain.push_back(bias(o.logit_bias));
  if (on(o.repetition_penalty) && *o.repetition_penalty != 1)
    chain.push_back(repetition(*o.repetition_penalty, o.repetition_context_size));
  if (on(o.presence_penalty))
    chain.push_back(presence(*o.presence_penalty, o.presence_context_size));
  if (on(o.frequency_penalty))
    chain.push_back(frequency(*o.frequency_penalty, o.frequency_context_size));
  return chain;
}

}  // namespace mlxcpp::lm
