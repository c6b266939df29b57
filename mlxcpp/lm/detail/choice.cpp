#include "mlxcpp/lm/detail/choice.h"

#include "mlxcpp/ops/choose.h"

#include <mlx/ops.h>
#include <mlx/random.h>

#include <algorithm>

namespace mlxcpp::lm::detail {

Chooser::Chooser(const GenerateOptions& o, std::uint64_t seed)
    : sampler(make_sampler(o.sample)),
      processors(make_processors(o.penalties)),
      normalise(o.logprobs || needs_logprobs(o.sample)),
      logprobs(o.logprobs),
      plain(o.sample.temperature == 0 && processors.empty() && !o.logprobs),
      key(mx::random::key(seed)) {}

Chosen choose(std::span<const ChooserRow> rows, const array& logits) {
  std::vector<std::optional<array>> logprobs(rows.size());
  if (std::all_of(rows.begin(), rows.end(), [](auto& r) { return r.chooser->plain; }))
    return {ops::argmax(logits), std::move(logprobs)};
  std::vector<array> ids;
  for (size_t i = 0; i < rows.size(); ++i) {
    Chooser& c = *rows[i].chooser;
    array x = mx::slice(logits, {int(i), 0}, {int(i) + 1, logits.shape(1)});
    for (auto& process : c.processors) x = process(rows[i].history, x);
    if (c.normalise) x = ops::log_softmax(x);
    auto [draw, rest] = mx::random::split(c.key);
    c.key = rest;
    ids.push_back(c.sampler(x, draw));
    if (c.logprobs) logprobs[i] = mx::take_along_axis(x, mx::expand_dims(ids.back(), -1), -1);
  }
  return {mx::concatenate(ids, 0), std::move(logprobs)};
}

}  // namespace mlxcpp::lm::detail
