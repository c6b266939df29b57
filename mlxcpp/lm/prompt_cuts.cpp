#include "mlxcpp/lm/prompt_cuts.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace mlxcpp::lm {
namespace {

using Messages = std::span<const text::ChatMessage>;

template <class Range>
std::size_t shared(const Range& a, const Range& b) {
  return std::size_t(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

bool instructs(const text::ChatMessage& m) { return m.role == "system" || m.role == "developer"; }
bool asks(const text::ChatMessage& m) { return m.role == "user"; }
bool is_input(const text::ChatMessage& m) { return m.role == "user" || m.role == "tool"; }

/// A rendered conversation, to be cut where the templates' other renderings begin the same.
class Cutter {
 public:
  Cutter(const text::Tokenizer& tokenizer,
         const text::ChatOptions& options,
         const std::string& messages_json)
      : tokenizer_(tokenizer),
        options_(options),
        text_(tokenizer.apply_chat_template(messages_json, options)),
        whole_(tokenizer.encode_full(text_, false)),
        prompt_{whole_.ids, {}} {}

  /// Cuts after the messages, where a message of that role may follow.
  void add(Messages messages, const char* next_role, PromptKind kind) {
    if (messages.empty() || whole_.ids.empty()) return;
    std::size_t tokens = std::min(survives(messages, next_role), whole_.ids.size() - 1);
    std::size_t before = prompt_.cuts.empty() ? 0 : prompt_.cuts.back().tokens;
    if (tokens > before) prompt_.cuts.push_back({tokens, kind});
  }
  CutPrompt take() { return std::move(prompt_); }

 private:
  /// Tokens of the prompt that stay whatever message follows the given ones: two that begin
  /// differently are tried.
  std::size_t survives(Messages messages, const char* role) const {
    std::size_t tokens = whole_.ids.size();
    for (const char* content : {"A", "b"}) {
      auto n = common(messages, role, content);
      if (!n) return 0;
      tokens = std::min(tokens, *n);
    }
    return tokens;
  }

  std::optional<std::size_t> common(Messages messages,
                                    const char* role,
                                    const char* content) const {
    std::vector<text::ChatMessage> probe(messages.begin(), messages.end());
    probe.push_back({.role = role, .content = content});
    auto options = options_;
    options.add_generation_prompt = options.continue_final_message = false;
    std::string other;
    try {
      other = tokenizer_.apply_chat_template(text::to_json(probe), options);
    } catch (const InputError&) {  // a template that wants other roles to follow
      return {};
    }
    std::size_t letters = shared(text_, other);
    if (auto n = special_before(letters)) return n;
    return shared(whole_.ids, tokenizer_.encode(other, false));
  }

  /// Tokens up to a special one that ends shortly before the letter: text is cut there before it is
  /// encoded, so that what follows has no part in what is before.
  std::optional<std::size_t> special_before(std::size_t letter) const {
    constexpr std::size_t kNear = 16;  // tokens
    auto end = std::partition_point(
        whole_.offsets.begin(), whole_.offsets.end(), [&](auto& o) { return o.end <= letter; });
    auto n = std::size_t(end - whole_.offsets.begin());
    for (std::size_t i = n; i > 0 && i + kNear > n; --i)
      if (tokenizer_.is_special(whole_.ids[i - 1])) return i;
    return {};
  }

  const text::Tokenizer& tokenizer_;
  text::ChatOptions options_;
  std::string text_;
  text::Encoding whole_;
  CutPrompt prompt_;
};

/// The count of messages up to the last one that is such.
std::size_t last_index(Messages messages, bool (*is)(const text::ChatMessage&)) {
  std::size_t n = messages.size();
  while (n > 0 && !is(messages[n - 1])) --n;
  return n;
}

Messages leading_instructions(Messages messages) {
  auto end = std::find_if_not(messages.begin(), messages.end(), instructs);
  return messages.first(std::size_t(end - messages.begin()));
}

/// Those that a list of any messages begins with.
std::vector<text::ChatMessage> read_instructions(const std::string& messages_json) {
  std::vector<text::ChatMessage> read;
  auto whole = io::Fields::parse("{\"messages\": " + messages_json + "}", "messages");
  if (whole.type("messages") != io::JsonType::list) return read;
  for (auto& f : whole.objects("messages")) {
    text::ChatMessage m;
    bool plain =
        f.type("role") == io::JsonType::string && f.type("content") == io::JsonType::string;
    if (plain) f.need("role", &m.role).need("content", &m.content);
    if (!plain || !instructs(m)) break;
    read.push_back(std::move(m));
  }
  return read;
}

}  // namespace

CutPrompt cut_prompt(const text::Tokenizer& tokenizer,
                     Messages messages,
                     const text::ChatOptions& options) {
  Cutter cutter(tokenizer, options, text::to_json(messages));
  cutter.add(leading_instructions(messages), "user", PromptKind::system);
  std::size_t question = last_index(messages, asks), last = last_index(messages, is_input);
  if (question < last) cutter.add(messages.first(question), "assistant", PromptKind::user);
  cutter.add(messages.first(last), "assistant", PromptKind::user);
  return cutter.take();
}

CutPrompt cut_system_prompt(const text::Tokenizer& tokenizer,
                            const std::string& messages_json,
                            const text::ChatOptions& options) {
  Cutter cutter(tokenizer, options, messages_json);
  cutter.add(read_instructions(messages_json), "user", PromptKind::system);
  return cutter.take();
}

}  // namespace mlxcpp::lm
