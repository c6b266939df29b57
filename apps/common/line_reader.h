// Lines from the user: with editing and history on a terminal, as they come otherwise.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

namespace mlxcpp::apps {

class LineReader {
 public:
  /// `history` is read now and kept up to date; only its owner may read it.  Not used without a
  /// terminal.
  explicit LineReader(std::filesystem::path history);
  ~LineReader();

  /// True when a person types: prompts are shown, Ctrl-C at the prompt clears the line.
  bool interactive() const { return editor_ != nullptr; }

  /// The next line without its end; nothing at the end of input (Ctrl-D).  Throws Interrupted only
  /// without a terminal.
  std::optional<std::string> read(const std::string& prompt);

 private:
  struct Editor;
  std::unique_ptr<Editor> editor_;
};

}  // namespace mlxcpp::apps
