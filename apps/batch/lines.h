// The lines of `mlxcpp batch`: prompts in, answers out, both as JSON.
#pragma once

#include "apps/common/generation.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/batch.h"
#include "mlxcpp/lm/factory.h"

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::apps {

/// Lines of a file, or of standard input.
class LineSource {
 public:
  /// "-": standard input.  Throws IoError when the file can not be read.
  explicit LineSource(const std::string& path);

  struct Line {
    std::size_t number;  // from 1, blank lines counted
    std::string text;
  };
  /// The next line that is not blank.  Throws InputError for one beyond the limit, Interrupted.
  std::optional<Line> next();
  /// How many there are; nothing for standard input.
  std::optional<std::size_t> count() const { return count_; }

 private:
  std::optional<std::string_view> next_raw();

  std::shared_ptr<const void> file_;  // keeps `rest_`
  std::string_view rest_;
  std::string from_input_;
  std::size_t number_ = 0;
  std::optional<std::size_t> count_;
  bool input_;
};

/// What every line has unless it says otherwise.
struct LineDefaults {
  GenerationFlags flags;
  std::string system_prompt;  // of lines with a prompt
  bool ignore_chat_template = false, logprobs = false;
  bool cuts = true;  // prompts are cut after their system messages
};

struct PromptLine {
  std::size_t number;
  std::string id;  // as JSON; empty: none
  lm::Request request;
};

/// {"prompt": text} or {"messages": [...]}, with "id" (a string or an integer), "tools" and the
/// generation flags by their names with "_" for "-".  Throws InputError naming the key.
PromptLine parse_line(const LineSource::Line& line,
                      const LineDefaults& defaults,
                      const lm::ModelContext& context);
/// The id alone, as JSON, of a line that may be wrong otherwise; empty: none.
std::string id_of(const std::string& text);

/// What came of a line.
struct LineAnswer {
  std::size_t number = 0;
  std::string id;
  lm::Generated answer;
  std::vector<std::optional<float>> logprobs;  // where they were asked for
  std::string stop_string;
  std::optional<Failure> failure;
};
/// One line, with its end: {"line", "id", "text", "stop", ...} or {"line", "id", "error": {...}}.
std::string to_line(const LineAnswer& answer, bool logprobs);

}  // namespace mlxcpp::apps
