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

class Budget {
 public:
  /// What `limit` leaves beside the weights and the scratch memory of a pass over `rows` rows or
  /// `chunk` tokens; limit 0: what the machine has free beside weights that are there already.
  /// Throws CapacityError when that is nothing.
  Budget(const LanguageModel& model, std::uint64_t limit, int rows, int chunk);

  std::uint64_t limit() const { return limit_; }
  std::uint64_t used() const { return used_; }
  bool fits(std::uint64_t bytes) const { return bytes <= limit_ - used_; }
  bool reserve(std::uint64_t bytes);  ///< false, changing nothing, when it does not fit
  void release(std::uint64_t bytes) { used_ -= bytes; }

 private:
  std::uint64_t limit_, used_ = 0;
};

}  // namespace mlxcpp::lm::detail
