// Small questions about text that several rooms ask.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace mlxcpp {

/// Levenshtein's: the least number of insertions, deletions and replacements that make b of a.
/// Costs a.size() * b.size() steps: bound what comes from outside.
std::size_t edit_distance(std::string_view a, std::string_view b);

std::string hex(std::uint64_t n);  ///< 16 digits, lower case

}  // namespace mlxcpp
