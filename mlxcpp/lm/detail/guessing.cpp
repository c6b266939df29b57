#include "mlxcpp/lm/detail/guessing.h"

#include "mlxcpp/ops/choose.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <utility>

namespace mlxcpp::lm::detail {
namespace {

array row_of(const array& x, int i) { return mx::slice(x, {i, 0}, {i + 1, x.shape(1)}); }

}  // namespace

std::span<const TokenId> Guessing::propose(const Caches& caches,
                                           int room,
                                           const PassTimes& times,
                                           const PassLoad& others) {
  guess_ = {};
  // Where tokens are fed again nothing is guessed, so that what has to be repeated never grows.
  if (fed_.size() == 1) guess_ = speculation_->propose(fed_[0], room - 1, times, others);
  mark_ = guess_.ids.empty() ? nullptr : caches.mark();
  fed_.insert(fed_.end(), guess_.ids.begin(), guess_.ids.end());
  return fed_;
}

std::vector<Token> Guessing::accept(const array& logits, const Choosing& choosing) {
  std::vector<Token> tokens;
  if (!guess_.probs.empty() && !choosing.own_draws) {
    tokens = accept_drawn(logits, choosing);
  } else if (choosing.best) {
    tokens = accept_best(logits, choosing);
  } else {
    // A guess is kept where the row's own draw gives the same, so that the answer does not even
    // depend on the guesses.  If the guess was not drawn, this is what rejection sampling does.
    do {
      tokens.push_back(choosing.sample(row_of(logits, int(tokens.size()))));
    } while (tokens.size() <= guess_.ids.size() &&
             tokens.back().id == guess_.ids[tokens.size() - 1]);
  }
  accepted_ = int(tokens.size()) - 1;
  next_ = tokens.back().id;
  return tokens;
}

std::vector<Token> Guessing::accept_best(const array& logits, const Choosing& choosing) {
  array ids = ops::argmax(logits);
  ids.eval();
  std::vector<Token> tokens;
  do {
    int at = int(tokens.size());
    tokens.push_back(choosing.take(ids.data<std::uint32_t>()[at], row_of(logits, at)));
  } while (tokens.size() <= guess_.ids.size() && tokens.back().id == guess_.ids[tokens.size() - 1]);
  return tokens;
}

std::vector<Token> Guessing::accept_drawn(const array& logits, const Choosing& choosing) {
  array p = mx::contiguous(choosing.probabilities(logits, guess_.ids));
  p.eval();
  std::vector<std::vector<float>> target;
  for (std::int64_t i = 0, V = p.shape(1); i < p.shape(0); ++i)
    target.emplace_back(p.data<float>() + i * V, p.data<float>() + (i + 1) * V);
  Verdict verdict = verify(target, guess_, uniform_);
  std::vector<Token> tokens;
  for (int i = 0; i <= verdict.accepted; ++i)
    tokens.push_back(
        choosing.take(i < verdict.accepted ? guess_.ids[i] : verdict.next, row_of(logits, i)));
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
    speculation_->consumed(fed_,
                           mx::slice(hidden, {0, 0, 0}, {1, int(fed_.size()), hidden.shape(2)}));
    fed_ = {next_};
  }
  mark_ = nullptr;
  guess_ = {};
}

}  // namespace mlxcpp::lm::detail
