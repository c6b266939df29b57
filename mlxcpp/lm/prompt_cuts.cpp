#include "mlxcpp/lm/prompt_cuts.h"

#include "mlxcpp/base/error.h"

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

class Cutter {
 public:
  Cutter(const text::Tokenizer& tokenizer, const text::ChatOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  CutPrompt cut(Messages messages) {
    text_ = tokenizer_.apply_chat_template(text::to_json(messages), options_);
    whole_ = tokenizer_.encode_full(text_, false);
    CutPrompt prompt{whole_.ids, {}};
    if (prompt.ids.empty()) return prompt;
    auto add = [&](std::size_t n, const char* next_role, PromptKind kind) {
      if (n == 0) return;
      std::size_t tokens = std::min(survives(messages.first(n), next_role), whole_.ids.size() - 1);
      std::size_t before = prompt.cuts.empty() ? 0 : prompt.cuts.back().tokens;
      if (tokens > before) prompt.cuts.push_back({tokens, kind});
    };
    auto begin = messages.begin(), end = messages.end();
    add(std::size_t(std::find_if_not(begin, end, instructs) - begin), "user", PromptKind::system);
    std::size_t question = last_index(messages, asks), last = last_index(messages, is_input);
    if (question < last) add(question, "assistant", PromptKind::user);
    add(last, "assistant", PromptKind::user);
    return prompt;
  }

 private:
  /// The count of messages up to the last one that is such.
  static std::size_t last_index(Messages messages, bool (*is)(const text::ChatMessage&)) {
    std::size_t n = messages.size();
    while (n > 0 && !is(messages[n - 1])) --n;
    return n;
  }

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
};

}  // namespace

CutPrompt cut_prompt(const text::Tokenizer& tokenizer,
                     Messages messages,
                     const text::ChatOptions& options) {
  return Cutter(tokenizer, options).cut(messages);
}

}  // namespace mlxcpp::lm
