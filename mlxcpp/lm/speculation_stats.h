// How guessing went.
#pragma once

namespace mlxcpp::lm {

struct SpeculationStats {
  int passes = 0;                  // that checked a guess
  int proposed = 0, accepted = 0;  // tokens
  double draft_seconds = 0;        // spent on making guesses
};

}  // namespace mlxcpp::lm
