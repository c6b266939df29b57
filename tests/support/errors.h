// Messages of errors that a call throws.
#pragma once

#include <string>

namespace mlxcpp::test {

/// The message of the E that `call` throws, or "no error".  Another exception fails the test.
template <class E, class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace mlxcpp::test
