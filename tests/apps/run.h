// Runs the built command as a user does.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace mlxcpp::test {

using Args = std::vector<std::string>;

struct Ran {
  int code = -1;  // the exit code, or 128 + the signal that ended it
  std::string out, err;
};

struct Around {
  std::string input;                       // of standard input
  std::map<std::string, std::string> env;  // on top of the test's own
  std::string output;                      // a file in place of a pipe; "closed": none
  bool reader_leaves = false;              // nobody reads standard output
};

/// A command that runs; ended when it is forgotten.
class Running {
 public:
  explicit Running(const Args& args, const Around& around = {});
  ~Running();
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

  void send(const std::string& input);
  void signal(int number);
  /// Reads until standard output or error has `text`; false after `seconds` or at the end.
  bool wait_for(const std::string& text, double seconds = 60);
  /// Closes its input and reads to its end.  After `seconds` it is ended (and the code is 137).
  Ran finish(double seconds = 120);

 private:
  bool pump(double until);

  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;
  std::string unsent_;
  Ran so_far_;
};

/// args[0] may be a verb of the command, or a program with its path ("/bin/sh").
Ran run(const Args& args, const Around& around = {});

/// The command's path.
std::string command();

/// A small llama in a GGUF file with tokenizer and template: 288 tokens, a context of 128.
std::filesystem::path tiny_model();
/// A copy with another context length.
void write_tiny_model(const std::filesystem::path& to, unsigned context);

}  // namespace mlxcpp::test
