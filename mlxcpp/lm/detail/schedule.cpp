#include "mlxcpp/lm/detail/schedule.h"

#include <algorithm>

namespace mlxcpp::lm::detail {
namespace {

constexpr std::size_t kTurns = 4;
constexpr int kPatience = 16;

}  // namespace

std::optional<std::size_t> next_prompt(std::span<const Waiting> prompts, std::size_t turn) {
  bool closed = std::any_of(prompts.begin(), prompts.end(), [](const Waiting& w) {
    return !w.begun && !w.fits && w.overtaken >= kPatience;
  });
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const Waiting& w = prompts[i];
    if (!w.begun && (closed || !w.fits)) continue;
    if (!best || w.left < prompts[*best].left) best = i;
    if (turn % kTurns == kTurns - 1) break;
  }
  return best;
}

}  // namespace mlxcpp::lm::detail
