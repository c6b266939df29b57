#include "mlxcpp/base/error.h"

namespace mlxcpp {

int exit_code(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::internal: return 1;
    case ErrorKind::input: return 2;
    case ErrorKind::unsupported: return 3;
    case ErrorKind::config:
    case ErrorKind::weight:
    case ErrorKind::tokenizer: return 4;
    case ErrorKind::io: return 5;
    case ErrorKind::capacity: return 6;
  }
  return 1;
}

std::string_view name_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::internal: return "internal";
    case ErrorKind::input: return "input";
    case ErrorKind::unsupported: return "unsupported";
    case ErrorKind::config: return "config";
    case ErrorKind::weight: return "weight";
    case ErrorKind::tokenizer: return "tokenizer";
    case ErrorKind::io: return "io";
    case ErrorKind::capacity: return "capacity";
  }
  return "internal";
}

std::string describe(std::string_view where,
                     std::string_view wrong,
                     std::string_view expected,
                     std::string_view found,
                     std::string_view hint) {
  std::string out(where);
  auto add = [&out](std::string_view glue, std::string_view part) {
    if (!part.empty()) out.append(glue).append(part);
  };
  add(": ", wrong);
  add("; expected ", expected);
  add(expected.empty() ? "; found " : ", found ", found);
  add("; try ", hint);
  return out;
}

}  // namespace mlxcpp
