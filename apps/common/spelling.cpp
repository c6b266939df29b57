#include "apps/common/spelling.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/strings.h"

#include <CLI/CLI.hpp>

#include <algorithm>

namespace mlxcpp::apps {
namespace {

const CLI::App& chosen(const CLI::App& command) {
  auto verbs = command.get_subcommands();
  return verbs.empty() ? command : *verbs.front();
}

std::vector<std::string> flag_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (auto* option : app.get_options())
    for (auto& name : option->get_lnames()) names.push_back("--" + name);
  return names;
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 64) return {};
  std::string best;
  std::size_t least = std::max<std::size_t>(1, word.size() / 3) + 1;
  for (auto& name : known) {
    bool begun = word.size() >= 2 && name.starts_with(word);
    std::size_t d = begun ? 0 : edit_distance(word, name);
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
  std::string help = &app == &command ? "mlxcpp help" : "mlxcpp help " + where;
  auto rest = command.remaining(true);
  if (rest.empty()) return describe(where, message, {}, {}, help);
  auto flag = std::find_if(
      rest.begin(), rest.end(), [](const std::string& word) { return word.starts_with("-"); });
  if (flag == rest.end())
    return describe(where, "unexpected argument", {}, "'" + rest.front() + "'", help);
  std::string name = flag->substr(0, flag->find('='));
  std::string meant = nearest(name, flag_names(app));
  return describe(where, "unknown option " + name, {}, {}, meant.empty() ? help : meant);
}

}  // namespace mlxcpp::apps
