// What was probably meant by a word that is not known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
}

namespace mlxcpp::apps {

/// The known word that is nearest to `word`, or empty when none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

/// Messages for errors of the command line.
std::string unknown_verb(const CLI::App& command, const std::string& verb);
std::string usage_error(const CLI::App& command, const std::string& message);

}  // namespace mlxcpp::apps
