#include "mlxcpp/lm/detail/feed.h"

#include "mlxcpp/ops/basic.h"

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

bool guesses(const Feed& f) { return f.guessing && f.guessing->guesses(); }

bool wants_states(const Feed& f) { return f.guessing && f.guessing->wants_states(); }

/// How many of a feed's last tokens need logits.
int asked(const Feed& f) { return guesses(f) ? f.guessing->asked() : f.sampling ? 1 : 0; }

/// (B, L, D) -> (R, D): the columns that need logits, feed by feed.
std::optional<array> asked_columns(const array& hidden, std::span<const Feed> feeds) {
  std::vector<int> at;
  for (size_t i = 0; i < feeds.size(); ++i) {
    int begin = int(i) * hidden.shape(1), end = begin + int(feeds[i].tokens.size());
    for (int column = end - asked(feeds[i]); column < end; ++column) at.push_back(column);
  }
  if (at.empty()) return {};
  array flat = mx::reshape(hidden, {-1, hidden.shape(2)});
  if (int(at.size()) == flat.shape(0)) return flat;
  return mx::take(flat, array(at.data(), {int(at.size())}, mx::int32), 0);
}

/// The logits of a pass, and what is sampled of them before they are read.
struct Outcome {
  array logits;                    // (R, V)
  std::vector<int> at;             // for each feed, its first row of them
  std::optional<Sampled> sampled;  // of feeds without a guess

  Outcome(const array& columns, const LanguageModel& model, std::span<const Feed> feeds)
      : logits(mx::squeeze(model.logits(mx::expand_dims(columns, 1)), 1)) {
    std::vector<SampleRow*> rows;
    std::vector<int> of;
    int next = 0;
    for (auto& f : feeds) {
      at.push_back(next);
      if (f.sampling && !guesses(f)) rows.push_back(f.sampling), of.push_back(next);
      next += asked(f);
    }
    if (rows.empty()) return;
    bool all = int(rows.size()) == next;
    array index(of.data(), {int(of.size())}, mx::int32);
    sampled = sample(all ? logits : mx::take(logits, index, 0), rows);
  }

  void add_to(std::vector<array>* wanted, bool guessed) const {
    if (sampled)
      for (auto& a : sampled->arrays()) wanted->push_back(a);
    if (guessed) wanted->push_back(logits);
  }
};

}  // namespace

std::vector<std::vector<Token>> feed(const LanguageModel& model, std::span<const Feed> feeds) {
  std::vector<Caches*> parts;
  for (auto& f : feeds) parts.push_back(&f.cache->caches);
  Caches joint = Caches::together(parts);
  Input in = padded(feeds);
  for (auto& f : feeds) {
    in.adapters.push_back(f.adapter.value_or(model.adapter_use().chosen));
    in.needed.push_back(wants_states(f) ? int(f.tokens.size()) : asked(f));
  }
  array hidden = model.hidden(in, joint);

  auto wanted = joint.arrays();
  std::optional<Outcome> outcome;
  if (auto columns = asked_columns(hidden, feeds)) {
    std::vector<int> adapters;  // of each column, since the head may have them
    for (size_t i = 0; i < feeds.size(); ++i)
      adapters.insert(adapters.end(), size_t(asked(feeds[i])), in.adapters[i]);
    model.use_adapters(adapters);
    outcome.emplace(*columns, model, feeds);
    outcome->add_to(&wanted, std::ranges::any_of(feeds, guesses));
  } else if (wanted.empty()) {
    wanted.push_back(hidden);  // a model that keeps nothing
  }
  if (std::ranges::any_of(feeds, wants_states)) wanted.push_back(hidden);
  mx::eval(wanted);

  std::vector<std::vector<Token>> tokens(feeds.size());
  int sampled = 0;
  for (size_t i = 0; i < feeds.size(); ++i) {
    const Feed& f = feeds[i];
    array own = ops::take_columns(ops::take_row(hidden, int(i)), 0, int(f.tokens.size()), 1);
    if (guesses(f)) {
      int from = outcome->at[i];
      tokens[i] = f.guessing->accept(ops::take_columns(outcome->logits, from, from + asked(f), 0),
                                     *f.sampling);
      f.guessing->settle(*f.cache, own);
      continue;
    }
    f.cache->ids.insert(f.cache->ids.end(), f.tokens.begin(), f.tokens.end());
    if (f.guessing) f.guessing->consumed(f.tokens, own);
    if (!f.sampling) continue;
    tokens[i] = {outcome->sampled->token(sampled++)};
    f.sampling->push(tokens[i][0].id);
    if (f.guessing) f.guessing->chosen(tokens[i][0].id);
  }
  return tokens;
}

}  // namespace mlxcpp::lm::detail
