#include "mlxcpp/text/stop.h"

#include <algorithm>
#include <cstddef>
#include <utility>

namespace mlxcpp::text {
namespace {

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
}

std::string StopMatcher::push(std::string_view piece) {
  if (found_) return {};
  pending_.append(piece);
  if (cut_at_stop()) return std::exchange(pending_, {});
  const std::size_t shown = pending_.size() - held_back();
  std::string out = pending_.substr(0, shown);
  pending_.erase(0, shown);
  return out;
}

std::string StopMatcher::finish() {
  if (!found_) cut_at_stop();
  return std::exchange(pending_, {});
}

/// What was given out can not be part of a stop string, so the tail is all that needs searching.
bool StopMatcher::cut_at_stop() {
  std::size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    const std::size_t at = pending_.find(stop);
    if (at >= first) continue;
    first = at;
    found_ = stop;
  }
  if (!found_) return false;
  pending_.resize(first);
  return true;
}

/// The longest end of the text that is the beginning of a stop string, grown to whole characters.
std::size_t StopMatcher::held_back() const {
  std::size_t longest = 0;
  for (const std::string& stop : stops_) {
    std::size_t n = std::min(stop.size() - 1, pending_.size());
    while (n > longest &&
           !std::string_view(pending_).ends_with(std::string_view(stop).substr(0, n))) {
      --n;
    }
    longest = std::max(longest, n);
  }
  std::size_t start = pending_.size() - longest;
  while (start > 0 && start < pending_.size() && continues_character(pending_[start])) --start;
  return pending_.size() - start;
}

}  // namespace mlxcpp::text
