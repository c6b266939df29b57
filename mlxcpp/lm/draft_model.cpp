#include "mlxcpp/lm/draft_model.h"

#include "mlxcpp/lm/detail/budget.h"
#include "mlxcpp/lm/detail/draft_chain.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/choose.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::lm {
namespace {

constexpr int kPrompt = 8;  // so many at once are a prompt's: computed when they come

array as_tokens(std::span<const TokenId> ids) {
  return mx::astype(array(ids.data(), {1, int(ids.size())}, mx::uint32), mx::int32);
}

}  // namespace

Proposal detail::draw_chain(array logits,
                            int n,
                            const std::function<array(const array& id)>& next,
                            const SampleOptions& sample,
                            Uniform& uniform) {
  Proposal guess;
  std::vector<array> ids;
  for (int i = 0; i < n; ++i) {
    if (sample.temperature == 0) {
      ids.push_back(ops::argmax(logits));
      if (i + 1 < n) logits = next(mx::reshape(mx::astype(ids.back(), mx::int32), {1, 1}));
      continue;
    }
    auto seed = std::uint64_t(uniform() * 0x1p53);  // of XTC's coin
    array p = mx::contiguous(distribution(logits, sample, seed));
    p.eval();
    guess.probs.emplace_back(p.data<float>(), p.data<float>() + p.size());
    guess.ids.push_back(draw(guess.probs.back(), uniform()));
    if (i + 1 < n) logits = next(as_tokens({&guess.ids.back(), 1}));
  }
  mx::eval(ids);
  for (auto& id : ids) guess.ids.push_back(id.item<std::uint32_t>());
  return guess;
}

ModelDraft::ModelDraft(std::shared_ptr<const LanguageModel> model, const DraftSampling& sampling)
    : model_(std::move(model)),
      sample_(sampling.sample),
      uniform_(sampling.seed),
      caches_(model_->make_caches()) {}

array ModelDraft::feed(const array& tokens) {
  array h = model_->hidden({.tokens = tokens, .needed = {1}}, caches_);
  int L = h.shape(1);
  array last = ops::take_columns(h, L - 1, L, 1);
  return mx::squeeze(mx::astype(model_->logits(last), mx::float32), 1);
}

void ModelDraft::feed_waiting() {
  for (std::size_t i = 0; i < waiting_.size(); i += kChunk) {
    auto piece = std::span(waiting_).subspan(i, std::min<std::size_t>(kChunk, waiting_.size() - i));
    model_->hidden({.tokens = as_tokens(piece), .needed = {0}}, caches_);
    mx::eval(caches_.arrays());
  }
  waiting_.clear();
}

/// The last n of ahead_.
void ModelDraft::take_back(int n) {
  if (n == 0) return;
  ahead_.resize(ahead_.size() - n);
  if (caches_.trimmable()) return caches_.trim({n});
  caches_.rollback(*mark_);
  waiting_ = std::move(since_mark_);
  waiting_.insert(waiting_.end(), ahead_.begin(), ahead_.end());
}

void ModelDraft::consumed(std::span<const TokenId> ids, const std::optional<array>&) {
  auto right = std::ranges::mismatch(ahead_, ids);
  int known = int(right.in2 - ids.begin());
  take_back(int(ahead_.size()) - known);
  ahead_.clear();
  waiting_.insert(waiting_.end(), ids.begin() + known, ids.end());
  if (ids.size() > kPrompt) feed_waiting();
}

Proposal ModelDraft::propose(TokenId next, int n) {
  if (waiting_.size() > kChunk) feed_waiting();
  mark_ = caches_.mark();
  since_mark_ = std::exchange(waiting_, {});
  auto ids = since_mark_;
  ids.push_back(next);
  Proposal guess = detail::draw_chain(
      feed(as_tokens(ids)),
      n,
      [this](const array& id) {
        array logits = feed(id);
        mx::async_eval(caches_.arrays());
        return logits;
      },
      sample_,
      uniform_);
  mx::eval(caches_.arrays());
  ahead_ = {next};
  ahead_.insert(ahead_.end(), guess.ids.begin(), guess.ids.end() - 1);
  return guess;
}

std::uint64_t ModelDraft::most_bytes(int tokens) const {
  return detail::cache_bytes(model_->layout(), {}, tokens);
}

}  // namespace mlxcpp::lm
