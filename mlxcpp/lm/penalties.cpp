#include "mlxcpp/lm/penalties.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mlxcpp::lm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
using Edits = std::vector<ops::Edit>;

float value_of(const std::optional<float>& penalty) { return penalty.value_or(0); }

/// The smaller of two contexts, 0 being no bound.
int bounded(int context, int bound) {
  if (context == 0 || bound == 0) return std::max(context, bound);
  return std::min(context, bound);
}

/// Edits of one id together.  Of them only bias stands before factors, and only subtraction after,
/// so that the order within each kind does not matter.
void merge(Edits& edits) {
  std::sort(edits.begin(), edits.end(), [](auto& a, auto& b) { return a.id < b.id; });
  auto end = edits.begin();
  for (auto& e : edits) {
    if (end != edits.begin() && (end - 1)->id == e.id) {
      auto& all = *(end - 1);
      all.bias += e.bias, all.factor *= e.factor, all.subtract += e.subtract;
    } else {
      *end++ = e;
    }
  }
  edits.erase(end, edits.end());
}

/// Where the last breaker ends: so many tokens follow it.
int tokens_after_breaker(std::span<const TokenId> tokens, const Breakers& breakers) {
  int n = int(tokens.size());
  for (int back = 0; back < n; ++back) {
    auto [first, last] = breakers.equal_range(tokens[n - 1 - back]);
    int longest = -1;
    for (; first != last; ++first) {
      auto& others = first->second;
      int length = int(others.size());
      if (length > longest && length <= back &&
          std::equal(others.begin(), others.end(), tokens.end() - back))
        longest = length;
    }
    if (longest >= 0) return back - longest;
  }
  return n;
}

/// z[k]: how many of the last tokens are also the last before the k last, by the Z algorithm.
std::vector<int> matches(std::span<const TokenId> tokens) {
  int n = int(tokens.size()), left = 0, right = 0;
  auto back = [&](int i) { return tokens[n - 1 - i]; };
  std::vector<int> z(n);
  for (int k = 1; k < n; ++k) {
    if (k < right) z[k] = std::min(right - k, z[k - left]);
    while (k + z[k] < n && back(z[k]) == back(k + z[k])) ++z[k];
    if (k + z[k] > right) left = k, right = k + z[k];
  }
  return z;
}

bool breaks_alone(TokenId token, const Breakers& breakers) {
  auto [first, last] = breakers.equal_range(token);
  return std::any_of(first, last, [](auto& b) { return b.second.empty(); });
}

}  // namespace

std::unordered_map<TokenId, float> dry_penalties(std::span<const TokenId> tokens,
                                                 const PenaltyOptions& o,
                                                 const Breakers& breakers) {
  std::unordered_map<TokenId, float> out;
  int n = int(tokens.size()), allowed = o.dry_allowed_length;
  if (n <= allowed) return out;
  int limit = tokens_after_breaker(tokens, breakers);
  if (limit < allowed) return out;
  std::unordered_map<TokenId, int> longest;
  auto z = matches(tokens);
  for (int k = 1; k < n; ++k) {
    int length = std::min(z[k], limit);
    if (length < allowed) continue;
    int& most = longest[tokens[n - k]];
    most = std::max(most, length);
  }
  // Powers stay finite.
  double log_base = std::log(double(o.dry_base));
  double most = log_base > 1e-6 ? std::floor(88.7228391 / log_base) : kInfinity;
  for (auto [token, length] : longest)
    if (!breaks_alone(token, breakers))
      out[token] = o.dry_multiplier *
                   float(std::pow(double(o.dry_base), std::min<double>(length - allowed, most)));
  return out;
}

struct Penalties::Setup {
  PenaltyOptions options;
  TokenId vocab_size;
  float repetition, presence, frequency;                                     // 1, 0 and 0: off
  int repetition_context, presence_context, frequency_context, dry_context;  // 0: all
  bool dry;
  Breakers breakers;
  Edits bias;

  Setup(const PenaltyOptions& o, int vocab) : options(o), vocab_size(TokenId(vocab)) {
    o.validate(vocab);
    repetition = value_of(o.repetition_penalty) == 0 ? 1 : *o.repetition_penalty;
    presence = value_of(o.presence_penalty);
    frequency = value_of(o.frequency_penalty);
    repetition_context = bounded(o.repetition_context_size, o.penalty_context);
    presence_context = bounded(o.presence_context_size, o.penalty_context);
    frequency_context = bounded(o.frequency_context_size, o.penalty_context);
    dry = o.dry_multiplier > 0 && o.dry_penalty_last_n != 0;
    dry_context = bounded(std::max(o.dry_penalty_last_n, 0), o.penalty_context);
    for (auto& b : o.dry_sequence_breakers)
      breakers.emplace(b.front(), std::vector<TokenId>(b.begin() + 1, b.end()));
    for (auto [id, value] : o.logit_bias) bias.push_back({.id = unsigned(id), .bias = value});
    merge(bias);
  }
};

Penalties::Penalties(const PenaltyOptions& options, int vocab_size)
    : setup_(std::make_shared<const Setup>(options, vocab_size)) {}

bool Penalties::none() const {
  return !needs_tokens() && setup_->bias.empty() && setup_->options.min_tokens == 0;
}

bool Penalties::needs_tokens() const {
  return setup_->repetition != 1 || setup_->presence != 0 || setup_->frequency != 0 || setup_->dry;
}

void Penalties::begin(std::span<const TokenId> prompt) {
  if (!needs_tokens()) return;
  if (!setup_->options.penalties_see_prompt && prompt.size() > 1) prompt = prompt.last(1);
  for (TokenId token : prompt) push(token);
}

/// Moves a window of the last `context` tokens over the newest one.
template <class F>
void Penalties::count(int context, F member) {
  if (history_.back() < setup_->vocab_size) ++(seen_[history_.back()].*member);
  auto n = std::size_t(context);
  if (n == 0 || history_.size() <= n) return;
  auto gone = seen_.find(history_[history_.size() - 1 - n]);
  if (gone == seen_.end()) return;  // beyond the vocabulary
  --(gone->second.*member);
  if (gone->second.none()) seen_.erase(gone);
}

void Penalties::push(TokenId token) {
  auto& s = *setup_;
  if (!needs_tokens()) return;
  history_.push_back(token);
  if (s.repetition != 1) count(s.repetition_context, &Seen::repetition);
  if (s.presence != 0) count(s.presence_context, &Seen::presence);
  if (s.frequency != 0) count(s.frequency_context, &Seen::frequency);
}

void Penalties::add_dry(Edits& out) const {
  std::span<const TokenId> tokens = history_;
  auto context = std::size_t(setup_->dry_context);
  if (context > 0 && context < tokens.size()) tokens = tokens.last(context);
  for (auto [id, penalty] : dry_penalties(tokens, setup_->options, setup_->breakers))
    if (id < setup_->vocab_size) out.push_back({.id = id, .subtract = penalty});
}

Edits Penalties::edits(std::uint64_t drawn) const {
  auto& s = *setup_;
  Edits out = s.bias;
  for (auto& [id, n] : seen_)
    out.push_back({.id = id,
                   .factor = n.repetition ? s.repetition : 1,
                   .subtract = (n.presence ? s.presence : 0) + s.frequency * float(n.frequency)});
  if (s.dry) add_dry(out);
  if (drawn < std::uint64_t(s.options.min_tokens))
    for (TokenId id : s.options.end_tokens)
      if (id < s.vocab_size) out.push_back({.id = id, .bias = -kInfinity});
  merge(out);
  return out;
}

}  // namespace mlxcpp::lm
