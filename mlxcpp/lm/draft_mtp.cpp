#include "mlxcpp/lm/draft_mtp.h"

#include "mlxcpp/lm/detail/budget.h"
#include "mlxcpp/lm/detail/draft_chain.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/ops/basic.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <utility>

namespace mlxcpp::lm {
namespace {

constexpr int kPrompt = 8;    // so many tokens at once are a prompt's: fed when they come
constexpr int kWaiting = 64;  // states that wait at most

array as_tokens(std::span<const TokenId> ids) {
  return mx::astype(array(ids.data(), {1, int(ids.size())}, mx::uint32), mx::int32);
}

}  // namespace

MtpDraft::MtpDraft(std::shared_ptr<const LanguageModel> head, const DraftSampling& sampling)
    : head_(std::move(head)),
      sample_(sampling.sample),
      uniform_(sampling.seed),
      caches_(head_->make_caches()) {}

array MtpDraft::feed(const array& tokens, const array& states) {
  return head_->hidden({.tokens = tokens, .embeddings = states}, caches_);
}

void MtpDraft::consumed(std::span<const TokenId> ids, const std::optional<array>& hidden) {
  if (!hidden) {  // no state to begin with
    states_.clear(), after_them_.clear();
    waiting_ = 0;
    return;
  }
  if (ids.empty()) return;
  after_them_.insert(after_them_.end(), ids.begin() + (waiting_ ? 0 : 1), ids.end());
  states_.push_back(*hidden);
  waiting_ += int(ids.size());
  if (ids.size() > kPrompt || waiting_ > kWaiting) feed_waiting();
}

/// All states whose token is known.
void MtpDraft::feed_waiting() {
  array states = states_.size() == 1 ? states_[0] : mx::concatenate(states_, 1);
  array last = mx::contiguous(ops::take_columns(states, waiting_ - 1, waiting_, 1));
  if (!after_them_.empty())
    feed(as_tokens(after_them_), ops::take_columns(states, 0, waiting_ - 1, 1));
  states_ = {last};
  waiting_ = 1;
  after_them_.clear();
  auto all = caches_.arrays();
  all.push_back(last);
  mx::eval(all);
}

std::optional<int> MtpDraft::sort_of(TokenId) { return waiting_ ? std::optional(0) : std::nullopt; }

Proposal MtpDraft::propose(TokenId next, int n) {
  if (!waiting_) return {};
  after_them_.push_back(next);
  array states = states_.size() == 1 ? states_[0] : mx::concatenate(states_, 1);
  array h = feed(as_tokens(after_them_), states);
  h = ops::take_columns(h, waiting_ - 1, waiting_, 1);
  states_.clear(), after_them_.clear();  // `next` will be consumed, whatever follows it
  waiting_ = 0;
  auto logits_of = [&] { return mx::squeeze(mx::astype(head_->logits(h), mx::float32), 1); };
  Proposal guess = detail::draw_chain(
      logits_of(),
      n,
      [&](const array& id) {
        h = feed(id, h);
        mx::async_eval(caches_.arrays());
        return logits_of();
      },
      sample_,
      uniform_);
  mx::eval(caches_.arrays());
  caches_.trim({n - 1});
  return guess;
}

std::uint64_t MtpDraft::nbytes() const {
  std::uint64_t n = caches_.nbytes();
  for (auto& s : states_) n += s.nbytes();
  return n;
}

std::uint64_t MtpDraft::most_bytes(int tokens) const {
  std::uint64_t states = std::uint64_t(kWaiting + kPrompt) * detail::widest(*head_) * 4;
  return detail::cache_bytes(head_->layout(), {}, tokens) + states;
}

}  // namespace mlxcpp::lm
