// `mlxcpp completion`: a script for the shell, made from the command line's own description.
#include "apps/common/edge.h"
#include "apps/common/output.h"
#include "apps/verbs.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

namespace mlxcpp::apps {
namespace {

struct Flag {
  std::vector<std::string> spellings;  // "-m", "--max-tokens"
  std::string help, value;             // value: what it takes; empty: nothing
};
struct Word {
  std::string name, help;
  std::vector<Flag> flags;
};

/// Shells take the help as one word in single quotes; zsh reads brackets and colons.
std::string quotable(const std::string& text) {
  std::string out;
  for (char c : text.substr(0, text.find('\n')))
    if (std::string("'\"`$\\[]:").find(c) == std::string::npos) out += c;
  return out;
}

std::vector<Flag> flags_of(const CLI::App& app) {
  std::vector<Flag> flags;
  for (const CLI::Option* option : app.get_options()) {
    Flag flag{.help = quotable(option->get_description())};
    for (auto& name : option->get_snames()) flag.spellings.push_back("-" + name);
    for (auto& name : option->get_lnames()) flag.spellings.push_back("--" + name);
    if (flag.spellings.empty()) continue;  // a bare argument
    if (option->get_items_expected_max() > 0) {
      flag.value = option->get_type_name();
      if (flag.value.empty()) flag.value = "VALUE";
    }
    flags.push_back(std::move(flag));
  }
  return flags;
}

std::vector<Word> verbs_of(const CLI::App& command) {
  std::vector<Word> verbs;
  for (const CLI::App* app : command.get_subcommands([](const CLI::App*) { return true; }))
    verbs.push_back({app->get_name(), quotable(app->get_description()), flags_of(*app)});
  return verbs;
}

std::string spellings(const std::vector<Flag>& flags) {
  std::string out;
  for (auto& flag : flags)
    for (auto& name : flag.spellings) out += (out.empty() ? "" : " ") + name;
  return out;
}

std::string bash(const CLI::App& command) {
  auto verbs = verbs_of(command);
  std::string names, cases;
  for (auto& verb : verbs) {
    names += verb.name + " ";
    cases += fmt::format("    {}) words='{}' ;;\n", verb.name, spellings(verb.flags));
  }
  return fmt::format(R"(# bash completion of mlxcpp.  Use:  source <(mlxcpp completion bash)
_mlxcpp() {{
  local word=${{COMP_WORDS[COMP_CWORD]}} words=
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W '{}{}' -- "$word"))
    return
  fi
  case ${{COMP_WORDS[1]}} in
    help) words='{}' ;;
    completion) words='bash zsh fish' ;;
{}  esac
  case $word in
    -*) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
    *)
      case ${{COMP_WORDS[1]}} in
        help|completion) COMPREPLY=($(compgen -W "$words" -- "$word")) ;;
        *) COMPREPLY=($(compgen -f -- "$word")) ;;
      esac ;;
  esac
}}
complete -o filenames -F _mlxcpp mlxcpp
)",
                     names,
                     spellings(flags_of(command)),
                     names,
                     cases);
}

std::string zsh(const CLI::App& command) {
  std::string verbs, cases;
  for (auto& verb : verbs_of(command)) {
    verbs += fmt::format("    '{}:{}'\n", verb.name, verb.help);
    if (verb.flags.empty()) continue;
    cases += fmt::format("    {})\n      _arguments", verb.name);
    for (auto& flag : verb.flags)
      for (auto& name : flag.spellings)
        cases +=
            fmt::format(" \\\n        '{}[{}]{}'",
                        name,
                        flag.help,
                        flag.value.empty() ? "" : fmt::format(":{}:_files", quotable(flag.value)));
    cases += " \\\n        '*:file:_files' ;;\n";
  }
  return fmt::format(R"(#compdef mlxcpp
# zsh completion of mlxcpp.  Use:  mlxcpp completion zsh > ~/.zfunc/_mlxcpp  with ~/.zfunc in fpath
_mlxcpp() {{
  local -a verbs
  verbs=(
{}  )
  if (( CURRENT == 2 )); then
    _describe verb verbs
    return
  fi
  local verb=${{words[2]}}
  shift words
  (( CURRENT-- ))
  case $verb in
{}  esac
}}
compdef _mlxcpp mlxcpp
)",
                     verbs,
                     cases);
}

std::string fish(const CLI::App& command) {
  std::string out =
      "# fish completion of mlxcpp.  Use:  mlxcpp completion fish | source\n"
      "complete -c mlxcpp -n __fish_use_subcommand -f\n";
  for (auto& verb : verbs_of(command)) {
    out += fmt::format(
        "complete -c mlxcpp -n __fish_use_subcommand -a {} -d '{}'\n", verb.name, verb.help);
    for (auto& flag : verb.flags) {
      out += fmt::format("complete -c mlxcpp -n '__fish_seen_subcommand_from {}'", verb.name);
      for (auto& name : flag.spellings)
        out += name.starts_with("--") ? " -l " + name.substr(2) : " -s " + name.substr(1);
      out += fmt::format("{} -d '{}'\n", flag.value.empty() ? "" : " -r", flag.help);
    }
  }
  out += "complete -c mlxcpp -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n";
  return out;
}

}  // namespace

Verb add_completion(CLI::App& command) {
  auto* app = command.add_subcommand("completion", "Print a completion script for a shell");
  auto shell = std::make_shared<std::string>();
  app->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  return {
      app, [shell, &command] {
        print(*shell == "bash" ? bash(command) : *shell == "zsh" ? zsh(command) : fish(command));
        return kExitDone;
      }};
}

}  // namespace mlxcpp::apps
