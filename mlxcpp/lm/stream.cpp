#include "mlxcpp/lm/stream.h"

#include "mlxcpp/lm/detail/answer.h"
#include "mlxcpp/lm/step.h"

#include <atomic>
#include <chrono>
#include <utility>

namespace mlxcpp::lm {

std::string_view finish_reason(StopReason reason) {
  bool full = reason == StopReason::length || reason == StopReason::context;
  return full ? "length" : reason == StopReason::cancelled ? "cancelled" : "stop";
}

std::string_view name_of(StopReason reason) {
  switch (reason) {
    case StopReason::eos: return "eos";
    case StopReason::stop: return "stop";
    case StopReason::length: return "length";
    case StopReason::context: return "context";
    case StopReason::cancelled: return "cancelled";
  }
  return "";
}

double GenerateStats::prompt_tps() const {
  return prompt_seconds > 0 ? (prompt_tokens - cached_tokens) / prompt_seconds : 0;
}

double GenerateStats::generation_tps() const {
  return generation_seconds > 0 ? (generation_tokens - 1) / generation_seconds : 0;
}

struct TokenStream::Impl {
  std::shared_ptr<const LanguageModel> model;
  detail::Answer answer;
  std::shared_ptr<CachedPrompt> cache;
  std::optional<Stepper> stepper;
  std::atomic<bool> cancelled{false};
  bool ended = false;

  Impl(std::shared_ptr<const LanguageModel> m,
       const text::Tokenizer& tokenizer,
       std::vector<TokenId> prompt,
       const GenerateOptions& options,
       int context_length,
       std::shared_ptr<CachedPrompt> c)
      : model(std::move(m)),
        answer(tokenizer, std::move(prompt), options, model->vocab_size(), context_length),
        cache(std::move(c)) {
    if (!cache) cache = std::make_shared<CachedPrompt>(*model, cache_options(options));
  }

  bool prefill() {
    auto& options = answer.options();
    int shared = cache->keep_shared(*model, answer.prompt());
    stepper.emplace(model, cache, options, options.seed.value_or(detail::fresh_seed()));
    auto start = std::chrono::steady_clock::now();
    bool done =
        stepper->prefill(std::span(answer.prompt()).subspan(size_t(shared)), [&](int n, int total) {
          return !cancelled && (!options.prefill_progress || options.prefill_progress(n, total));
        });
    auto took = std::chrono::steady_clock::now() - start;
    answer.prefilled(shared, std::chrono::duration<double>(took).count());
    return done;
  }

  Event advance() {
    if (answer.room() <= 0) return answer.end(answer.out_of_room());
    if (!stepper && !prefill()) return answer.end(StopReason::cancelled);
    if (cancelled) return answer.end(StopReason::cancelled);
    Token token = stepper->next(answer.room());
    answer.speculated(stepper->speculation());
    return answer.take(token);
  }

  Event next() {
    Event event = advance();
    ended = event.stop.has_value();
    if (ended && stepper) stepper->finish();
    return event;
  }
};

TokenStream::TokenStream(std::shared_ptr<const LanguageModel> model,
                         const text::Tokenizer& tokenizer,
                         std::vector<TokenId> prompt,
                         const GenerateOptions& options,
                         int context_length,
                         std::shared_ptr<CachedPrompt> cache)
    : impl_(std::make_unique<Impl>(std::move(model),
                                   tokenizer,
                                   std::move(prompt),
                                   options,
                                   context_length,
                                   std::move(cache))) {}
TokenStream::TokenStream(TokenStream&&) noexcept = default;
TokenStream& TokenStream::operator=(TokenStream&&) noexcept = default;
TokenStream::~TokenStream() = default;

std::optional<Event> TokenStream::next() {
  if (impl_->ended) return {};
  try {
    return impl_->next();
  } catch (...) {
    impl_->ended = true;
    throw;
  }
}

void TokenStream::cancel() { impl_->cancelled = true; }

Generated collect(TokenStream stream) {
  Generated all;
  while (auto event = stream.next()) {
    all.text += event->text;
    if (event->token) all.tokens.push_back(*event->token);
    if (event->stop) all.stop = *event->stop;
    all.stats = event->stats;
  }
  return all;
}

}  // namespace mlxcpp::lm
