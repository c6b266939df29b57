// What a verb says beside its product, and in which form.
#pragma once

namespace CLI {
class App;
}

namespace mlxcpp::apps {

struct Chatter {
  bool json = false, quiet = false, verbose = false, no_progress = false;

  bool progress() const;  ///< bars: only on a terminal
  bool stats() const;     ///< figures after an answer: on a terminal, or where asked for
  /// Sends the library's log to standard error: warnings, and with `verbose` all.
  void attach_log() const;
};

/// --json, --quiet, --verbose, --no-progress.
void add_chatter_flags(CLI::App& app, Chatter& chatter, bool json = true);

}  // namespace mlxcpp::apps
