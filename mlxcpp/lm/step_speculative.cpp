// Stepper with guesses: one pass over the last token and what may follow it.
#include "mlxcpp/lm/detail/guessing.h"
#include "mlxcpp/lm/detail/memory.h"
#include "mlxcpp/lm/step.h"

#include <mlx/memory.h>
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
    guessing_->chosen(ready_.back().id);
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
  if (guessing_->guesses()) {
    auto all = cache_->caches.arrays();
    all.push_back(scores);
    mx::eval(all);
    auto tokens = guessing_->accept(scores, row_);
    guessing_->settle(*cache_, h);
    ready_.assign(tokens.begin(), tokens.end());
  } else {  // as fast as a step that can not guess
    Sampled sampled = sample(scores);
    mx::eval(to_evaluate(sampled));
    cache_->ids.insert(cache_->ids.end(), fed.begin(), fed.end());
    guessing_->consumed(fed, h);
    ready_.push_back(take(sampled));
    guessing_->chosen(ready_.back().id);
  }
  times_.add(length,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  if (++steps_ % detail::kClearEvery == 0) mx::clear_cache();
}

}  // namespace mlxcpp::lm
