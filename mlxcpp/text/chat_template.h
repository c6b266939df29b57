// Chat templates: the Jinja dialect of Hugging Face, rendered as transformers renders it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace mlxcpp::text {

/// A compiled template; a value that shares immutable state.  Const members are thread-safe.
class ChatTemplate {
 public:
  /// Throws TokenizerError with the template's own message and line.
  explicit ChatTemplate(std::string_view source);

  /// Renders with a JSON object as context: messages, tools, add_generation_prompt, bos_token ...
  /// Work and output are bounded: an endless loop ends in an error.  A template's own complaint
  /// (raise_exception) is an InputError, any other failure a TokenizerError.
  std::string render(std::string_view context_json) const;

  const std::string& source() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace mlxcpp::text
