// Parses JSON into a tree under our rules.  Private to the sources that see the JSON library.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <string_view>

namespace mlxcpp::io::detail {

struct JsonTree {
  nlohmann::json root;
  // Python writes NaN and Infinity, which are not JSON.  In the tree they are the strings below;
  // only a document that has some is searched for them.
  bool has_non_finite = false;
};

inline constexpr std::string_view kInfinity{"\0", 1};
inline constexpr std::string_view kMinusInfinity{"\0-", 2};
inline constexpr std::string_view kNan{"\x7F", 1};

/// Throws ConfigError opening with `label`: bad syntax (line and column), a key given twice in one
/// object (its path), deeper than 64 levels.
JsonTree parse_json(std::string_view text, const std::string& label);

}  // namespace mlxcpp::io::detail
