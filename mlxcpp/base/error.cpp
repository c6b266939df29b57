#include "mlxcpp/base/error.h"

#include <exception>
#include <new>

namespace mlxcpp {
namespace {

/// MLX has no type for it.
bool is_out_of_memory(std::string_view message) {
  return message.find("Unable to allocate") != message.npos ||
         message.find("maximum allowed buffer size") != message.npos;
}

}  // namespace

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

Failure current_failure() {
  try {
    throw;
  } catch (const Error& e) {
    return {e.kind(), e.what()};
  } catch (const std::bad_alloc&) {
    return {ErrorKind::capacity, "out of memory"};
  } catch (const std::exception& e) {
    return {is_out_of_memory(e.what()) ? ErrorKind::capacity : ErrorKind::internal, e.what()};
  } catch (...) {
    return {ErrorKind::internal, "an exception of no known type"};
  }
}

void rethrow(const Failure& f) {
  switch (f.kind) {
    case ErrorKind::input: throw InputError(f.message);
    case ErrorKind::unsupported: throw UnsupportedError(f.message);
    case ErrorKind::config: throw ConfigError(f.message);
    case ErrorKind::weight: throw WeightError(f.message);
    case ErrorKind::tokenizer: throw TokenizerError(f.message);
    case ErrorKind::io: throw IoError(f.message);
    case ErrorKind::capacity: throw CapacityError(f.message);
    case ErrorKind::internal: break;
  }
  throw Error(ErrorKind::internal, f.message);
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
