// The memory that caches may take, handed out before it is used.
#pragma once

#include "mlxcpp/lm/caches.h"

#include <cstdint>

namespace mlxcpp::lm {
class LanguageModel;
}

namespace mlxcpp::lm::detail {

/// An upper estimate of what the caches of one row take after so many tokens, in bytes.
std::uint64_t cache_bytes(const CacheLayout& layout, const CacheOptions& options, int tokens);
/// The longest extent of any parameter but the vocabulary.
std::uint64_t widest(const LanguageModel& model);

class Budget {
 public:
  /// What `limit` leaves beside the weights and the scratch memory of a pass over `rows` rows or
  /// `chunk` tokens; limit 0: what the machine has free beside weights that are there already.
  /// Throws CapacityError when that is nothing.
  Budget(const LanguageModel& model, std::uint64_t limit, int rows, int chunk);

  /// What a draft model takes beside the caches of its rows: a pass over `chunk` tokens and, as of
  /// the model itself, weights that are not there already.
  std::uint64_t draft_bytes(const LanguageModel& draft, int chunk) const;

  std::uint64_t limit() const { return limit_; }
  std::uint64_t used() const { return used_; }
  bool fits(std::uint64_t bytes) const { return bytes <= limit_ - used_; }
  bool reserve(std::uint64_t bytes);  ///< false, changing nothing, when it does not fit
  void release(std::uint64_t bytes) { used_ -= bytes; }

 private:
  bool counts_weights_;
  std::uint64_t limit_, used_ = 0;
};

}  // namespace mlxcpp::lm::detail
