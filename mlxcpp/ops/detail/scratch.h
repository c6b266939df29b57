// Memory for intermediate numbers of one operation, kept by the thread for the next.
#pragma once

#include <cstddef>

namespace mlxcpp::ops::detail {

/// So many floats, not initialised; scopes may be nested.  What a thread keeps is bounded: larger
/// memory is given back at the end.
class Scratch {
 public:
  explicit Scratch(std::size_t floats);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  /// The next n of them, aligned to 64 bytes; 16 more than asked for are used up.
  float* take(std::size_t n);

 private:
  float* next_;
};

}  // namespace mlxcpp::ops::detail
