// How many tokens of prompts to feed at once: about a given time's work.
#pragma once

#include "mlxcpp/lm/options.h"

namespace mlxcpp::lm::detail {

class ChunkSize {
 public:
  explicit ChunkSize(const StepOptions& options);
  int value() const { return size_; }
  /// Told of every chunk.  Small ones say little about large ones, so they count only when they
  /// took too long.
  void learn(int tokens, double seconds);

 private:
  int most_;
  double seconds_;  // 0: nothing is learned
  int size_;
};

}  // namespace mlxcpp::lm::detail
