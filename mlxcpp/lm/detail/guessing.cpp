#include "mlxcpp/lm/detail/guessing.h"

#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/choose.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <utility>

namespace mlxcpp::lm::detail {

std::span<const TokenId> Guessing::propose(const Caches& caches,
                                           int room,
                                           const PassTimes& times,
                                           const PassLoad& load) {
  guess_ = {};
  // Where tokens are fed again nothing is guessed, so that what has to be repeated never grows.
  if (fed_.size() == 1) guess_ = speculation_->propose(fed_[0], room - 1, times, load);
  mark_ = guess_.ids.empty() ? nullptr : caches.mark();
  fed_.insert(fed_.end(), guess_.ids.begin(), guess_.ids.end());
  return fed_;
}

std::vector<Token> Guessing::accept(const array& logits, SampleRow& row) {
  bool drawn = !guess_.probs.empty() && !row.has_mirostat();
  auto tokens = drawn              ? accept_drawn(logits, row)
                : row.takes_best() ? accept_best(logits, row)
                                   : accept_same(logits, row);
  accepted_ = int(tokens.size()) - 1;
  next_ = tokens.back().id;
  return tokens;
}

/// A guess is kept where the row's own draw gives the same, so that the answer does not even depend
/// on the guesses.  If the guess was not drawn, this is what rejection sampling does.
std::vector<Token> Guessing::accept_same(const array& logits, SampleRow& row) const {
  std::vector<Token> tokens;
  SampleRow* one = &row;
  do {
    Sampled s = sample(ops::take_row(logits, int(tokens.size())), {&one, 1});
    mx::eval(s.arrays());
    tokens.push_back(s.token(0));
    row.push(tokens.back().id);
  } while (tokens.size() <= guess_.ids.size() && tokens.back().id == guess_.ids[tokens.size() - 1]);
  return tokens;
}

std::vector<Token> Guessing::accept_best(const array& logits, SampleRow& row) const {
  array ids = ops::argmax(logits);
  ids.eval();
  std::vector<Token> tokens;
  do {
    int at = int(tokens.size());
    tokens.push_back(take_chosen(ids.data<std::uint32_t>()[at], ops::take_row(logits, at), row));
  } while (tokens.size() <= guess_.ids.size() && tokens.back().id == guess_.ids[tokens.size() - 1]);
  return tokens;
}

std::vector<Token> Guessing::accept_drawn(const array& logits, SampleRow& row) {
  std::vector<SampleRow> places{row};  // the row where all guesses before are kept
  for (TokenId id : guess_.ids) {
    places.push_back(places.back());
    places.back().count(id);
  }
  std::vector<SampleRow*> rows;
  for (auto& place : places) rows.push_back(&place);
  array p = mx::contiguous(probabilities(logits, rows));
  p.eval();
  std::vector<std::vector<float>> target;
  for (std::int64_t i = 0, V = p.shape(1); i < p.shape(0); ++i)
    target.emplace_back(p.data<float>() + i * V, p.data<float>() + (i + 1) * V);
  Verdict verdict = verify(target, guess_, uniform_);
  std::vector<Token> tokens;
  for (int i = 0; i <= verdict.accepted; ++i)
    tokens.push_back(take_chosen(
        i < verdict.accepted ? guess_.ids[i] : verdict.next, ops::take_row(logits, i), row));
  return tokens;
}

void Guessing::settle(CachedPrompt& cache, const array& hidden) {
  int refused = int(guess_.ids.size()) - accepted_;
  fed_.resize(fed_.size() - refused);
  speculation_->verified(guess_, accepted_);
  if (refused > 0 && !cache.caches.trimmable()) {
    cache.caches.rollback(*mark_);
    fed_.push_back(next_);
  } else {
    if (refused > 0) cache.caches.trim({refused});
    cache.ids.insert(cache.ids.end(), fed_.begin(), fed_.end());
    speculation_->consumed(fed_, ops::take_columns(hidden, 0, int(fed_.size()), 1));
    fed_ = {next_};
  }
  mark_ = nullptr;
  guess_ = {};
}

void Guessing::take_back(CachedPrompt& cache, int n) const {
  // The last one was never fed, nor what is to be fed again.
  int held = n - unfed();
  if (held <= 0 || !cache.caches.trimmable()) return;
  cache.caches.trim({held});
  cache.ids.resize(cache.ids.size() - held);
}

}  // namespace mlxcpp::lm::detail
