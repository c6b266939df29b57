// A conversation: its messages, and the cache that spares computing them again.
#pragma once

#include "mlxcpp/lm/factory.h"
#include "mlxcpp/text/messages.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::lm {

struct SessionOptions {
  std::string system;  // empty: none
  GenerateOptions generate;
  std::string
      template_json;  // a JSON object for the chat template, such as {"enable_thinking": false}
  std::shared_ptr<CachedPrompt> cache = {};  // of an earlier conversation; absent: a fresh one
};

/// ask(), then next() until it gives nothing.  The conversation is rendered by the chat template as
/// a whole each time, so that reasoning of earlier answers is dropped as the template wants; what
/// the cache holds of it is not computed again.  Belongs to one thread, except cancel().
class ChatSession {
 public:
  /// Throws TokenizerError when the model has no chat template.
  ChatSession(ModelContext context, SessionOptions options = {});
  ChatSession(ChatSession&&) noexcept;
  ~ChatSession();

  /// Starts an answer.  Throws InputError when the conversation no longer fits the context; it is
  /// then as it was.
  void ask(std::string_view user);
  /// The next piece of the answer; nothing after its end.  An answer that was cut short stays in
  /// the conversation as far as it came; a question without any answer is taken back.
  std::optional<Event> next();
  void cancel();

  void reset();  ///< forgets all but the system message
  void set_system(std::string text);
  GenerateOptions& options();

  const std::vector<text::ChatMessage>& messages() const;  ///< without the system message
  const std::string& system() const;
  const CachedPrompt& cache() const;  ///< what was computed, between answers

  /// The conversation as JSON, and back.  Throws ConfigError when it is not of that form; the
  /// session is then as it was.
  std::string to_json() const;
  void restore(std::string_view json);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mlxcpp::lm
