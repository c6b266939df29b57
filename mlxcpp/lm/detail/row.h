// One row of a batch, from its request to its last event.
#pragma once

#include "mlxcpp/lm/batch.h"
#include "mlxcpp/lm/detail/answer.h"
#include "mlxcpp/lm/detail/guessing.h"
#include "mlxcpp/lm/step.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

namespace mlxcpp::lm::detail {

/// Tokens for which an answer without a limit reserves memory.
inline constexpr int kGrowth = 512;

struct Row {
  RowId id;
  Answer answer;
  SampleRow sampling;
  std::shared_ptr<CachedPrompt> cache;
  std::optional<int> adapter;
  std::unique_ptr<Guessing> guessing;  // null: no guesses
  std::optional<TokenId> last = {};    // generated, and not in the cache yet
  std::uint64_t reserved = 0;          // bytes ...
  int reserved_tokens = 0;             // ... for so many tokens; 0: not begun
  std::uint64_t stepped = 0;           // when it had its last token
  int overtaken = 0, passed = 0, cached = 0;
  bool paused = false, cancelled = false, done = false;
  bool failed = false, stored = false;  // stored: its cache comes from the store, and goes there
  std::vector<PromptCut> cuts = {};     // those to come

  bool generates() const { return last.has_value(); }
  bool begun() const { return reserved_tokens > 0; }
  int prompt_left() const {
    return int(answer.prompt().size()) - (begun() ? int(cache->ids.size()) : 0);
  }
  /// The most tokens that the row can hold, as far as its limits say.
  std::int64_t most_tokens() const { return std::int64_t(answer.prompt().size()) + answer.room(); }
  /// What its memory must hold when it begins: all, or a part of an answer without a limit.
  int first_tokens() const {
    std::int64_t prompt = std::int64_t(answer.prompt().size());
    std::int64_t most =
        answer.options().max_tokens ? most_tokens() : std::min(most_tokens(), prompt + kGrowth);
    return int(std::min<std::int64_t>(most, std::numeric_limits<int>::max()));
  }
};

}  // namespace mlxcpp::lm::detail
