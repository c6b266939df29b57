// Stepper with guesses: one pass over the last token and what may follow it.
#include "mlxcpp/lm/detail/guessing.h"
#include "mlxcpp/lm/step.h"
#include "mlxcpp/ops/choose.h"

#include <mlx/memory.h>
#include <mlx/ops.h>
#include <mlx/random.h>
#include <mlx/transforms.h>

#include <chrono>
#include <utility>

namespace mlxcpp::lm {

SpeculationStats Stepper::speculation() const {
  return guessing_ ? guessing_->stats() : SpeculationStats{};
}

Token Stepper::next_guessed(int room) {
  if (ready_.empty() && pending_) {  // the first one
    ready_.push_back(take(*std::exchange(pending_, std::nullopt)));
    guessing_->begin(ready_.back().id);
  } else if (ready_.empty()) {
    guess_and_check(room);
  }
  Token token = ready_.front();
  ready_.pop_front();
  last_ = token.id;
  return token;
}

void Stepper::guess_and_check(int room) {
  auto fed = guessing_->propose(cache_->caches, room, times_);
  int length = int(fed.size());
  auto start = std::chrono::steady_clock::now();
  array h = hidden(array(fed.data(), {1, length}, mx::uint32));
  array scores = logits(h, guessing_->asked());
  auto all = cache_->caches.arrays();
  all.push_back(scores);
  mx::eval(all);
  auto tokens = guessing_->accept(scores, choosing());
  guessing_->settle(*cache_, h);
  ready_.assign(tokens.begin(), tokens.end());
  times_.add(length,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  if (++steps_ % 256 == 0) mx::clear_cache();
}

detail::Choosing Stepper::choosing() {
  detail::Choosing how;
  how.best = sample_.temperature == 0 && processors_.empty() && !logprobs_;
  how.sample = [this](const array& x) {
    Sampled s = sample(x);
    std::vector<array> all = {s.id, key_};
    if (s.logprob) all.push_back(*s.logprob);
    mx::eval(all);
    return take(s);
  };
  how.probabilities = [this](const array& x, std::span<const TokenId> guess) {
    std::vector<array> rows;
    auto history = history_;
    for (int i = 0; i < x.shape(0); ++i) {
      rows.push_back(mx::slice(x, {i, 0}, {i + 1, x.shape(1)}));
      for (auto& process : processors_) rows.back() = process(history, rows.back());
      if (i < int(guess.size())) history.push_back(guess[i]);
    }
    auto [key, rest] = mx::random::split(key_);
    key_ = rest;
    key_.eval();
    return distribution(mx::concatenate(rows, 0), sample_, key);
  };
  how.take = [this](TokenId id, const array& x) {
    Token token{id, {}};
    if (logprobs_) {
      array processed = x;
      for (auto& process : processors_) processed = process(history_, processed);
      array at = mx::slice(ops::log_softmax(processed), {0, int(id)}, {1, int(id) + 1});
      token.logprob = at.item<float>();
    }
    history_.push_back(id);
    return token;
  };
  return how;
}

}  // namespace mlxcpp::lm
