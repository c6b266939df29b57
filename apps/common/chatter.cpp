#include "apps/common/chatter.h"

#include "apps/common/output.h"
#include "mlxcpp/base/log.h"

#include <CLI/CLI.hpp>

#include <string>

namespace mlxcpp::apps {

bool Chatter::progress() const { return !quiet && !no_progress && chatter_is_terminal(); }

bool Chatter::stats() const { return verbose || (!quiet && !json && chatter_is_terminal()); }

void Chatter::attach_log() const {
  if (quiet) return;
  set_log_sink([verbose = verbose](LogLevel level, std::string_view message) {
    if (level != LogLevel::warning && !verbose) return;
    std::string line = level == LogLevel::warning ? "mlxcpp: warning: " : "mlxcpp: ";
    note(line.append(message) + "\n");
  });
}

void add_chatter_flags(CLI::App& app, Chatter& chatter, bool json) {
  constexpr const char* kGroup = "Output";
  if (json) app.add_flag("--json", chatter.json, "Results and errors as JSON")->group(kGroup);
  auto* quiet =
      app.add_flag("-q,--quiet", chatter.quiet, "No figures, bars or warnings")->group(kGroup);
  app.add_flag("-v,--verbose",
               chatter.verbose,
               "Figures on standard error, also when that is no terminal")
      ->group(kGroup)
      ->excludes(quiet);
  app.add_flag("--no-progress", chatter.no_progress, "No progress bars")->group(kGroup);
}

}  // namespace mlxcpp::apps
