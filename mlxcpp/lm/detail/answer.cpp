#include "mlxcpp/lm/detail/answer.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/mx.h"

#include <mlx/memory.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <utility>

namespace mlxcpp::lm::detail {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point from, Clock::time_point to) {
  return std::chrono::duration<double>(to - from).count();
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

std::uint64_t fresh_seed() {
  static std::atomic<std::uint64_t> count{0};
  std::random_device device;
  return (std::uint64_t(device()) << 32 | device()) ^ (++count * 0x9E3779B97F4A7C15u);
}

Answer::Answer(const text::Tokenizer& tokenizer,
               std::vector<TokenId> prompt,
               GenerateOptions options,
               int vocab_size,
               int context_length)
    : tokenizer_(tokenizer),
      prompt_(std::move(prompt)),
      options_(std::move(options)),
      context_length_(context_length),
      decoder_(tokenizer_.decode_stream()),
      stops_(options_.stop),
      created_(Clock::now()) {
  options_.validate(vocab_size);
  auto& held_back = options_.penalties.end_tokens;
  if (held_back.empty()) held_back = tokenizer_.eos_ids();
  check_prompt(prompt_, vocab_size, context_length_);
  stats_.prompt_tokens = int(prompt_.size());
}

int Answer::room() const {
  int left = options_.max_tokens.value_or(INT32_MAX);
  if (context_length_ > 0) left = std::min(left, context_length_ - int(prompt_.size()));
  return left - stats_.generation_tokens;
}

StopReason Answer::out_of_room() const {
  bool length = options_.max_tokens && stats_.generation_tokens >= *options_.max_tokens;
  return length ? StopReason::length : StopReason::context;
}

void Answer::prefilled(int cached_tokens, double seconds) {
  stats_.cached_tokens = cached_tokens;
  stats_.prompt_seconds += seconds;
}

Event Answer::take(const Token& token) {
  auto now = Clock::now();
  if (++stats_.generation_tokens == 1) {
    first_token_ = now;
    stats_.time_to_first_token = seconds_between(created_, now);
  }
  stats_.generation_seconds = seconds_between(first_token_, now);
  stats_.peak_memory = mx::get_peak_memory();
  Event event;
  event.token = token.id;
  event.logprob = token.logprob;
  event.top_logprobs = token.top;
  if (!options_.ignore_eos && tokenizer_.is_eos(token.id))
    return end(std::move(event), StopReason::eos);
  event.text = stops_.push(decoder_.step(token.id));
  if (stops_.found()) return end(std::move(event), StopReason::stop);
  if (room() <= 0) return end(std::move(event), out_of_room());
  event.stats = stats_;
  return event;
}

Event Answer::end(Event event, StopReason reason) {
  if (!stops_.found()) event.text += stops_.push(decoder_.finish());
  if (!stops_.found()) event.text += stops_.finish();
  event.stop = stops_.found() ? StopReason::stop : reason;
  event.stop_string = stops_.found().value_or("");
  event.stats = stats_;
  return event;
}

}  // namespace mlxcpp::lm::detail
