// Guesses of another, smaller model of the same vocabulary.
#pragma once

#include "mlxcpp/lm/draft.h"
#include "mlxcpp/lm/speculative.h"

#include <memory>

namespace mlxcpp::lm {

/// The most likely tokens at temperature 0, else tokens drawn as the row draws them.
class ModelDraft final : public Drafter {
 public:
  static constexpr int kChunk = 512;  // tokens in one pass

  ModelDraft(std::shared_ptr<const LanguageModel> model, const DraftSampling& sampling);

  void consumed(std::span<const TokenId> ids, const std::optional<array>& hidden) override;
  bool wants_states() const override { return false; }
  std::optional<int> sort_of(TokenId) override { return 0; }
  Proposal propose(TokenId next, int n) override;
  std::uint64_t nbytes() const override { return caches_.nbytes(); }
  /// Without the model's weights, which drafts of several rows share.
  std::uint64_t most_bytes(int tokens) const override;

 private:
  array feed(const array& tokens);  // (1, L) -> logits of the last, (1, V)
  void feed_waiting();
  void take_back(int n);

  std::shared_ptr<const LanguageModel> model_;
  SampleOptions sample_;
  Uniform uniform_;
  Caches caches_;
  std::vector<TokenId> waiting_;              // consumed by the row, not yet here
  std::vector<TokenId> ahead_;                // here, not yet known to be consumed by the row
  std::shared_ptr<const Caches::Mark> mark_;  // before the last guess, and ...
  std::vector<TokenId> since_mark_;           // ... what was consumed between it and `ahead_`
};

}  // namespace mlxcpp::lm
