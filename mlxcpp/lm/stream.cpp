#include "mlxcpp/lm/stream.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/step.h"
#include "mlxcpp/text/stop.h"

#include <mlx/memory.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <utility>

namespace mlxcpp::lm {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
}

/// Another one for each stream, also within the same tick of a clock.
std::uint64_t fresh_seed() {
  static std::atomic<std::uint64_t> count{0};
  std::random_device device;
  return (std::uint64_t(device()) << 32 | device()) ^ (++count * 0x9E3779B97F4A7C15u);
}

void check_prompt(const std::vector<TokenId>& prompt, int vocab_size, int context_length) {
  if (prompt.empty()) throw InputError(describe("prompt", "empty", "at least one token"));
  for (TokenId id : prompt)
    if (id >= TokenId(vocab_size))
      throw InputError(describe("prompt",
                                "token beyond the vocabulary",
                                "below " + std::to_string(vocab_size),
                                std::to_string(id)));
  if (context_length > 0 && prompt.size() > size_t(context_length))
    throw InputError(describe("prompt",
                              "longer than the model's context",
                              "at most " + std::to_string(context_length) + " tokens",
                              std::to_string(prompt.size())));
}

}  // namespace

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
  text::Tokenizer tokenizer;
  std::vector<TokenId> prompt;
  GenerateOptions options;
  int context_length;
  std::shared_ptr<CachedPrompt> cache;
  text::DecodeStream decoder;
  text::StopMatcher stops;
  Clock::time_point created = Clock::now(), first_token;
  std::optional<Stepper> stepper;
  GenerateStats stats;
  std::atomic<bool> cancelled{false};
  bool ended = false;

  Impl(std::shared_ptr<const LanguageModel> m,
       const text::Tokenizer& t,
       std::vector<TokenId> p,
       const GenerateOptions& o,
       int context,
       std::shared_ptr<CachedPrompt> c)
      : model(std::move(m)),
        tokenizer(t),
        prompt(std::move(p)),
        options(o),
        context_length(context),
        cache(std::move(c)),
        decoder(tokenizer.decode_stream()),
        stops(options.stop) {
    options.validate(model->vocab_size());
    check_prompt(prompt, model->vocab_size(), context_length);
    if (!cache) cache = std::make_shared<CachedPrompt>(*model, cache_options(options));
    stats.prompt_tokens = int(prompt.size());
  }

  /// Leaves in the cache what it shares with the prompt, less the token that must be fed.
  size_t reuse_cache() {
    auto& ids = cache->ids;
    size_t shared =
        std::mismatch(ids.begin(), ids.end(), prompt.begin(), prompt.end()).first - ids.begin();
    shared = std::min(shared, prompt.size() - 1);
    if (shared == ids.size()) return shared;
    if (shared == 0 || !cache->caches.trimmable()) {
      cache->clear(*model);
      return 0;
    }
    cache->caches.trim({int(ids.size() - shared)});
    ids.resize(shared);
    return shared;
  }

  bool prefill() {
    size_t shared = reuse_cache();
    stats.cached_tokens = int(shared);
    stepper.emplace(model, cache, options, options.seed.value_or(fresh_seed()));
    auto start = Clock::now();
    bool done = stepper->prefill(std::span(prompt).subspan(shared), [this](int n, int total) {
      return !cancelled && (!options.prefill_progress || options.prefill_progress(n, total));
    });
    stats.prompt_seconds = seconds_between(start, Clock::now());
    return done;
  }

  int room() const {
    int left = options.max_tokens.value_or(INT32_MAX);
    if (context_length > 0) left = std::min(left, context_length - int(prompt.size()));
    return left - stats.generation_tokens;
  }
  StopReason out_of_room() const {
    bool length = options.max_tokens && stats.generation_tokens >= *options.max_tokens;
    return length ? StopReason::length : StopReason::context;
  }

  Event end(Event event, StopReason reason) {
    ended = true;
    if (!stops.found()) event.text += stops.push(decoder.finish());
    if (!stops.found()) event.text += stops.finish();
    event.stop = stops.found() ? StopReason::stop : reason;
    event.stop_string = stops.found().value_or("");
    if (stepper) stepper->finish();
    event.stats = stats;
    return event;
  }

  Event step() {
    Event event;
    Token token = stepper->next(room());
    auto now = Clock::now();
    if (++stats.generation_tokens == 1) {
      first_token = now;
      stats.time_to_first_token = seconds_between(created, now);
    }
    stats.generation_seconds = seconds_between(first_token, now);
    stats.peak_memory = mx::get_peak_memory();
    stats.speculation = stepper->speculation();
    event.token = token.id;
    event.logprob = token.logprob;
    if (!options.ignore_eos && tokenizer.is_eos(token.id))
      return end(std::move(event), StopReason::eos);
    event.text = stops.push(decoder.step(token.id));
    if (stops.found()) return end(std::move(event), StopReason::stop);
    if (room() <= 0) return end(std::move(event), out_of_room());
    event.stats = stats;
    return event;
  }

  Event advance() {
    if (room() <= 0) return end({}, out_of_room());
    if (!stepper && !prefill()) return end({}, StopReason::cancelled);
    if (cancelled) return end({}, StopReason::cancelled);
    return step();
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
    return impl_->advance();
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
