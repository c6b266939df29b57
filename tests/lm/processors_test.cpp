#include "mlxcpp/lm/processors.h"

#include "mlxcpp/base/error.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace mlxcpp::lm {
namespace {

using Row = std::vector<float>;
using Tokens = std::vector<TokenId>;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr TokenId kHuge = std::numeric_limits<TokenId>::max();

array logits_of(const Row& row) { return array(row.begin(), {1, static_cast<int>(row.size())}); }

Row row_of(const array& a) {
  auto x = mx::contiguous(mx::astype(a, mx::float32));
  x.eval();
  return {x.data<float>(), x.data<float>() + x.size()};
}

array apply(const PenaltyOptions& options, const Tokens& tokens, array logits) {
  for (const auto& process : make_processors(options)) logits = process(tokens, logits);
  return logits;
}
Row apply(const PenaltyOptions& options, const Tokens& tokens, const Row& row) {
  return row_of(apply(options, tokens, logits_of(row)));
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
  PenaltyOptions all{.repetition_penalty = 2, .presence_penalty = 1, .frequency_penalty = 1};
  for (TokenId unknown : {TokenId{6}, TokenId{1} << 31, kHuge}) {
    auto logits = logits_of(kRow);
    EXPECT_EQ(apply(all, {unknown}, logits).id(), logits.id()) << "not the logits as they came";
  }
  EXPECT_EQ(apply(all, {6, 0, kHuge}, kRow), apply(all, {0}, kRow));
}

TEST(Penalties, ComeInTheOrderBiasRepetitionPresenceFrequency) {
  PenaltyOptions all{.repetition_penalty = 2,
                     .presence_penalty = 1,
                     .frequency_penalty = 4,
                     .logit_bias = {{1, 6}}};
  EXPECT_EQ(make_processors(all).size(), 4u);
  // (-2 + 6) / 2 - 1 - 4; repetition before the bias would give -4 + 6 - 5.
  EXPECT_EQ(apply(all, {1}, kRow), (Row{4, -3, 0, 8, -1, 2}));
  // One by one, so that an exchange of the last two is seen too.
  array logits = logits_of(kRow);
  const Row steps[] = {
      {4, 4, 0, 8, -1, 2}, {4, 2, 0, 8, -1, 2}, {4, 1, 0, 8, -1, 2}, {4, -3, 0, 8, -1, 2}};
  int i = 0;
  for (const auto& process : make_processors(all)) {
    logits = process(Tokens{1}, logits);
    EXPECT_EQ(row_of(logits), steps[i]) << "after processor " << i;
    ++i;
  }
}

TEST(Penalties, ThatAreOffAreAbsent) {
  EXPECT_TRUE(make_processors({}).empty());
  EXPECT_TRUE(
      make_processors({.repetition_penalty = 0, .presence_penalty = 0, .frequency_penalty = 0})
          .empty());
  EXPECT_TRUE(make_processors({.repetition_penalty = 1}).empty());
}

TEST(Penalties, KeepTheShapeAndDtypeOfLogits) {
  PenaltyOptions all{.repetition_penalty = 2,
                     .presence_penalty = 1,
                     .frequency_penalty = 4,
                     .logit_bias = {{1, 6}}};
  for (auto dtype : {mx::float16, mx::bfloat16}) {
    auto out = apply(all, {1, 3}, mx::astype(logits_of(kRow), dtype));
    EXPECT_EQ(out.dtype(), dtype);
    EXPECT_EQ(out.shape(), (mx::Shape{1, 6}));
    EXPECT_EQ(row_of(out), (Row{4, -3, 0, -1, -1, 2}));
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
      {{.logit_bias = {{0, 1}, {1, kNan}}},
       "logit_bias: bad value; expected a finite number, found nan"},
      {{.logit_bias = {{-1, 1}}},
       "logit_bias: bad value; expected ids of the vocabulary (0 to 5), found -1"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(complaint(c.options, 6), c.message);
    EXPECT_THROW(make_processors(c.options), InputError) << c.message;
  }
  EXPECT_EQ(complaint({.logit_bias = {{6, 1}}}, 6),
            "logit_bias: bad value; expected ids of the vocabulary (0 to 5), found 6");
  EXPECT_EQ(complaint({.repetition_penalty = 1.1f, .logit_bias = {{5, -100}}}, 6), "");
}

TEST(LogitBias, ForAnIdBeyondTheVocabularyIsRefusedWhenLogitsCome) {
  auto chain = make_processors({.logit_bias = {{2, 1}, {6, 1}, {3, 1}}});
  EXPECT_THROW(chain.front()(Tokens{}, logits_of(kRow)), InputError);
}

}  // namespace
}  // namespace mlxcpp::lm
