#include "apps/common/reasoning.h"

#include <algorithm>

namespace mlxcpp::apps {
namespace {

/// Length of the longest end of `text` that `marker` begins with.
std::size_t begun(std::string_view text, std::string_view marker) {
  for (std::size_t n = std::min(text.size(), marker.size() - 1); n > 0; --n)
    if (text.ends_with(marker.substr(0, n))) return n;
  return 0;
}

}  // namespace

std::vector<ReasoningSplitter::Piece> ReasoningSplitter::push(std::string_view text) {
  std::vector<Piece> pieces;
  auto give = [&](std::size_t n) {
    if (n > 0) pieces.push_back({pending_.substr(0, n), reasoning_});
    pending_.erase(0, n);
  };
  pending_ += text;
  if (start_.empty() || end_.empty()) {
    give(pending_.size());
    return pieces;
  }
  for (;;) {
    const std::string& marker = reasoning_ ? end_ : start_;
    auto at = pending_.find(marker);
    if (at == pending_.npos) {
      give(pending_.size() - begun(pending_, marker));
      return pieces;
    }
    give(at);
    pending_.erase(0, marker.size());
    reasoning_ = !reasoning_;
  }
}

std::vector<ReasoningSplitter::Piece> ReasoningSplitter::finish() {
  std::vector<Piece> pieces;
  if (!pending_.empty()) pieces.push_back({std::move(pending_), reasoning_});
  pending_.clear();
  return pieces;
}

}  // namespace mlxcpp::apps
