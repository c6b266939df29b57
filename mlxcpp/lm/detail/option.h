// Checks of option values.
#pragma once

#include "mlxcpp/base/error.h"

#include <sstream>
#include <string_view>

namespace mlxcpp::lm::detail {

/// Throws InputError unless `ok`, which must be written so that NaN makes it false.
template <class T>
void require(bool ok, std::string_view option, std::string_view expected, const T& value) {
  if (ok) return;
  std::ostringstream found;
  found << value;
  throw InputError(describe(option, "bad value", expected, found.str()));
}

}  // namespace mlxcpp::lm::detail
