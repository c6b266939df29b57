// Which of the waiting prompts is computed next.  Pure decisions on numbers.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

namespace mlxcpp::lm::detail {

/// A prompt that waits, as far as this matters.
struct Waiting {
  int left;       // tokens that must still be computed
  bool begun;     // it has its memory
  bool fits;      // ... or there is enough left for it
  int overtaken;  // how many later ones began before it
  int passed;     // turns of others since it came, or since its own last one
};

/// Of prompts in the order of their arrival: the one with the fewest tokens left, so that a short
/// one never waits for a long one to end; but the first one lets at most three turns pass, so that
/// a long one is never starved, and what comes beside it is not made to wait.  One that does not
/// fit is passed over, until it has been overtaken too often: then no other one begins.  Nothing:
/// none can go on.
std::optional<std::size_t> next_prompt(std::span<const Waiting> prompts);

}  // namespace mlxcpp::lm::detail
