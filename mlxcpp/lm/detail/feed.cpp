#include "mlxcpp/lm/detail/feed.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <optional>

namespace mlxcpp::lm::detail {
namespace {

/// Rows of different lengths, padded on the right.
Input padded(std::span<const Feed> feeds) {
  size_t longest = 0;
  std::vector<int> lengths;
  for (auto& f : feeds) {
    longest = std::max(longest, f.tokens.size());
    lengths.push_back(int(f.tokens.size()));
  }
  std::vector<int> flat(feeds.size() * longest, 0);
  for (size_t i = 0; i < feeds.size(); ++i)
    std::copy(
        feeds[i].tokens.begin(), feeds[i].tokens.end(), flat.begin() + std::ptrdiff_t(i * longest));
  return {.tokens = array(flat.data(), {int(feeds.size()), int(longest)}, mx::int32),
          .lengths = std::move(lengths)};
}

/// (B, L, D) -> (R, 1, D): the last valid column of the rows that ask for a token.
std::optional<array> asked_columns(const array& hidden, std::span<const Feed> feeds) {
  std::vector<int> at;
  for (size_t i = 0; i < feeds.size(); ++i)
    if (feeds[i].sampling) at.push_back(int(i) * hidden.shape(1) + int(feeds[i].tokens.size()) - 1);
  if (at.empty()) return {};
  if (int(at.size()) == hidden.shape(0) && hidden.shape(1) == 1) return hidden;
  array flat = mx::reshape(hidden, {-1, hidden.shape(2)});
  return mx::expand_dims(mx::take(flat, array(at.data(), {int(at.size())}, mx::int32), 0), 1);
}

}  // namespace

std::vector<Token> feed(const LanguageModel& model, std::span<const Feed> feeds) {
  std::vector<Caches*> parts;
  for (auto& f : feeds) parts.push_back(&f.cache->caches);
  Caches joint = Caches::together(parts);
  Input in = padded(feeds);
  for (auto& f : feeds) in.adapters.push_back(f.adapter.value_or(model.adapter_use().chosen));
  array hidden = model.hidden(in, joint);
  for (auto& f : feeds) f.cache->ids.insert(f.cache->ids.end(), f.tokens.begin(), f.tokens.end());

  std::vector<SampleRow*> rows;
  for (auto& f : feeds)
    if (f.sampling) rows.push_back(f.sampling);
  auto wanted = joint.arrays();
  std::optional<Sampled> sampled;
  if (auto columns = asked_columns(hidden, feeds)) {
    sampled = sample(mx::squeeze(model.logits(*columns), 1), rows);
    for (auto& a : sampled->arrays()) wanted.push_back(a);
  } else if (wanted.empty()) {
    wanted.push_back(hidden);  // a model that keeps nothing
  }
  mx::eval(wanted);

  std::vector<Token> tokens;
  for (size_t i = 0; i < rows.size(); ++i) {
    tokens.push_back(sampled->token(int(i)));
    rows[i]->push(tokens.back().id);
  }
  return tokens;
}

}  // namespace mlxcpp::lm::detail
