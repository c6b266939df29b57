// Guesses checked by a model: rejection sampling, where guesses come from, and whether they pay.
#include "mlxcpp/lm/speculative.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/draft_lookup.h"
#include "mlxcpp/lm/sample.h"
#include "tests/support/errors.h"

#include <mlx/ops.h>
#include <mlx/random.h>

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace mlxcpp::lm {
namespace {

using Probs = std::vector<float>;

Probs probs_of(const Probs& logits, const SampleOptions& o) {
  array x(logits.data(), {1, int(logits.size())}, mx::float32);
  array p = mx::contiguous(distribution(x, o, 1));
  p.eval();
  return {p.data<float>(), p.data<float>() + p.size()};
}

/// Sum of (seen - expected)^2 / expected over what can occur; what can not must not have.
double chi_square(const std::map<std::vector<TokenId>, int>& seen,
                  const std::map<std::vector<TokenId>, double>& expected,
                  int trials) {
  double sum = 0;
  for (auto& [what, p] : expected) {
    auto it = seen.find(what);
    double count = it == seen.end() ? 0 : it->second, want = p * trials;
    if (want > 0) sum += (count - want) * (count - want) / want;
  }
  for (auto& [what, count] : seen)
    if (!expected.count(what) || expected.at(what) == 0) sum = INFINITY;
  return sum;
}

/// A tiny language: what follows a token depends on it alone.
struct Language {
  std::vector<Probs> logits;  // by the token before
  SampleOptions options;
  Probs after(TokenId id) const { return probs_of(logits[id], options); }
};

/// Two tokens after token 0, one pass of verification with a guess of two tokens (and single draws
/// where it was cut short): how often each pair occurs.
template <class Guess>
std::map<std::vector<TokenId>, int> pairs(const Language& target, int trials, Guess make) {
  std::map<std::vector<TokenId>, int> seen;
  std::vector<Probs> after;
  for (TokenId id = 0; id < target.logits.size(); ++id) after.push_back(target.after(id));
  Uniform uniform(11);
  for (int t = 0; t < trials; ++t) {
    Proposal guess = make(uniform);
    std::vector<Probs> p = {after[0], after[guess.ids[0]], after[guess.ids[1]]};
    Verdict v = verify(p, guess, uniform);
    std::vector<TokenId> out(guess.ids.begin(), guess.ids.begin() + v.accepted);
    out.push_back(v.next);
    while (out.size() < 2) out.push_back(draw(after[out.back()], uniform()));
    out.resize(2);
    ++seen[out];
  }
  return seen;
}

std::map<std::vector<TokenId>, double> exact_pairs(const Language& l) {
  std::map<std::vector<TokenId>, double> p;
  Probs first = l.after(0);
  for (TokenId a = 0; a < first.size(); ++a) {
    Probs second = l.after(a);
    for (TokenId b = 0; b < second.size(); ++b)
      if (first[a] * second[b] > 0) p[{a, b}] = double(first[a]) * second[b];
  }
  return p;
}

Language target_language(const SampleOptions& o) {
  return {{{0.5f, 1.f, -0.3f, 0.2f}, {1.2f, 0, 0.1f, -1}, {0, 0.4f, 0.9f, 0.3f}, {2, 0, 0, 1}}, o};
}
Language draft_language(const SampleOptions& o) {
  return {{{1.f, 0, 0.5f, -0.5f}, {0, 0.6f, 0, 0}, {1, 0, 0, 0.2f}, {0, 1, 2, 0}}, o};
}

const std::vector<SampleOptions> kChains = {
    {.temperature = 1},
    {.temperature = 0.6f},
    {.temperature = 1.3f, .top_p = 0.8f},
    {.temperature = 1, .min_p = 0.4f},
    {.temperature = 0.9f, .top_k = 2},
};

constexpr int kTrials = 40000;
constexpr double kLimit = 45;  // chi-square of 15 degrees of freedom: once in ten thousand at 44.3

TEST(Verify, keeps_the_distribution_where_guesses_were_drawn_by_another_one) {
  for (auto& chain : kChains) {
    Language target = target_language(chain), draft = draft_language({.temperature = 1});
    std::vector<Probs> q;
    for (TokenId id = 0; id < 4; ++id) q.push_back(draft.after(id));
    auto seen = pairs(target, kTrials, [&](Uniform& uniform) {
      TokenId a = draw(q[0], uniform()), b = draw(q[a], uniform());
      return Proposal{{a, b}, {q[0], q[a]}};
    });
    EXPECT_LT(chi_square(seen, exact_pairs(target), kTrials), kLimit)
        << "temperature " << chain.temperature << " top_p " << chain.top_p << " min_p "
        << chain.min_p << " top_k " << chain.top_k;
  }
}

TEST(Verify, keeps_the_distribution_where_guesses_are_sure) {
  for (auto& chain : kChains)
    for (TokenId a = 0; a < 4; ++a) {
      Language target = target_language(chain);
      auto seen = pairs(target, kTrials, [&](Uniform&) { return Proposal{{a, 3 - a}, {}}; });
      EXPECT_LT(chi_square(seen, exact_pairs(target), kTrials), kLimit)
          << chain.temperature << ", guess " << a;
    }
}

TEST(Verify, keeps_as_many_guesses_as_the_two_distributions_share) {
  Language target = target_language({.temperature = 1}), draft = draft_language({.temperature = 1});
  Probs p = target.after(0), q = draft.after(0);
  double shared = 0;
  for (int v = 0; v < 4; ++v) shared += std::min(p[v], q[v]);
  Uniform uniform(3);
  int kept = 0;
  for (int t = 0; t < kTrials; ++t) {
    TokenId a = draw(q, uniform());
    kept += verify(std::vector<Probs>{p, p}, {{a}, {q}}, uniform).accepted;
  }
  EXPECT_NEAR(kept / double(kTrials), shared, 0.01);
}

TEST(Verify, is_greedy_at_temperature_0) {
  Language target = target_language({.temperature = 0});
  Uniform uniform(5);
  std::vector<Probs> p = {target.after(0), target.after(1), target.after(0)};  // 1, 0, 1
  auto is = [&](std::vector<TokenId> guess, int accepted, TokenId next) {
    Verdict v = verify(p, {guess, {}}, uniform);
    EXPECT_EQ(v.accepted, accepted);
    EXPECT_EQ(v.next, next);
  };
  is({1, 0}, 2, 1);
  is({1, 2}, 1, 0);
  is({3, 0}, 0, 1);
}

TEST(Distribution, is_what_the_sampler_draws_from) {
  Probs logits = {0.5f, 1.f, -0.3f, 0.2f, 2.f, -1.f};
  for (auto& chain : kChains) {
    Probs p = probs_of(logits, chain);
    GenerateOptions options;
    options.sample = chain;
    std::vector<SampleRow> states;
    for (int t = 0; t < kTrials; ++t) states.emplace_back(options, 1000 + t, 6);
    std::vector<SampleRow*> rows;
    for (auto& s : states) rows.push_back(&s);
    array x(logits.data(), {1, 6}, mx::float32);
    array ids = sample(mx::broadcast_to(x, {kTrials, 6}), rows).ids;
    ids.eval();
    std::map<std::vector<TokenId>, int> seen;
    std::map<std::vector<TokenId>, double> expected;
    for (int t = 0; t < kTrials; ++t) ++seen[{ids.data<std::uint32_t>()[t]}];
    for (TokenId v = 0; v < 6; ++v)
      if (p[v] > 0) expected[{v}] = p[v];
    EXPECT_LT(chi_square(seen, expected, kTrials), 26);  // 5 degrees: once in ten thousand
  }
}

TEST(Uniform, is_splitmix64) {
  // The first value for seed 0 is 0xe220a8397b1dcdaf.
  Uniform uniform(0);
  EXPECT_EQ(uniform(), double(0xe220a8397b1dcdafu >> 11) / double(std::uint64_t(1) << 53));
}

Proposal guess_after(const std::vector<TokenId>& text, int n) {
  PromptLookup lookup;
  lookup.consumed({text.data(), text.size() - 1}, {});
  return lookup.propose(text.back(), n);
}

TEST(PromptLookup, says_what_followed_the_last_time) {
  EXPECT_EQ(guess_after({1, 2, 3, 4, 5, 9, 1, 2}, 3).ids, (std::vector<TokenId>{3, 4, 5}));
  EXPECT_EQ(guess_after({1, 2, 3, 8, 1, 2, 4, 8, 1, 2}, 2).ids, (std::vector<TokenId>{4, 8}));
}

TEST(PromptLookup, prefers_the_longest_match) {
  EXPECT_EQ(guess_after({7, 1, 2, 3, 9, 1, 2, 4, 7, 1, 2}, 1).ids, (std::vector<TokenId>{3}));
}

TEST(PromptLookup, goes_on_in_the_text_s_own_period) {
  EXPECT_EQ(guess_after({5, 6, 5, 6}, 5).ids, (std::vector<TokenId>{5, 6, 5, 6, 5}));
  EXPECT_EQ(guess_after({5, 5, 5}, 3).ids, (std::vector<TokenId>{5, 5, 5}));
}

TEST(PromptLookup, has_nothing_for_what_is_new) {
  PromptLookup lookup;
  EXPECT_FALSE(lookup.sort_of(1));
  EXPECT_TRUE(lookup.propose(1, 4).ids.empty());
  lookup.consumed(std::vector<TokenId>{1, 2, 3}, {});
  EXPECT_FALSE(lookup.sort_of(4));
  EXPECT_FALSE(lookup.sort_of(3));
}

TEST(PromptLookup, finds_what_a_search_of_the_whole_text_finds) {
  Uniform uniform(9);
  PromptLookup lookup;
  std::vector<TokenId> text;
  for (int t = 0; t < 400; ++t) {
    TokenId next = TokenId(uniform() * 3);
    int best = 0, end = 0;  // the latest of the longest matches of 2 to 16 tokens
    text.push_back(next);
    int size = int(text.size());
    for (int e = 1; e < size; ++e) {
      int n = 0;
      while (n < 16 && n < e && text[e - 1 - n] == text[size - 1 - n]) ++n;
      if (n >= 2 && n >= best) best = n, end = e;
    }
    EXPECT_EQ(lookup.sort_of(next).has_value(), best >= 2);
    // Only the latest eight occurrences are looked at, so the search may know a longer one.
    if (best >= 2 && size - end < 20) EXPECT_EQ(lookup.propose(next, 1).ids[0], text[end]) << t;
    lookup.consumed({&next, 1}, {});
  }
}

/// Right with a fixed chance, and always willing.
class Coin final : public Drafter {
 public:
  void consumed(std::span<const TokenId>, const std::optional<array>&) override {}
  std::optional<int> sort_of(TokenId) override { return 0; }
  Proposal propose(TokenId, int n) override { return {std::vector<TokenId>(n, 0), {}}; }
};

struct Course {
  double seconds = 0;
  int tokens = 0, passes = 0;
  SpeculationStats stats;
  double rate() const { return tokens / seconds; }
};

/// Passes that take 1 and `slope` for each further token, of a text that guesses are right about
/// with chance(t).
template <class Chance>
Course course(bool adaptive, double slope, int tokens, Chance chance) {
  Speculation speculation(std::make_unique<Coin>(), 6, adaptive);
  PassTimes times;
  Uniform uniform(1);
  Course c;
  while (c.tokens < tokens) {
    Proposal guess = speculation.propose(0, 100, times);
    int n = int(guess.ids.size()), right = 0;
    while (right < n && uniform() < chance(c.tokens)) ++right;
    double seconds = 1 + slope * n;
    times.add(1 + n, seconds);
    speculation.verified(guess, right);
    c.seconds += seconds;
    c.tokens += right + 1;
    ++c.passes;
  }
  c.stats = speculation.stats();
  return c;
}

TEST(Speculation, gains_where_guesses_are_right_and_passes_cheap) {
  Course c = course(true, 0.1, 2000, [](int) { return 0.9; });
  // The best fixed length is 6: (1 - 0.9^7) / (1 - 0.9) tokens in 1.6 seconds.
  EXPECT_GT(c.rate(), 0.95 * (1 - std::pow(0.9, 7)) / 0.1 / 1.6);
}

TEST(Speculation, costs_next_to_nothing_where_guesses_are_wrong) {
  EXPECT_GT(course(true, 0.5, 3000, [](int) { return 0.02; }).rate(), 0.97);
  EXPECT_LT(course(false, 0.5, 3000, [](int) { return 0.02; }).rate(), 0.5);
}

TEST(Speculation, costs_next_to_nothing_where_longer_passes_cost_as_much_as_more_passes) {
  EXPECT_GT(course(true, 1.0, 3000, [](int) { return 0.7; }).rate(), 0.97);
}

TEST(Speculation, comes_back_when_guesses_become_right_again) {
  Course c = course(true, 0.1, 4000, [](int t) { return t < 1000 ? 0.0 : 0.95; });
  EXPECT_GT(c.rate(), 2);
}

TEST(Speculation, guesses_no_further_than_there_is_room) {
  Speculation speculation(std::make_unique<Coin>(), 6, false);
  PassTimes times;
  EXPECT_EQ(speculation.propose(0, 100, times).ids.size(), 6u);
  EXPECT_EQ(speculation.propose(0, 2, times).ids.size(), 2u);
  EXPECT_EQ(speculation.propose(0, 0, times).ids.size(), 0u);
}

TEST(PassTimes, interpolates_between_what_was_measured) {
  PassTimes times;
  EXPECT_EQ(times.of(3), 1);
  times.add(1, 10);
  times.add(5, 30);
  EXPECT_EQ(times.of(1), 10);
  EXPECT_EQ(times.of(3), 20);
  EXPECT_GT(times.of(9), 30);
  times.add(1, 1000);  // an interruption counts twice at most
  EXPECT_LE(times.of(1), 20);
}

TEST(PassTimes, forgets_what_was_slow_once) {
  PassTimes times;
  times.add(4, 90);
  for (int i = 0; i < 300; ++i) times.add(1, 10), times.add(2, 11);
  EXPECT_LT(times.of(4), 20);
  for (int i = 0; i < 50; ++i) times.add(2, i % 2 ? 11 : 40);  // every other pass is interrupted
  EXPECT_LT(times.of(2), 14);
}

}  // namespace
}  // namespace mlxcpp::lm
