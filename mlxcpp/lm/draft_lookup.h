// Guesses from the text itself: what followed the last time that its end occurred.
// Source: "prompt lookup decoding"; transformers generation/candidate_generator.py.  Differs: an
// index that grows with the text instead of a search through all of it, the longest of several
// matches wins, and a match that reaches the text's end goes on in its own period.
#pragma once

#include "mlxcpp/lm/draft.h"

#include <unordered_map>

namespace mlxcpp::lm {

class PromptLookup final : public Drafter {
 public:
  /// Matches have at least two tokens.  A token costs the same however long the text is.
  void consumed(std::span<const TokenId> ids, const std::optional<array>& hidden) override;
  bool wants_states() const override { return false; }
  /// By the length of the match.
  std::optional<int> sort_of(TokenId next) override;
  Proposal propose(TokenId next, int n) override;
  std::uint64_t nbytes() const override;
  std::uint64_t most_bytes(int tokens) const override;

 private:
  struct Match {
    int end;     // of the earlier occurrence: where what followed begins
    int length;  // tokens
  };
  std::optional<Match> find(TokenId next) const;
  int length_of(int end, TokenId next) const;

  std::vector<TokenId> ids_;
  std::vector<int> before_;                      // the pair's earlier end, 0: none
  std::unordered_map<std::uint64_t, int> last_;  // a pair of tokens -> where it last ended
};

}  // namespace mlxcpp::lm
