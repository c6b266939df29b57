// The command `mlxcpp`: reads the command line, runs a verb, and turns what happens into an exit
// code.
#include "apps/common/clock.h"
#include "apps/common/edge.h"
#include "apps/common/interrupt.h"
#include "apps/common/output.h"
#include "apps/common/spelling.h"
#include "apps/verbs.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/device.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::apps {
namespace {

std::string version_line() {
  return fmt::format(
      "mlxcpp {} (MLX {}, {})", MLXCPP_VERSION, ops::mlx_version(), ops::device_name());
}

const CLI::App* find_verb(const CLI::App& command, const std::string& name) {
  for (auto* app : command.get_subcommands([](const CLI::App*) { return true; }))
    if (app->get_name() == name) return app;
  return nullptr;
}

Verb add_help(CLI::App& command) {
  auto* app = command.add_subcommand("help", "Explain a verb");
  auto verb = std::make_shared<std::string>();
  app->add_option("verb", *verb, "Which one")->type_name("VERB");
  return {app, [verb, &command] {
            auto* of = find_verb(command, *verb);
            if (!of && !verb->empty()) throw InputError(unknown_verb(command, *verb));
            print(of ? of->help("mlxcpp") : command.help("", CLI::AppFormatMode::All));
            return kExitDone;
          }};
}

class Command {
 public:
  Command() : app_("Runs MLX language models.", "mlxcpp") {
    app_.require_subcommand(0, 1);
    app_.get_formatter()->column_width(32);
    app_.set_version_flag("--version", [] { return version_line(); });
    app_.footer("`mlxcpp help VERB` explains a verb.");
    for (auto* add : {add_generate,
                      add_chat,
                      add_batch,
                      add_cache_prompt,
                      add_info,
                      add_tokenize,
                      add_models,
                      add_logits,
                      add_perplexity,
                      add_fuse,
                      add_bench,
                      add_completion,
                      add_help})
      verbs_.push_back(add(app_));
  }

  int run(int argc, char** argv) {
    // CLI11 would call an unknown verb an unexpected argument.
    if (argc > 1 && argv[1][0] != '-' && !find_verb(app_, argv[1]))
      throw InputError(unknown_verb(app_, argv[1]));
    try {
      app_.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
      print(app_.help());
      return kExitDone;
    } catch (const CLI::CallForVersion& e) {
      print(std::string(e.what()) + "\n");
      return kExitDone;
    } catch (const CLI::ParseError& e) {
      throw InputError(usage_error(app_, e.what()));
    }
    for (auto& verb : verbs_)
      if (verb.app->parsed()) return verb.run();
    note(app_.help());
    return kExitUsage;
  }

 private:
  CLI::App app_;
  std::vector<Verb> verbs_;
};

int run(int argc, char** argv) {
  bool json = false;
  for (int i = 1; i < argc; ++i) json |= std::strcmp(argv[i], "--json") == 0;
  return at_the_edge([&] { return Command().run(argc, argv); }, json);
}

}  // namespace
}  // namespace mlxcpp::apps

int main(int argc, char** argv) {
  mlxcpp::apps::start_clock();
  mlxcpp::apps::prepare_standard_files();
  mlxcpp::apps::watch_interrupts();
  return mlxcpp::apps::run(argc, argv);
}
