#include "mlxcpp/lm/session.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/lm/step.h"

#include <utility>

namespace mlxcpp::lm {
namespace {

struct SavedMessage {
  std::string role, content, reasoning_content;
  void fields(io::Fields& f) {
    f.need("role", &role).may("content", &content).may("reasoning_content", &reasoning_content);
  }
};

}  // namespace

struct ChatSession::Impl {
  ModelContext context;
  SessionOptions options;
  std::vector<text::ChatMessage> messages;
  std::shared_ptr<CachedPrompt> cache;
  std::optional<TokenStream> stream;
  std::string answer;

  Impl(ModelContext c, SessionOptions o) : context(std::move(c)), options(std::move(o)) {
    if (!context.tokenizer().has_chat_template())
      throw TokenizerError(
          describe("chat template", "missing", "a chat template beside the tokenizer", "none"));
    cache = options.cache
                ? options.cache
                : std::make_shared<CachedPrompt>(context.model(), cache_options(options.generate));
  }

  std::vector<TokenId> prompt_for(const text::ChatMessage& question) const {
    std::vector<text::ChatMessage> all;
    if (!options.system.empty()) all.push_back({.role = "system", .content = options.system});
    all.insert(all.end(), messages.begin(), messages.end());
    all.push_back(question);
    return context.apply_chat_template_ids(text::to_json(all),
                                           {.extra_json = options.template_json});
  }

  /// Takes what was answered into the conversation.
  void close() {
    if (!stream) return;
    stream.reset();
    std::string text = std::exchange(answer, {});
    if (text.empty()) {
      messages.pop_back();
      return;
    }
    text::ChatMessage message{.role = "assistant", .content = text};
    if (auto& thinking = context.tokenizer().thinking()) {
      auto parts = text::split_reasoning(text, thinking->start, thinking->end);
      message.content = parts.answer;
      message.reasoning_content = parts.reasoning;
    }
    messages.push_back(std::move(message));
  }
};

ChatSession::ChatSession(ModelContext context, SessionOptions options)
    : impl_(std::make_unique<Impl>(std::move(context), std::move(options))) {}
ChatSession::ChatSession(ChatSession&&) noexcept = default;
ChatSession::~ChatSession() = default;

void ChatSession::ask(std::string_view user) {
  impl_->close();
  text::ChatMessage question{.role = "user", .content = std::string(user)};
  impl_->stream.emplace(impl_->context.shared_model(),
                        impl_->context.tokenizer(),
                        impl_->prompt_for(question),
                        impl_->options.generate,
                        impl_->context.config().max_position_embeddings.value_or(0),
                        impl_->cache);
  impl_->messages.push_back(std::move(question));
}

std::optional<Event> ChatSession::next() {
  if (!impl_->stream) return {};
  try {
    auto event = impl_->stream->next();
    if (event) impl_->answer += event->text;
    if (!event || event->stop) impl_->close();
    return event;
  } catch (...) {
    impl_->close();
    throw;
  }
}

void ChatSession::cancel() {
  if (impl_->stream) impl_->stream->cancel();
}

void ChatSession::reset() {
  impl_->stream.reset();
  impl_->answer.clear();
  impl_->messages.clear();
}

void ChatSession::set_system(std::string text) { impl_->options.system = std::move(text); }
GenerateOptions& ChatSession::options() { return impl_->options.generate; }
const std::vector<text::ChatMessage>& ChatSession::messages() const { return impl_->messages; }
const std::string& ChatSession::system() const { return impl_->options.system; }
const CachedPrompt& ChatSession::cache() const { return *impl_->cache; }

std::string ChatSession::to_json() const {
  io::JsonWriter json(2);
  json.begin_object()
      .member("format", "mlxcpp chat")
      .member("version", 1)
      .member("system", impl_->options.system)
      .key("messages")
      .raw(text::to_json(impl_->messages))
      .end_object();
  return json.str() + "\n";
}

void ChatSession::restore(std::string_view json) {
  auto f = io::Fields::parse(json, "chat");
  std::string system;
  std::vector<SavedMessage> saved;
  f.may("system", &system);
  for (auto& m : f.objects("messages")) saved.emplace_back().fields(m);
  reset();
  impl_->options.system = std::move(system);
  for (auto& m : saved)
    impl_->messages.push_back({.role = std::move(m.role),
                               .content = std::move(m.content),
                               .reasoning_content = std::move(m.reasoning_content)});
}

}  // namespace mlxcpp::lm
