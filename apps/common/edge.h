// The edge of the program: what a verb throws becomes an exit code and one line on standard error.
#pragma once

#include <functional>
#include <string_view>

namespace mlxcpp::apps {

// Exit codes that are not an ErrorKind's (docs/errors.md).
inline constexpr int kExitDone = 0;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;
inline constexpr int kExitOutputClosed = 141;

/// Nobody reads standard output any more.  No std::exception, so that only the edge catches it.
struct OutputClosed {};
/// The user pressed Ctrl-C.
struct Interrupted {};

/// Runs a verb.  `json`: the error is written as a JSON object.
int at_the_edge(const std::function<int()>& verb, bool json);

/// One line on standard error: "mlxcpp: error: ...", or {"error": {"kind", "message",
/// "exit_code"}}.
void report_error(std::string_view kind, std::string_view message, int code, bool json);

/// The error that is being handled, as the edge would report it; returns its exit code.
int report_current_error(bool json);

}  // namespace mlxcpp::apps
