#include "apps/bench/cases.h"

#include "apps/common/model.h"
#include "mlxcpp/base/error.h"

#include <fmt/format.h>

#include <algorithm>

namespace mlxcpp::apps::bench {
namespace {

constexpr int kMostTokens = 1 << 20, kMostRows = 1024, kMostThreads = 1024;
constexpr std::size_t kMostEntries = 64;

std::vector<int> parse(const char* flag, const std::string& text, int least, int most) {
  auto numbers = parse_ids(flag, text);
  if (numbers.size() > kMostEntries)
    throw InputError(describe(flag,
                              "too many numbers",
                              fmt::format("at most {}", kMostEntries),
                              std::to_string(numbers.size())));
  for (int n : numbers)
    if (n < least || n > most)
      throw InputError(describe(
          flag, "bad value", fmt::format("numbers from {} to {}", least, most), std::to_string(n)));
  return numbers;
}

}  // namespace

std::vector<Case> make_cases(const Lists& lists, int threads) {
  auto prompts = parse("--prompt", lists.prompt, 0, kMostTokens);
  auto generated = parse("--generate", lists.generate, 0, kMostTokens);
  auto depths = parse("--depth", lists.depth, 0, kMostTokens);
  auto batches = parse("--batch", lists.batch, 1, kMostRows);
  auto counts = lists.threads.empty() ? std::vector{threads}
                                      : parse("--threads", lists.threads, 1, kMostThreads);
  std::sort(depths.begin(), depths.end());  // each fills the caches from where the one before ended
  std::vector<Case> cases;
  for (int d : depths) {
    for (int t : counts) {
      for (int n : prompts)
        if (n > 0)
          cases.push_back({.prefill = true, .tokens = n, .depth = d, .batch = 1, .threads = t});
      for (int n : generated)
        for (int b : batches)
          if (n > 0)
            cases.push_back({.prefill = false, .tokens = n, .depth = d, .batch = b, .threads = t});
    }
  }
  if (cases.empty())
    throw InputError(describe("bench", "nothing to do", "--prompt or --generate above 0", "0"));
  return cases;
}

void require_context(const std::vector<Case>& cases, int context) {
  for (auto& c : cases)
    if (c.depth + c.tokens > context)
      throw InputError(describe(c.prefill ? "--prompt" : "--generate",
                                "beyond the model's context",
                                fmt::format("depth and tokens of at most {}", context),
                                fmt::format("{} + {}", c.depth, c.tokens)));
}

}  // namespace mlxcpp::apps::bench
