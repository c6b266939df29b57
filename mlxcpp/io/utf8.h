// UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mlxcpp::io {

/// Length in bytes of the well-formed beginning; text.size() when all of it is UTF-8.
std::size_t utf8_prefix(std::string_view text);

bool is_utf8(std::string_view text);

/// Each maximal ill-formed part replaced by U+FFFD, as Python's errors="replace".
std::string to_valid_utf8(std::string_view text);

}  // namespace mlxcpp::io
