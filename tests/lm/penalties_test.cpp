#include "mlxcpp/lm/penalties.h"

#include "mlxcpp/base/error.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <string>

namespace mlxcpp::lm {
namespace {

using Row = std::vector<float>;
using Tokens = std::vector<TokenId>;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr TokenId kHuge = std::numeric_limits<TokenId>::max();

/// A row after the penalties that follow the prompt and the answer.
Row apply(const PenaltyOptions& options,
          const Tokens& prompt,
          const Row& row,
          const Tokens& answer = {}) {
  Penalties p(options, int(row.size()));
  p.begin(prompt);
  for (TokenId t : answer) p.push(t);
  array x(row.begin(), {1, int(row.size())});
  array out = ops::edited(x, {p.edits(answer.size())});
  out.eval();
  return {out.data<float>(), out.data<float>() + out.size()};
}

// Values for which all the arithmetic below is exact.
const Row kRow = {4, -2, 0, 8, -1, 2};

TEST(RepetitionPenalty, DividesPositiveAndMultipliesNegativeLogitsOnceAnId) {
  EXPECT_EQ(apply({.repetition_penalty = 2}, {0, 1, 0, 2, 0}, kRow), (Row{2, -4, 0, 8, -1, 2}));
  EXPECT_EQ(apply({.repetition_penalty = 0.5f}, {3, 4}, kRow), (Row{4, -2, 0, 16, -0.5f, 2}));
}

TEST(PresencePenalty, SubtractsOnceAnId) {
  EXPECT_EQ(apply({.presence_penalty = 0.5f}, {3, 1, 3, 3}, kRow), (Row{4, -2.5f, 0, 7.5f, -1, 2}));
  EXPECT_EQ(apply({.presence_penalty = -1}, {0}, kRow), (Row{5, -2, 0, 8, -1, 2}));
}

TEST(FrequencyPenalty, SubtractsForEveryOccurrence) {
  EXPECT_EQ(apply({.frequency_penalty = 0.5f}, {3, 1, 3, 3}, kRow),
            (Row{4, -2.5f, 0, 6.5f, -1, 2}));
}

TEST(LogitBias, IsAddedWhateverTheHistoryAndAddsUp) {
  EXPECT_EQ(apply({.logit_bias = {{5, -100}, {0, 1}, {5, 10}}}, {}, kRow),
            (Row{5, -2, 0, 8, -1, -88}));
}

TEST(Penalties, SeeOnlyTheLastTokensOfTheirContext) {
  Tokens history = {0, 0, 0, 1, 3};
  EXPECT_EQ(apply({.repetition_penalty = 2, .repetition_context_size = 2}, history, kRow),
            (Row{4, -4, 0, 4, -1, 2}));
  EXPECT_EQ(apply({.presence_penalty = 1, .presence_context_size = 1}, history, kRow),
            (Row{4, -2, 0, 7, -1, 2}));
  EXPECT_EQ(apply({.frequency_penalty = 1, .frequency_context_size = 4}, history, kRow),
            (Row{2, -3, 0, 7, -1, 2}));
}

TEST(Penalties, SeeTwentyTokensUnlessToldOtherwise) {
  Tokens history(21, 3);
  history.front() = 0;
  EXPECT_EQ(apply({.frequency_penalty = 1}, history, kRow), (Row{4, -2, 0, -12, -1, 2}));
  EXPECT_EQ(apply({.repetition_penalty = 2, .presence_penalty = 1}, history, kRow),
            (Row{4, -2, 0, 3, -1, 2}));
}

TEST(Penalties, SeeTheWholeHistoryForAContextOfZero) {
  Tokens history(50, 3);
  history.front() = 0;
  EXPECT_EQ(apply({.frequency_penalty = 1, .frequency_context_size = 0}, history, kRow),
            (Row{3, -2, 0, -41, -1, 2}));
  EXPECT_EQ(apply({.repetition_penalty = 2, .repetition_context_size = 0}, history, kRow),
            (Row{2, -2, 0, 4, -1, 2}));
  EXPECT_EQ(apply({.presence_penalty = 2, .presence_context_size = 0}, history, kRow),
            (Row{2, -2, 0, 6, -1, 2}));
}

TEST(Penalties, LeaveLogitsAloneWithoutAHistory) {
  PenaltyOptions all{.repetition_penalty = 2, .presence_penalty = 1, .frequency_penalty = 1};
  EXPECT_EQ(apply(all, {}, kRow), kRow);
}

TEST(Penalties, PassOverTokensBeyondTheVocabulary) {
  PenaltyOptions all{.repetition_penalty = 2,
                     .presence_penalty = 1,
                     .frequency_penalty = 1,
                     .frequency_context_size = 2,
                     .dry_multiplier = 1,
                     .dry_allowed_length = 1};
  for (TokenId unknown : {TokenId{6}, TokenId{1} << 31, kHuge})
    EXPECT_EQ(apply(all, {unknown, unknown, unknown}, kRow), kRow);
  PenaltyOptions no_dry = all;
  no_dry.dry_multiplier = 0;
  no_dry.frequency_context_size = 0;
  EXPECT_EQ(apply(no_dry, {6, 0, kHuge}, kRow), apply(no_dry, {0}, kRow));
}

TEST(Penalties, ComeInTheOrderBiasRepetitionPresenceFrequency) {
  PenaltyOptions all{.repetition_penalty = 2,
                     .presence_penalty = 1,
                     .frequency_penalty = 4,
                     .logit_bias = {{1, 6}}};
  // (-2 + 6) / 2 - 1 - 4; repetition before the bias would give -4 + 6 - 5.
  EXPECT_EQ(apply(all, {1}, kRow), (Row{4, -3, 0, 8, -1, 2}));
}

TEST(Penalties, ThatAreOffAreAbsent) {
  for (auto& o :
       {PenaltyOptions{},
        PenaltyOptions{.repetition_penalty = 0, .presence_penalty = 0, .frequency_penalty = 0},
        PenaltyOptions{.repetition_penalty = 1},
        PenaltyOptions{.dry_multiplier = 1, .dry_penalty_last_n = 0}}) {
    Penalties p(o, 6);
    EXPECT_FALSE(p.needs_tokens());
    p.begin(Tokens{1, 2, 1, 2, 1});
    EXPECT_TRUE(p.edits(0).empty());
  }
  EXPECT_FALSE(Penalties({.logit_bias = {{1, 1}}, .min_tokens = 3}, 6).needs_tokens());
  EXPECT_TRUE(Penalties({.frequency_penalty = 1}, 6).needs_tokens());
  EXPECT_TRUE(Penalties({.dry_multiplier = 1}, 6).needs_tokens());
}

TEST(Penalties, SeePromptAndAnswerWithinTheirCommonContext) {
  PenaltyOptions o{.frequency_penalty = 1, .frequency_context_size = 0};
  EXPECT_EQ(apply(o, {0, 0, 1}, kRow, {3, 3}), (Row{2, -3, 0, 6, -1, 2}));
  o.penalty_context = 3;
  EXPECT_EQ(apply(o, {0, 0, 1}, kRow, {3, 3}), (Row{4, -3, 0, 6, -1, 2}));
  o.frequency_context_size = 20;
  EXPECT_EQ(apply(o, {0, 0, 1}, kRow, {3, 3}), (Row{4, -3, 0, 6, -1, 2}));
  o.frequency_context_size = 2;
  EXPECT_EQ(apply(o, {0, 0, 1}, kRow, {3, 3}), (Row{4, -2, 0, 6, -1, 2}));
}

TEST(Penalties, SeeOnlyTheLastTokenOfThePromptIfToldSo) {
  PenaltyOptions o{.frequency_penalty = 1, .penalties_see_prompt = false};
  EXPECT_EQ(apply(o, {0, 0, 1}, kRow, {3, 3}), (Row{4, -3, 0, 6, -1, 2}));
  EXPECT_EQ(apply(o, {}, kRow, {3}), (Row{4, -2, 0, 7, -1, 2}));
}

TEST(Penalties, OfACopyGoTheirOwnWay) {
  Penalties a({.frequency_penalty = 1, .frequency_context_size = 2}, 6);
  a.begin(Tokens{0, 1});
  Penalties b = a;
  b.push(3);
  ASSERT_EQ(a.edits(0).size(), 2u);
  EXPECT_EQ(a.edits(0)[0].id, 0u);
  EXPECT_EQ(b.edits(0)[1].id, 3u);
}

TEST(Penalties, CountAsIfTheWindowHadBeenReadAnew) {
  PenaltyOptions o{.repetition_penalty = 1.25f,
                   .presence_penalty = 0.5f,
                   .frequency_penalty = 0.25f,
                   .repetition_context_size = 7,
                   .presence_context_size = 3,
                   .frequency_context_size = 0,
                   .penalty_context = 11};
  Penalties p(o, 9);
  Tokens history;
  std::uint64_t state = 1;
  for (int step = 0; step < 200; ++step) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    history.push_back(TokenId(state >> 33) % 10);  // 9 is beyond the vocabulary
    p.push(history.back());
    auto within = [&](std::size_t n, TokenId id) {
      auto from = history.end() - std::min(n, history.size());
      return std::count(from, history.end(), id);
    };
    std::map<TokenId, ops::Edit> edits;
    for (auto& e : p.edits(0)) edits[e.id] = e;
    for (TokenId id = 0; id < 9; ++id) {
      auto e = edits.count(id) ? edits[id] : ops::Edit{};
      EXPECT_EQ(e.factor, within(7, id) ? 1.25f : 1) << step;
      EXPECT_EQ(e.subtract, (within(3, id) ? 0.5f : 0) + 0.25f * float(within(11, id))) << step;
    }
    EXPECT_FALSE(edits.count(9));
  }
}

TEST(MinTokens, MasksEndTokensUntilThere) {
  PenaltyOptions o{.frequency_penalty = -100,
                   .logit_bias = {{5, 100}},
                   .min_tokens = 2,
                   .end_tokens = {5, 3, 4000}};
  Row masked = {4, -2, 0, -kInf, -1, -kInf};
  EXPECT_EQ(apply(o, {}, kRow), masked) << "whatever the bias";
  EXPECT_EQ(apply(o, {5, 5}, kRow, {5}), masked) << "whatever the penalties";
  EXPECT_EQ(apply(o, {}, kRow, {0, 0})[5], 102);
}

/// DRY by its definition: for each place that ends with the same tokens as the history, the token
/// that followed there.
std::map<TokenId, float> dry_by_loops(const Tokens& tokens, const PenaltyOptions& o) {
  int n = int(tokens.size()), limit = n;
  for (int begin = n - 1; begin >= 0 && limit == n; --begin) {
    int longest = 0;
    for (auto& b : o.dry_sequence_breakers) {
      int length = int(b.size());
      if (begin + length <= n && std::equal(b.begin(), b.end(), tokens.begin() + begin))
        longest = std::max(longest, length);
    }
    if (longest) limit = n - begin - longest;
  }
  std::map<TokenId, float> out;
  for (int next = 1; next < n; ++next) {
    int same = 0;
    while (same < next && tokens[next - 1 - same] == tokens[n - 1 - same]) ++same;
    same = std::min(same, limit);
    auto& breakers = o.dry_sequence_breakers;
    if (std::count(breakers.begin(), breakers.end(), Tokens{tokens[next]})) continue;
    if (same >= o.dry_allowed_length && n > o.dry_allowed_length)
      out[tokens[next]] =
          std::max(out[tokens[next]],
                   o.dry_multiplier * std::pow(o.dry_base, float(same - o.dry_allowed_length)));
  }
  return out;
}

std::map<TokenId, float> dry_of(const Tokens& tokens, const PenaltyOptions& o) {
  Penalties p(o, 100);
  p.begin(tokens);
  std::map<TokenId, float> out;
  for (auto& e : p.edits(0)) out[e.id] = e.subtract;
  return out;
}

TEST(Dry, PenalisesWhatWouldGoOnWithAMatch) {
  // llama.cpp's own example: a b c c b c y a b c.
  Tokens history = {1, 2, 3, 3, 2, 3, 9, 1, 2, 3};
  PenaltyOptions o{.dry_multiplier = 1, .dry_base = 2, .dry_allowed_length = 1};
  EXPECT_EQ(dry_of(history, o), (std::map<TokenId, float>{{3, 4}, {2, 1}, {9, 2}}));
  o.dry_allowed_length = 2;
  EXPECT_EQ(dry_of(history, o), (std::map<TokenId, float>{{3, 2}, {9, 1}}));
  o.dry_allowed_length = 4;
  EXPECT_TRUE(dry_of(history, o).empty());
}

TEST(Dry, EndsMatchesAtBreakers) {
  Tokens history = {1, 2, 3, 5, 1, 2, 3};
  PenaltyOptions o{.dry_multiplier = 1, .dry_base = 2, .dry_allowed_length = 1};
  EXPECT_EQ(dry_of(history, o), (std::map<TokenId, float>{{5, 4}}));
  o.dry_sequence_breakers = {{2}};
  EXPECT_EQ(dry_of(history, o), (std::map<TokenId, float>{{5, 1}}));
  o.dry_sequence_breakers = {{1, 2}};
  EXPECT_EQ(dry_of(history, o), (std::map<TokenId, float>{{5, 1}}));
  o.dry_sequence_breakers = {{5}};
  EXPECT_TRUE(dry_of(history, o).empty()) << "a breaker itself may come again";
  o.dry_sequence_breakers = {{3}};
  EXPECT_TRUE(dry_of(history, o).empty());
}

TEST(Dry, SeesItsLastTokensOnly) {
  Tokens history = {1, 2, 7, 1, 2, 8, 1, 2};
  PenaltyOptions o{.dry_multiplier = 1, .dry_base = 2, .dry_allowed_length = 1};
  EXPECT_EQ(dry_of(history, o), (std::map<TokenId, float>{{7, 2}, {8, 2}}));
  o.dry_penalty_last_n = 5;
  EXPECT_EQ(dry_of(history, o), (std::map<TokenId, float>{{8, 2}}));
  o.dry_penalty_last_n = -1;
  o.penalty_context = 4;
  EXPECT_EQ(dry_of(history, o), (std::map<TokenId, float>{{8, 1}}));
}

TEST(Dry, StaysFiniteForTheLongestMatches) {
  Tokens same(3000, 4);
  auto got = dry_of(same, {.dry_multiplier = 0.5f});
  ASSERT_EQ(got.size(), 1u);
  EXPECT_GT(got[4], 1e37f);
  EXPECT_TRUE(std::isfinite(got[4]));
  EXPECT_EQ(dry_of(same, {.dry_multiplier = 0.5f, .dry_base = 1})[4], 0.5f);
}

TEST(Dry, AgreesWithItsDefinitionOnRandomHistories) {
  std::uint64_t state = 5;
  auto random = [&](int below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return int((state >> 33) % std::uint64_t(below));
  };
  for (int round = 0; round < 400; ++round) {
    Tokens history;
    int letters = 2 + random(5), length = random(60);
    for (int i = 0; i < length; ++i) history.push_back(TokenId(random(letters)));
    PenaltyOptions o{.dry_multiplier = 0.5f, .dry_base = 1.5f, .dry_allowed_length = random(5)};
    for (int i = random(3); i > 0; --i) {
      Tokens breaker;
      for (int j = random(3); j >= 0; --j) breaker.push_back(TokenId(random(letters)));
      o.dry_sequence_breakers.push_back(breaker);
    }
    auto got = dry_of(history, o), want = dry_by_loops(history, o);
    ASSERT_EQ(got.size(), want.size()) << "round " << round;
    for (auto [id, penalty] : want) EXPECT_NEAR(got[id], penalty, 1e-4f * penalty) << round;
  }
}

std::string complaint(const PenaltyOptions& options, int vocab_size) {
  try {
    options.validate(vocab_size);
    return "";
  } catch (const InputError& e) {
    return e.what();
  }
}

TEST(PenaltyOptions, NameTheOptionThatIsWrong) {
  struct Case {
    PenaltyOptions options;
    std::string message;
  };
  const Case cases[] = {
      {{.repetition_penalty = -0.5f},
       "repetition_penalty: bad value; expected a number of at least 0, found -0.5"},
      {{.repetition_penalty = kNan},
       "repetition_penalty: bad value; expected a finite number, found nan"},
      {{.presence_penalty = kInf},
       "presence_penalty: bad value; expected a finite number, found inf"},
      {{.frequency_penalty = -kInf},
       "frequency_penalty: bad value; expected a finite number, found -inf"},
      {{.repetition_context_size = -1},
       "repetition_context_size: bad value; expected a number of at least 0, found -1"},
      {{.presence_context_size = -2},
       "presence_context_size: bad value; expected a number of at least 0, found -2"},
      {{.frequency_context_size = -3},
       "frequency_context_size: bad value; expected a number of at least 0, found -3"},
      {{.dry_multiplier = -1},
       "dry_multiplier: bad value; expected a finite number of at least 0, found -1"},
      {{.dry_base = 0.5f},
       "dry_base: bad value; expected a finite number of at least 1, found 0.5"},
      {{.dry_base = kNan},
       "dry_base: bad value; expected a finite number of at least 1, found nan"},
      {{.dry_allowed_length = -1},
       "dry_allowed_length: bad value; expected a number of at least 0, found -1"},
      {{.dry_penalty_last_n = -2},
       "dry_penalty_last_n: bad value; expected a number of at least -1, found -2"},
      {{.dry_sequence_breakers = {{1}, {}}},
       "dry_sequence_breakers: bad value; expected at least one token each, found none"},
      {{.penalty_context = -1},
       "penalty_context: bad value; expected a number of at least 0, found -1"},
      {{.min_tokens = -1}, "min_tokens: bad value; expected a number of at least 0, found -1"},
      {{.logit_bias = {{0, 1}, {1, kNan}}},
       "logit_bias: bad value; expected a finite number, found nan"},
      {{.logit_bias = {{-1, 1}}},
       "logit_bias: bad value; expected ids of the vocabulary (0 to 5), found -1"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(complaint(c.options, 6), c.message);
    EXPECT_THROW(Penalties(c.options, 6), InputError) << c.message;
  }
  EXPECT_EQ(complaint({.logit_bias = {{6, 1}}}, 6),
            "logit_bias: bad value; expected ids of the vocabulary (0 to 5), found 6");
  EXPECT_EQ(complaint({.repetition_penalty = 1.1f, .logit_bias = {{5, -100}}}, 6), "");
}

}  // namespace
}  // namespace mlxcpp::lm
