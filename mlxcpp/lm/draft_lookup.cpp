#include "mlxcpp/lm/draft_lookup.h"

#include <algorithm>

namespace mlxcpp::lm {
namespace {

constexpr int kCandidates = 8;   // occurrences looked at, the latest first
constexpr int kLongEnough = 16;  // a match is not followed further back
constexpr std::uint64_t kPairBytes = 6 * sizeof(std::uint64_t);  // of last_: a node, its buckets

std::uint64_t pair_of(TokenId a, TokenId b) { return std::uint64_t(a) << 32 | b; }

}  // namespace

void PromptLookup::consumed(std::span<const TokenId> ids, const std::optional<array>&) {
  for (TokenId id : ids) {
    int end = int(ids_.size()) + 1, earlier = 0;
    if (!ids_.empty()) earlier = std::exchange(last_[pair_of(ids_.back(), id)], end);
    ids_.push_back(id);
    before_.push_back(earlier);
  }
}

/// Of the match of ids_ + next with what ends at `end`.
int PromptLookup::length_of(int end, TokenId next) const {
  if (ids_[end - 1] != next) return 0;
  int n = 1, size = int(ids_.size());
  while (n < kLongEnough && n < end && ids_[end - 1 - n] == ids_[size - n]) ++n;
  return n;
}

std::optional<PromptLookup::Match> PromptLookup::find(TokenId next) const {
  if (ids_.empty()) return {};
  auto it = last_.find(pair_of(ids_.back(), next));
  if (it == last_.end()) return {};
  Match best{0, 0};
  int end = it->second;
  for (int i = 0; i < kCandidates && end > 0 && best.length < kLongEnough; ++i) {
    int length = length_of(end, next);
    if (length > best.length) best = {end, length};
    end = before_[end - 1];
  }
  return best;
}

std::optional<int> PromptLookup::sort_of(TokenId next) {
  auto match = find(next);
  if (!match) return {};
  return match->length < 3 ? 0 : match->length < 5 ? 1 : match->length < 10 ? 2 : 3;
}

Proposal PromptLookup::propose(TokenId next, int n) {
  Proposal p;
  auto match = find(next);
  if (!match) return p;
  int size = int(ids_.size());
  for (int i = 0; i < n; ++i) {
    int at = match->end + i;  // in ids_, then next, then the guesses
    p.ids.push_back(at < size ? ids_[at] : at == size ? next : p.ids[at - size - 1]);
  }
  return p;
}

std::uint64_t PromptLookup::nbytes() const {
  return ids_.capacity() * sizeof(TokenId) + before_.capacity() * sizeof(int) +
         last_.size() * kPairBytes;
}

/// Vectors have room for twice as much at most; each token may begin a pair.
std::uint64_t PromptLookup::most_bytes(int tokens) const {
  return std::uint64_t(tokens) * (2 * sizeof(TokenId) + 2 * sizeof(int) + kPairBytes);
}

}  // namespace mlxcpp::lm
