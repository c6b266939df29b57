#include "mlxcpp/lm/sample.h"

#include "mlxcpp/lm/detail/option.h"
#include "mlxcpp/ops/choose.h"

#include <mlx/ops.h>
#include <mlx/random.h>

#include <cmath>
#include <limits>
#include <utility>

namespace mlxcpp::lm {
namespace {

using detail::require;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

void require_part(std::string_view option, float value) {
  require(value >= 0 && value <= 1, option, "a number from 0 to 1", value);
}

void require_threshold(float value) {
  require(value >= 0 && value <= 0.5f, "xtc_threshold", "a number from 0 to 0.5", value);
}

void require_keep(int value) {
  require(value >= 1, "min_tokens_to_keep", "a number of at least 1", value);
}

bool top_p_is_on(const SampleOptions& o) { return o.top_p > 0 && o.top_p < 1; }

array removed_where(const array& condition, const array& logprobs) {
  return mx::where(condition, array(-kInfinity, logprobs.dtype()), logprobs);
}

/// Columns [from, to) of a (R, V) array.
array columns(const array& a, int from, int to) {
  return mx::slice(a, {0, from}, {a.shape(0), to});
}

/// `mask` (R, V) with the columns in `ids` set to false.
array cleared(const array& mask, const std::vector<int>& ids) {
  std::vector<int> known;
  for (int id : ids)
    if (id >= 0 && id < mask.shape(-1)) known.push_back(id);
  if (known.empty()) return mask;
  int n = static_cast<int>(known.size());
  auto index = mx::broadcast_to(array(known.begin(), {1, n}), {mask.shape(0), n});
  return mx::put_along_axis(mask, index, array(false), -1);
}

using Filter = std::function<array(const array& logprobs, const array& key)>;

std::vector<Filter> make_filters(const SampleOptions& o) {
  std::vector<Filter> chain;
  if (top_p_is_on(o))
    chain.push_back([p = o.top_p](const array& x, const array&) { return apply_top_p(x, p); });
  if (o.min_p > 0)
    chain.push_back([p = o.min_p, keep = o.min_tokens_to_keep](const array& x, const array&) {
      return apply_min_p(x, p, keep);
    });
  if (o.xtc_probability > 0)
    chain.push_back([p = o.xtc_probability, t = o.xtc_threshold, ids = o.xtc_special_tokens](
                        const array& x, const array& key) { return apply_xtc(x, p, t, ids, key); });
  if (o.top_k > 0)
    chain.push_back([k = o.top_k](const array& x, const array&) { return apply_top_k(x, k); });
  return chain;
}

}  // namespace

void SampleOptions::validate() const {
  require(temperature >= 0 && std::isfinite(temperature),
          "temperature",
          "a finite number of at least 0",
          temperature);
  require_part("top_p", top_p);
  require_part("min_p", min_p);
  require_keep(min_tokens_to_keep);
  require(top_k >= 0, "top_k", "a number of at least 0", top_k);
  require_part("xtc_probability", xtc_probability);
  require_threshold(xtc_threshold);
  for (int id : xtc_special_tokens) require(id >= 0, "xtc_special_tokens", "ids of at least 0", id);
}

array apply_top_k(const array& logprobs, int k) {
  require(k >= 1, "top_k", "a number of at least 1", k);
  int vocab = logprobs.shape(-1);
  if (k >= vocab) return logprobs;
  return ops::keep_largest(logprobs, k);
}

array apply_top_p(const array& logprobs, float p) {
  require(p > 0 && p <= 1, "top_p", "a number above 0 and at most 1", p);
  return ops::keep_nucleus(logprobs, p);
}

array apply_min_p(const array& logprobs, float min_p, int keep) {
  require_part("min_p", min_p);
  require_keep(keep);
  int vocab = logprobs.shape(-1);
  if (keep >= vocab) return logprobs;
  auto threshold =
      mx::add(mx::max(logprobs, -1, /*keepdims=*/true), array(std::log(min_p), logprobs.dtype()));
  auto remove = mx::less(logprobs, threshold);
  if (keep > 1) {
    auto order = mx::argpartition(logprobs, vocab - keep, -1);
    remove = mx::put_along_axis(remove, columns(order, vocab - keep, vocab), array(false), -1);
  }
  return removed_where(remove, logprobs);
}

array apply_xtc(const array& logprobs,
                float probability,
                float threshold,
                const std::vector<int>& special,
                const array& key) {
  require_part("xtc_probability", probability);
  require_threshold(threshold);
  auto probs = mx::softmax(mx::astype(logprobs, mx::float32), -1);
  auto candidates = mx::where(mx::greater(probs, array(threshold)), probs, array(kInfinity));
  auto least = mx::min(candidates, -1, /*keepdims=*/true);
  auto remove = cleared(mx::greater(probs, least), special);
  auto draw = mx::random::uniform({logprobs.shape(0), 1}, key);
  auto act = mx::less_equal(draw, array(probability));
  return removed_where(mx::logical_and(act, remove), logprobs);
}

array categorical(const array& logprobs, float temperature, const array& key) {
  require(temperature > 0 && std::isfinite(temperature),
          "temperature",
          "a finite number above 0",
          temperature);
  auto x = mx::astype(logprobs, mx::float32);
  // With the best token at 0, a tiny temperature sends the others to -inf but never the best one.
  auto below_best = mx::subtract(x, mx::max(x, -1, /*keepdims=*/true));
  return mx::random::categorical(mx::divide(below_best, array(temperature)), -1, key);
}

Sampler make_sampler(const SampleOptions& options) {
  options.validate();
  if (options.temperature == 0)
    return [](const array& logprobs, const array&) { return ops::argmax(logprobs); };
  return [filters = make_filters(options), temperature = options.temperature](const array& logprobs,
                                                                              const array& key) {
    auto [xtc_key, draw_key] = mx::random::split(key);
    array x = logprobs;
    for (const auto& filter : filters) x = filter(x, xtc_key);
    return categorical(x, temperature, draw_key);
  };
}

bool needs_logprobs(const SampleOptions& options) {
  return options.temperature > 0 && top_p_is_on(options);
}

}  // namespace mlxcpp::lm
