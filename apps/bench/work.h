// How much a test has to read and to multiply, whatever computes it.
#pragma once

#include "apps/bench/cases.h"
#include "mlxcpp/lm/model.h"

#include <cstddef>
#include <cstdint>

namespace mlxcpp::apps::bench {

/// Bytes that must come from memory, and multiply-adds, of a whole test.
struct Work {
  double bytes = 0, products = 0;
};

/// What the model's parameters and caches come to.
class Workload {
 public:
  /// `heads`: of queries, 0 where that is not known (attention then multiplies nothing);
  /// `experts`: how many of them a token uses, 0 for all.
  Workload(const lm::LanguageModel& model, int heads, int experts);

  /// Parameters of all experts and tables, in memory.
  std::uint64_t weight_bytes() const { return weight_bytes_; }
  /// What one pass of so many tokens reads of them: an embedding table that is not the head is
  /// looked up, not read, and of experts only those that tokens use.
  double read_by_pass(int tokens) const;
  /// Keys and values of one row that holds so many tokens.
  double cache_bytes(int tokens) const;

  /// A prompt is fed in passes of `chunk` tokens, whose last alone is asked for: behind its keys
  /// and values the last layer can leave out the others.
  Work of(const Case& c, int chunk) const;

 private:
  double products_of_token() const { return dense_products_ + expert_products_; }
  double attention_products(int keys, std::size_t layers) const;  // of one query

  std::uint64_t weight_bytes_ = 0;
  double dense_bytes_ = 0, expert_bytes_ = 0, expert_share_ = 1;
  double dense_products_ = 0, expert_products_ = 0, head_products_ = 0;
  double last_products_ = 0;  // of those what a token that nobody asks for does not take
  lm::CacheLayout layout_;
  int heads_;
};

}  // namespace mlxcpp::apps::bench
