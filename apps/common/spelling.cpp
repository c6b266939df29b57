#include "apps/common/spelling.h"

#include "mlxcpp/base/error.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <numeric>
#include <utility>

namespace mlxcpp::apps {
namespace {

/// Levenshtein's: insertions, deletions and replacements.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0u);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

const CLI::App& chosen(const CLI::App& command) {
  auto verbs = command.get_subcommands();
  return verbs.empty() ? command : *verbs.front();
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 64) return {};
  std::string best;
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (auto& name : known) {
    bool begun = word.size() >= 2 && name.starts_with(word);
    std::size_t d = begun ? 0 : distance(word, name);
    if (d < least) {
      least = d;
      best = name;
    }
  }
  return best;
}

std::string unknown_verb(const CLI::App& command, const std::string& verb) {
  std::vector<std::string> known;
  std::string all;
  for (auto* app : command.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(app->get_name());
    all += (all.empty() ? "" : ", ") + app->get_name();
  }
  std::string meant = nearest(verb, known);
  return describe(verb, "unknown verb", all, {}, "mlxcpp " + (meant.empty() ? "help" : meant));
}

std::string usage_error(const CLI::App& command, const std::string& message) {
  const CLI::App& app = chosen(command);
  std::string where = &app == &command ? "mlxcpp" : app.get_name();
  std::string hint = "mlxcpp " + (&app == &command ? "help" : "help " + where);
  // CLI11's words for an unknown flag end with the flag: "... not expected: --promt".
  auto dashes = message.rfind(": --");
  if (dashes != message.npos) {
    std::string flag =
        message.substr(dashes + 2, message.find_first_of(" =", dashes + 2) - (dashes + 2));
    std::vector<std::string> known;
    for (auto* option : app.get_options())
      for (auto& name : option->get_lnames()) known.push_back("--" + name);
    if (auto meant = nearest(flag, known); !meant.empty()) hint = meant;
  }
  return describe(where, message, {}, {}, hint);
}

}  // namespace mlxcpp::apps
