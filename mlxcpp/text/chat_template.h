// Chat templates: the Jinja dialect of Hugging Face, rendered as transformers renders it.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace mlxcpp::text {

/// How a conversation is rendered.
struct ChatOptions {
  std::string tools_json{};  // a JSON array in OpenAI's form; empty: no tools
  bool add_generation_prompt = true;
  bool continue_final_message = false;  // excludes add_generation_prompt
  std::string extra_json{};  // a JSON object; its keys are set last and override all others
};

/// What a template gets to know about the model.
struct ChatModel {
  std::string bos_token{}, eos_token{};  // spellings; empty: none
  bool enable_thinking = false;
};

/// A compiled template; a value that shares immutable state.  Const members are thread-safe.
/// Rendering is bounded in work and memory: an endless loop ends in an error.
/// Throws TokenizerError with the template's own message and line, and InputError where the
/// conversation is at fault: it is not JSON, or the template refuses it (raise_exception).
class ChatTemplate {
 public:
  explicit ChatTemplate(std::string_view source);

  /// Renders a JSON array of messages (see messages.h).
  std::string render(std::string_view messages_json,
                     const ChatOptions& options,
                     const ChatModel& model) const;

  /// Renders with the whole context given: a JSON object with messages, tools, bos_token ...
  std::string render_context(std::string_view context_json) const;

  const std::string& source() const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace mlxcpp::text
