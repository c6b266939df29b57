// Runs the tests of a benchmark on a loaded model.
#pragma once

#include "apps/bench/cases.h"
#include "mlxcpp/lm/model.h"

#include <functional>
#include <memory>
#include <vector>

namespace mlxcpp::apps::bench {

/// Ids are made up: what a token is does not matter for how long it takes.
class Runner {
 public:
  /// Prompts are fed in passes of `chunk` tokens.
  Runner(std::shared_ptr<const lm::LanguageModel> model, int chunk);

  using Progress = std::function<void(int done, int total)>;

  /// Brings the caches to what a case begins with.  Depths may only grow.
  void prepare(const Case& c, const Progress& progress = {});
  /// Seconds that the case takes, or its first `tokens`.  The caches are as before afterwards.
  double run(const Case& c, int tokens, const Progress& progress = {});

 private:
  void feed(lm::Caches& caches, int tokens, bool want_logits, const Progress& progress);
  void decode(lm::Caches& caches, int rows, int tokens, const Progress& progress);
  array next_ids(int rows, int tokens);

  std::shared_ptr<const lm::LanguageModel> model_;
  int chunk_;
  lm::Caches row_;                    // one row of the depth that was prepared last
  std::unique_ptr<lm::Caches> rows_;  // as many rows of it as the case has, if more than one
  unsigned state_ = 1;                // of the made-up ids
};

}  // namespace mlxcpp::apps::bench
