// Errors of the whole library: one base with a kind, and a leaf per kind that adds nothing but a
// type.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace mlxcpp {

enum class ErrorKind { internal, input, unsupported, config, weight, tokenizer, io, capacity };

/// The process exit code for an error of this kind (docs/errors.md has the table).
int exit_code(ErrorKind kind);
/// "config", "weight", ...: for logs and machine-readable output.
std::string_view name_of(ErrorKind kind);

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

template <ErrorKind K>
class ErrorOf : public Error {
 public:
  explicit ErrorOf(const std::string& message) : Error(K, message) {}
};

using InputError = ErrorOf<ErrorKind::input>;              // the caller's request or options
using UnsupportedError = ErrorOf<ErrorKind::unsupported>;  // a model type or feature we do not have
using ConfigError = ErrorOf<ErrorKind::config>;            // config.json and its like
using WeightError = ErrorOf<ErrorKind::weight>;  // missing, extra, misshaped, malformed tensors
using TokenizerError = ErrorOf<ErrorKind::tokenizer>;  // tokenizer files, chat templates
using IoError = ErrorOf<ErrorKind::io>;                // the file system
using CapacityError = ErrorOf<ErrorKind::capacity>;    // memory, queue and cache limits

/// An error as a value, which may go to another thread.
struct Failure {
  ErrorKind kind;
  std::string message;
};
/// Of the exception that is being handled: foreign ones are internal, exhausted memory is capacity.
Failure current_failure();
[[noreturn]] void rethrow(const Failure& failure);  ///< as the ErrorOf its kind

/// "<where>: <wrong>; expected <expected>, found <found>[; try <hint>]"; empty parts are left out.
std::string describe(std::string_view where,
                     std::string_view wrong,
                     std::string_view expected = {},
                     std::string_view found = {},
                     std::string_view hint = {});

}  // namespace mlxcpp
