// Stepper with guesses: one pass over the last token and what may follow it.
#include "mlxcpp/lm/detail/feed.h"
#include "mlxcpp/lm/detail/memory.h"
#include "mlxcpp/lm/step.h"

#include <mlx/memory.h>

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
  detail::Feed feed{cache_.get(), fed, &row_, {}, guessing_.get()};
  auto tokens = detail::feed(*model_, {&feed, 1});
  ready_.assign(tokens[0].begin(), tokens[0].end());
  times_.add(length,
             std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  if (++steps_ % detail::kClearEvery == 0) mx::clear_cache();
}

}  // namespace mlxcpp::lm
