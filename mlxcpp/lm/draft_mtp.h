// Guesses of the model's own head for further tokens.
// Source: vLLM v1/spec_decode (the eagle and MTP proposers).  Differs: what a prompt cache brought
// along has no states, so the head does not see it.
#pragma once

#include "mlxcpp/lm/draft.h"
#include "mlxcpp/lm/speculative.h"

#include <memory>

namespace mlxcpp::lm {

/// One head guesses one token; what it hands on lets it guess the next ones.
class MtpDraft final : public Drafter {
 public:
  MtpDraft(std::shared_ptr<const LanguageModel> head, const DraftSampling& sampling);

  void consumed(std::span<const TokenId> ids, const std::optional<array>& hidden) override;
  /// Nothing where the state before `next` is not known.
  std::optional<int> sort_of(TokenId) override;
  Proposal propose(TokenId next, int n) override;
  std::uint64_t nbytes() const override;
  std::uint64_t most_bytes(int tokens) const override;

 private:
  array feed(const array& tokens, const array& states);  // -> (1, L, D)
  void feed_waiting();

  std::shared_ptr<const LanguageModel> head_;
  SampleOptions sample_;
  Uniform uniform_;
  Caches caches_;
  std::vector<array> states_;        // (1, n, D), not fed yet; the last one's token is to come
  int waiting_ = 0;                  // states in them
  std::vector<TokenId> after_them_;  // the tokens after all but the last
};

}  // namespace mlxcpp::lm
