#include "apps/common/edge.h"

#include "apps/common/output.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"

#include <string>

namespace mlxcpp::apps {
namespace {

/// Errors are one line, whatever a library put into them.
std::string one_line(std::string_view text) {
  std::string line;
  for (char c : text) {
    if (c == '\n' || c == '\r' || c == '\t') c = ' ';
    if (c == ' ' && line.ends_with(' ')) continue;
    line += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  while (line.ends_with(' ')) line.pop_back();
  return line;
}

int report(ErrorKind kind, std::string_view message, bool json) {
  int code = exit_code(kind);
  report_error(name_of(kind), message, code, json);
  return code;
}

}  // namespace

void report_error(std::string_view kind, std::string_view message, int code, bool json) {
  std::string line = one_line(message);
  if (!json) return note("mlxcpp: error: " + line + "\n");
  io::JsonWriter object;
  object.begin_object().key("error").begin_object();
  object.member("kind", kind).member("message", line).member("exit_code", code);
  object.end_object().end_object();
  note(object.str() + "\n");
}

int report_current_error(bool json) {
  Failure failure = current_failure();
  return report(failure.kind, failure.message, json);
}

int at_the_edge(const std::function<int()>& verb, bool json) {
  try {
    return verb();
  } catch (const OutputClosed&) {
    return kExitOutputClosed;
  } catch (const Interrupted&) {
    return kExitInterrupted;
  } catch (...) {
    return report_current_error(json);
  }
}

}  // namespace mlxcpp::apps
