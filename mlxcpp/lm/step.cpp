#include "mlxcpp/lm/step.h"

#include "mlxcpp/lm/detail/chunk_size.h"
#include "mlxcpp/lm/detail/guessing.h"
#include "mlxcpp/lm/detail/memory.h"
#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/device.h"

#include <mlx/memory.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <chrono>
#include <utility>

namespace mlxcpp::lm {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

array as_tokens(std::span<const TokenId> ids) {
  return array(ids.data(), {1, int(ids.size())}, mx::uint32);
}

}  // namespace

CacheOptions cache_options(const GenerateOptions& o) {
  return {.max_kv_size = o.max_kv_size, .keep = o.keep, .quant = o.kv_quant};
}

CachedPrompt::CachedPrompt(const LanguageModel& model, const CacheOptions& o)
    : options(o), caches(model.make_caches(o)) {}

void CachedPrompt::clear(const LanguageModel& model) {
  caches = model.make_caches(options);
  ids.clear();
}

int CachedPrompt::keep_shared(const LanguageModel& model, std::span<const TokenId> prompt) {
  size_t shared =
      std::mismatch(ids.begin(), ids.end(), prompt.begin(), prompt.end()).first - ids.begin();
  shared = std::min(shared, prompt.size() - 1);
  if (shared == ids.size()) return int(shared);
  if (shared == 0 || !caches.trimmable()) {
    clear(model);
    return 0;
  }
  caches.trim({int(ids.size() - shared)});
  ids.resize(shared);
  return int(shared);
}

Stepper::Stepper(std::shared_ptr<const LanguageModel> model,
                 std::shared_ptr<CachedPrompt> cache,
                 const GenerateOptions& o,
                 std::uint64_t seed)
    : model_(std::move(model)),
      cache_(std::move(cache)),
      options_(o.step),
      row_(o, seed, model_->vocab_size()),
      // What reads tokens on the host can not start the next step before they are known.
      look_ahead_(o.step.look_ahead.value_or(!ops::on_cpu()) && !row_.needs_tokens() &&
                  o.speculation.kind == DraftKind::none) {
  if (auto speculation = make_speculation(*model_, o.speculation, {o.sample, seed}))
    guessing_ = std::make_unique<detail::Guessing>(std::move(speculation), ~seed);
  if (guessing_ && !cache_->ids.empty()) guessing_->consumed(cache_->ids, {});
}

Stepper::~Stepper() { finish(); }

array Stepper::hidden(const array& tokens, int needed) {
  std::vector<int> last;
  if (!guessing_ || !guessing_->wants_states()) last = {needed};
  return model_->hidden({.tokens = mx::astype(tokens, mx::int32), .needed = std::move(last)},
                        cache_->caches);
}

array Stepper::logits(const array& h, int last) const {
  int L = h.shape(1);
  array those = ops::take_columns(h, L - last, L, 1);
  return mx::squeeze(model_->logits(those), 0);
}

Sampled Stepper::sample(const array& logits) {
  SampleRow* row = &row_;
  return lm::sample(logits, {&row, 1});
}

Token Stepper::take(const Sampled& s) {
  Token token = s.token(0);
  row_.push(token.id);
  return token;
}

std::vector<array> Stepper::to_evaluate(const Sampled& s) const {
  auto all = cache_->caches.arrays();
  for (auto& a : s.arrays()) all.push_back(a);
  return all;
}

bool Stepper::prefill(std::span<const TokenId> prompt, const PrefillProgress& progress) {
  int total = int(prompt.size()), done = 0;
  cache_->caches.reserve(int(cache_->ids.size()) + total);
  std::vector<TokenId> whole = cache_->ids;
  whole.insert(whole.end(), prompt.begin(), prompt.end());
  row_.begin(whole);
  detail::ChunkSize chunk(options_);
  try {
    while (done < total) {
      if (progress && !progress(done, total)) return false;
      auto start = std::chrono::steady_clock::now();
      int n = std::min(chunk.value(), total - done);
      auto ids = prompt.subspan(done, n);
      bool is_last = done + n == total;
      array h = hidden(as_tokens(ids), is_last ? 1 : 0);
      if (is_last) {
        pending_ = sample(logits(h, 1));
        mx::eval(to_evaluate(*pending_));
      } else {
        mx::eval(cache_->caches.arrays());
      }
      if (guessing_) guessing_->consumed(ids, h);
      cache_->ids.insert(cache_->ids.end(), ids.begin(), ids.end());
      done += n;
      chunk.learn(n, seconds_since(start));
      mx::clear_cache();
    }
    if (progress) progress(done, total);
  } catch (...) {
    pending_.reset();
    cache_->clear(*model_);
    throw;
  }
  return true;
}

Token Stepper::next(int room) {
  try {
    if (guessing_) return next_guessed(room);
    if (!pending_) {  // the last token was not fed yet
      pending_ = sample(logits(hidden(as_tokens({&*last_, 1}), 1), 1));
      mx::eval(to_evaluate(*pending_));
      cache_->ids.push_back(*last_);
    }
    Sampled now = *std::exchange(pending_, std::nullopt);
    if (look_ahead_) {
      pending_ = sample(logits(hidden(mx::reshape(now.ids, {1, 1}), 1), 1));
      mx::async_eval(to_evaluate(*pending_));
    }
    Token token = take(now);
    fed_ahead_ = look_ahead_;
    if (fed_ahead_) cache_->ids.push_back(token.id);
    last_ = token.id;
    if (++steps_ % detail::kClearEvery == 0) mx::clear_cache();
    return token;
  } catch (...) {
    pending_.reset();
    ready_.clear();
    fed_ahead_ = false;
    cache_->clear(*model_);
    throw;
  }
}

void Stepper::finish() {
  if (guessing_) guessing_->take_back(*cache_, int(ready_.size()));
  ready_.clear();
  if (!std::exchange(fed_ahead_, false)) return;
  pending_.reset();
  if (!cache_->caches.trimmable()) return;
  cache_->caches.trim({1});
  cache_->ids.pop_back();
}

}  // namespace mlxcpp::lm
