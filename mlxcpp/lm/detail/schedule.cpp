#include "mlxcpp/lm/detail/schedule.h"

#include <algorithm>

namespace mlxcpp::lm::detail {
namespace {

constexpr int kTurns = 3;
constexpr int kPatience = 16;

}  // namespace

std::optional<std::size_t> next_prompt(std::span<const Waiting> prompts) {
  bool closed = std::any_of(prompts.begin(), prompts.end(), [](const Waiting& w) {
    return !w.begun && !w.fits && w.overtaken >= kPatience;
  });
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    const Waiting& w = prompts[i];
    if (!w.begun && (closed || !w.fits)) continue;
    if (!best && w.passed >= kTurns) return i;
    if (!best || w.left < prompts[*best].left) best = i;
  }
  return best;
}

}  // namespace mlxcpp::lm::detail
