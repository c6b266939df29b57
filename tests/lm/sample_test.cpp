#include "mlxcpp/lm/sample.h"

#include "mlxcpp/base/error.h"

#include <mlx/ops.h>
#include <mlx/random.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

namespace mlxcpp::lm {
namespace {

using Row = std::vector<float>;
using Kept = std::vector<int>;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

array rows(const std::vector<Row>& table) {
  Row flat;
  for (const auto& row : table) flat.insert(flat.end(), row.begin(), row.end());
  return array(flat.begin(),
               {static_cast<int>(table.size()), static_cast<int>(table.front().size())});
}

Row log_of(Row probs) {
  for (float& p : probs) p = std::log(p);
  return probs;
}

std::vector<Row> table_of(const array& a) {
  auto x = mx::contiguous(mx::astype(a, mx::float32));
  x.eval();
  const float* p = x.data<float>();
  std::vector<Row> out;
  for (int r = 0; r < x.shape(0); ++r, p += x.shape(1)) out.emplace_back(p, p + x.shape(1));
  return out;
}

std::vector<std::uint32_t> ids_of(array a) {
  EXPECT_EQ(a.dtype(), mx::uint32);
  EXPECT_EQ(a.ndim(), 1u);
  a.eval();
  return {a.data<std::uint32_t>(), a.data<std::uint32_t>() + a.size()};
}

/// The ids that a filter left; checks that it changed nothing about them.
Kept kept(const Row& before, const Row& after) {
  Kept out;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (after[i] == -kInf) continue;
    EXPECT_EQ(after[i], before[i]) << "id " << i;
    out.push_back(static_cast<int>(i));
  }
  return out;
}

Kept kept(const Row& before, const array& after) { return kept(before, table_of(after).front()); }

/// Ids from the most to the least likely.
Kept ranked(const Row& x) {
  Kept ids(x.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return x[a] > x[b]; });
  return ids;
}

/// Random log-probabilities without equal values; row r of (count, vocab).
std::vector<Row> random_rows(int count, int vocab, std::uint64_t seed) {
  auto x = mx::multiply(mx::random::normal({count, vocab}, mx::random::key(seed)), array(3.0f));
  return table_of(mx::subtract(x, mx::logsumexp(x, -1, true)));
}

// The plain definitions, one row at a time, in double.

Kept top_p_by_loop(const Row& x, double p) {
  Kept out;
  double mass = 0, total = 0;
  for (float v : x) total += std::exp(static_cast<double>(v));
  for (int id : ranked(x)) {
    if (mass >= p * total) break;
    out.push_back(id);
    mass += std::exp(static_cast<double>(x[id]));
  }
  std::sort(out.begin(), out.end());
  return out;
}

Kept min_p_by_loop(const Row& x, double min_p, int keep) {
  Kept out, order = ranked(x);
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    double ratio = std::exp(static_cast<double>(x[order[rank]]) - x[order[0]]);
    if (static_cast<int>(rank) < keep || ratio >= min_p) out.push_back(order[rank]);
  }
  std::sort(out.begin(), out.end());
  return out;
}

Kept xtc_by_loop(const Row& x, double threshold, const Kept& special) {
  double total = 0, least = kInf;
  for (float v : x) total += std::exp(static_cast<double>(v));
  auto prob = [&](int id) { return std::exp(static_cast<double>(x[id])) / total; };
  int n = static_cast<int>(x.size());
  for (int id = 0; id < n; ++id)
    if (prob(id) > threshold) least = std::min(least, prob(id));
  Kept out;
  for (int id = 0; id < n; ++id) {
    bool is_special = std::find(special.begin(), special.end(), id) != special.end();
    if (is_special || prob(id) <= least) out.push_back(id);
  }
  return out;
}

const Row kFive = log_of({0.05f, 0.4f, 0.15f, 0.3f, 0.1f});
array key(std::uint64_t seed) { return mx::random::key(seed); }

TEST(TopK, KeepsTheKMostLikely) {
  EXPECT_EQ(kept(kFive, apply_top_k(rows({kFive}), 1)), (Kept{1}));
  EXPECT_EQ(kept(kFive, apply_top_k(rows({kFive}), 3)), (Kept{1, 2, 3}));
}

TEST(TopK, BeyondTheVocabularyKeepsAll) {
  for (int k : {5, 6, 1000}) EXPECT_EQ(table_of(apply_top_k(rows({kFive}), k)).front(), kFive);
}

TEST(TopK, OfEqualTokensStillKeepsExactlyK) {
  Row flat(16, std::log(1 / 16.0f));
  for (int k = 1; k < 16; ++k)
    EXPECT_EQ(kept(flat, apply_top_k(rows({flat}), k)).size(), static_cast<std::size_t>(k));
}

TEST(TopP, KeepsTheFewestTokensThatReachTheMass) {
  auto left = [](float p) { return kept(kFive, apply_top_p(rows({kFive}), p)); };
  EXPECT_EQ(left(0.01f), (Kept{1}));
  EXPECT_EQ(left(0.39f), (Kept{1}));
  EXPECT_EQ(left(0.41f), (Kept{1, 3}));
  EXPECT_EQ(left(0.84f), (Kept{1, 2, 3}));
  EXPECT_EQ(left(0.86f), (Kept{1, 2, 3, 4}));
  EXPECT_EQ(left(0.96f), (Kept{0, 1, 2, 3, 4}));
}

TEST(TopP, IsReachedByAMassThatEqualsIt) {
  // Powers of two: exp(log(x)) and the sums are exact, as the next line checks.
  Row x = log_of({0.25f, 0.5f, 0.125f, 0.125f});
  for (float v : x) ASSERT_EQ(std::exp(v) * 8, std::round(std::exp(v) * 8));
  EXPECT_EQ(kept(x, apply_top_p(rows({x}), 0.5f)), (Kept{1}));
  EXPECT_EQ(kept(x, apply_top_p(rows({x}), 0.75f)), (Kept{0, 1}));
}

TEST(TopP, KeepsAllThatAreEqualToTheLast) {
  Row x = log_of({0.2f, 0.2f, 0.4f, 0.2f});
  EXPECT_EQ(kept(x, apply_top_p(rows({x}), 0.5f)), (Kept{0, 1, 2, 3}));
  EXPECT_EQ(kept(x, apply_top_p(rows({x}), 0.3f)), (Kept{2}));
}

TEST(TopP, MeasuresTheMassThatEarlierFiltersLeft) {
  Row x = kFive;
  x[1] = -kInf;  // 0.6 is left: 0.3 is half of it
  EXPECT_EQ(kept(x, apply_top_p(rows({x}), 0.49f)), (Kept{3}));
  EXPECT_EQ(kept(x, apply_top_p(rows({x}), 0.51f)), (Kept{2, 3}));
}

TEST(MinP, KeepsTokensAboveAShareOfTheBest) {
  auto left = [](float p, int keep) { return kept(kFive, apply_min_p(rows({kFive}), p, keep)); };
  EXPECT_EQ(left(0, 1), (Kept{0, 1, 2, 3, 4}));
  EXPECT_EQ(left(0.2f, 1), (Kept{1, 2, 3, 4}));
  EXPECT_EQ(left(0.3f, 1), (Kept{1, 2, 3}));
  EXPECT_EQ(left(0.7f, 1), (Kept{1, 3}));
  EXPECT_EQ(left(1, 1), (Kept{1}));
}

TEST(MinP, KeepsAtLeastSoManyTokens) {
  auto left = [](float p, int keep) { return kept(kFive, apply_min_p(rows({kFive}), p, keep)); };
  EXPECT_EQ(left(0.9f, 2), (Kept{1, 3}));
  EXPECT_EQ(left(0.9f, 4), (Kept{1, 2, 3, 4}));
  EXPECT_EQ(left(0.2f, 2), (Kept{1, 2, 3, 4}));
  EXPECT_EQ(left(0.9f, 5), (Kept{0, 1, 2, 3, 4}));
  EXPECT_EQ(left(0.9f, 99), (Kept{0, 1, 2, 3, 4}));
}

TEST(Xtc, RemovesTheTopChoicesButTheLeastLikelyOfThem) {
  auto left = [](float threshold, const Kept& special) {
    return kept(kFive, apply_xtc(rows({kFive}), 1, threshold, special, key(1)));
  };
  EXPECT_EQ(left(0.12f, {}), (Kept{0, 2, 4}));        // of 0.4, 0.3, 0.15 stays 0.15
  EXPECT_EQ(left(0.35f, {}), (Kept{0, 1, 2, 3, 4}));  // one candidate: nothing to remove
  EXPECT_EQ(left(0.5f, {}), (Kept{0, 1, 2, 3, 4}));   // none
  EXPECT_EQ(left(0.12f, {3}), (Kept{0, 2, 3, 4}));
  EXPECT_EQ(left(0.12f, {0, 1, 3, 5, 4000}), (Kept{0, 1, 2, 3, 4}));
}

TEST(Xtc, KeepsAllCandidatesThatAreEquallyLeast) {
  Row x = log_of({0.2f, 0.4f, 0.2f, 0.2f});
  EXPECT_EQ(kept(x, apply_xtc(rows({x}), 1, 0.1f, {}, key(1))), (Kept{0, 2, 3}));
}

TEST(Xtc, ActsOnEachRowWithItsProbability) {
  constexpr int kRows = 4000;
  auto out = table_of(apply_xtc(rows(std::vector<Row>(kRows, kFive)), 0.3f, 0.12f, {}, key(7)));
  int acted = 0;
  for (const auto& row : out) acted += kept(kFive, row) == Kept{0, 2, 4};
  EXPECT_NEAR(acted, 0.3 * kRows, 5 * std::sqrt(0.3 * 0.7 * kRows));
  int whole = 0;
  for (const auto& row : out) whole += row == kFive;
  EXPECT_EQ(acted + whole, kRows);
}

TEST(Filters, AgreeWithPlainLoopsOnEveryRowOfABatch) {
  auto table = random_rows(32, 61, 3);
  auto x = rows(table);
  auto check = [&](const std::string& what, const array& out, auto&& expected) {
    ASSERT_EQ(out.shape(), x.shape());
    auto after = table_of(out);
    for (std::size_t r = 0; r < table.size(); ++r)
      EXPECT_EQ(kept(table[r], after[r]), expected(table[r])) << what << ", row " << r;
  };
  for (int k : {1, 7, 60})
    check("top_k", apply_top_k(x, k), [&](const Row& row) {
      auto ids = ranked(row);
      ids.resize(k);
      std::sort(ids.begin(), ids.end());
      return ids;
    });
  for (float p : {0.05f, 0.5f, 0.9f})
    check("top_p", apply_top_p(x, p), [&](const Row& row) { return top_p_by_loop(row, p); });
  for (float p : {0.01f, 0.2f})
    for (int keep : {1, 9})
      check("min_p", apply_min_p(x, p, keep), [&](const Row& row) {
        return min_p_by_loop(row, p, keep);
      });
  for (float t : {0.0f, 0.05f, 0.2f})
    check("xtc", apply_xtc(x, 1, t, {2, 40}, key(1)), [&](const Row& row) {
      return xtc_by_loop(row, t, {2, 40});
    });
}

TEST(Filters, KeepHalfPrecision) {
  for (auto dtype : {mx::float16, mx::bfloat16}) {
    auto x = mx::astype(rows({kFive}), dtype);
    auto before = table_of(x).front();
    for (const auto& out : {apply_top_k(x, 2), apply_top_p(x, 0.6f), apply_min_p(x, 0.6f)}) {
      EXPECT_EQ(out.dtype(), dtype);
      EXPECT_EQ(kept(before, out), (Kept{1, 3}));
    }
    auto out = apply_xtc(x, 1, 0.12f, {}, key(1));
    EXPECT_EQ(out.dtype(), dtype);
    EXPECT_EQ(kept(before, out), (Kept{0, 2, 4}));
  }
}

/// Pearson's statistic of `draws` ids drawn from row `x` at `temperature`, and its mean and
/// standard deviation for a right sampler (k - 1 and sqrt(2 (k - 1))).
struct ChiSquare {
  double value = 0, mean = 0, deviation = 0;
};
ChiSquare chi_square(const std::vector<std::uint32_t>& ids, const Row& x, double temperature) {
  std::vector<double> count(x.size()), prob(x.size());
  for (auto id : ids) ++count.at(id);
  double total = 0;
  for (std::size_t i = 0; i < x.size(); ++i) total += prob[i] = std::exp(x[i] / temperature);
  ChiSquare out;
  int cells = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double expected = prob[i] / total * ids.size();
    if (expected == 0) {
      EXPECT_EQ(count[i], 0) << "id " << i;
      continue;
    }
    out.value += (count[i] - expected) * (count[i] - expected) / expected;
    ++cells;
  }
  out.mean = cells - 1;
  out.deviation = std::sqrt(2.0 * (cells - 1));
  return out;
}

constexpr int kDraws = 20000;

TEST(Categorical, DrawsFromTheTemperedDistribution) {
  auto x = rows(std::vector<Row>(kDraws, kFive));
  for (float temperature : {0.5f, 1.0f, 2.0f}) {
    auto got = chi_square(ids_of(categorical(x, temperature, key(11))), kFive, temperature);
    EXPECT_LT(got.value, got.mean + 6 * got.deviation) << "temperature " << temperature;
    auto other = chi_square(ids_of(categorical(x, temperature, key(11))), kFive, temperature * 1.2);
    EXPECT_GT(other.value, other.mean + 6 * other.deviation) << "the bound is too loose to tell";
  }
}

TEST(Categorical, NeverDrawsARemovedToken) {
  Row x = kFive;
  x[1] = x[4] = -kInf;
  auto got = chi_square(ids_of(categorical(rows(std::vector<Row>(kDraws, x)), 1, key(12))), x, 1);
  EXPECT_LT(got.value, got.mean + 6 * got.deviation);
}

TEST(Categorical, TakesTheBestTokenAtTheSmallestTemperatures) {
  auto x = rows({kFive, {-50, -40, -30, -20, -10}, {-1000, -999, -1001, -1002, -1003}});
  for (float temperature : {1e-6f, 1e-30f, std::numeric_limits<float>::denorm_min()})
    EXPECT_EQ(ids_of(categorical(x, temperature, key(3))), (std::vector<std::uint32_t>{1, 4, 1}));
}

TEST(Categorical, ScalesHalfPrecisionInFloat32) {
  // At this temperature the best values are beyond float16, and the difference decides.
  auto x = mx::astype(rows(std::vector<Row>(64, {-1, -2, -3, -4})), mx::float16);
  auto ids = ids_of(categorical(x, 1e-5f, key(3)));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 0u), 64);
  // The same draws as in float32: scaling in half would round x / temperature to other values.
  auto half = mx::astype(rows(random_rows(kDraws, 50, 5)), mx::bfloat16);
  EXPECT_EQ(ids_of(categorical(half, 0.7f, key(9))),
            ids_of(categorical(mx::astype(half, mx::float32), 0.7f, key(9))));
}

TEST(Sampler, AtTemperatureZeroTakesTheMostLikelyWhateverTheFilters) {
  auto table = random_rows(16, 40, 8);
  std::vector<std::uint32_t> best;
  for (const auto& row : table) best.push_back(static_cast<std::uint32_t>(ranked(row)[0]));
  auto sample = make_sampler({.top_p = 0.5f, .xtc_probability = 1, .xtc_threshold = 0});
  EXPECT_EQ(ids_of(sample(rows(table), key(1))), best);
  EXPECT_EQ(ids_of(make_sampler({})(rows(table), key(2))), best);
}

TEST(Sampler, AppliesTopPThenMinPThenXtcThenTopK) {
  auto drawn = [](const SampleOptions& options, const Row& x) {
    auto ids = ids_of(make_sampler(options)(rows(std::vector<Row>(2000, x)), key(4)));
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return Kept(ids.begin(), ids.end());
  };
  // Each pair of filters would leave another set in the other order.
  Row x = log_of({0.3f, 0.25f, 0.2f, 0.15f, 0.1f});
  // min_p first: of 0.75 the first two have 0.7.
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.7f, .min_p = 0.6f}, x), (Kept{0, 1, 2}));
  // XTC first: 4 alone.
  SampleOptions xtc{.temperature = 1, .xtc_probability = 1, .xtc_threshold = 0.05f};
  auto top_p_xtc = xtc, min_p_xtc = xtc;
  top_p_xtc.top_p = 0.7f;
  min_p_xtc.min_p = 0.6f;
  EXPECT_EQ(drawn(top_p_xtc, x), (Kept{2}));
  EXPECT_EQ(drawn(min_p_xtc, x), (Kept{2}));
  // top_k first: 0 alone, as a single candidate stays.
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 1, .xtc_probability = 1, .xtc_threshold = 0.12f}, x),
            (Kept{3}));
  // top_k first: 0 alone, as it has 0.545 of these two.
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.5f, .top_k = 2}, x), (Kept{0, 1}));
}

TEST(Sampler, CutsTheUntemperedDistribution) {
  // At temperature 4 the first token has 0.33 of the mass, so top_p 0.5 would leave two tokens.
  Row x = log_of({0.6f, 0.2f, 0.1f, 0.1f});
  auto sample = make_sampler({.temperature = 4, .top_p = 0.5f});
  auto ids = ids_of(sample(rows(std::vector<Row>(500, x)), key(4)));
  EXPECT_EQ(std::count(ids.begin(), ids.end(), 0u), 500);
}

TEST(Sampler, DrawsDoNotDependOnWhichFiltersAreOn) {
  auto x = rows(random_rows(500, 30, 6));
  auto plain = ids_of(make_sampler({.temperature = 1})(x, key(21)));
  // Filters that are on and remove nothing.
  SampleOptions idle{.temperature = 1,
                     .top_p = 0.9999999f,
                     .min_p = 1e-30f,
                     .top_k = 30,
                     .xtc_probability = 1e-9f,
                     .xtc_threshold = 0.5f};
  EXPECT_EQ(ids_of(make_sampler(idle)(x, key(21))), plain);
  EXPECT_NE(ids_of(make_sampler({.temperature = 1})(x, key(22))), plain);
}

TEST(Sampler, GivesTheGateAndTheDrawEachItsHalfOfTheKey) {
  auto x = rows(random_rows(500, 30, 6));
  auto [gate, draw] = mx::random::split(key(31));
  auto filtered = apply_xtc(apply_min_p(apply_top_p(x, 0.95f), 0.02f), 0.5f, 0.1f, {3}, gate);
  SampleOptions options{.temperature = 0.8f,
                        .top_p = 0.95f,
                        .min_p = 0.02f,
                        .top_k = 9,
                        .xtc_probability = 0.5f,
                        .xtc_threshold = 0.1f,
                        .xtc_special_tokens = {3}};
  EXPECT_EQ(ids_of(make_sampler(options)(x, key(31))),
            ids_of(categorical(apply_top_k(filtered, 9), 0.8f, draw)));
}

TEST(Sampler, TakesRawLogitsUnlessTopPIsOn) {
  auto x = rows(random_rows(200, 30, 6));
  auto raw = mx::add(x, array(20.0f));
  SampleOptions options{.temperature = 0.8f,
                        .min_p = 0.02f,
                        .top_k = 12,
                        .xtc_probability = 0.5f,
                        .xtc_threshold = 0.1f};
  EXPECT_FALSE(needs_logprobs(options));
  auto sample = make_sampler(options);
  EXPECT_EQ(ids_of(sample(raw, key(5))), ids_of(sample(x, key(5))));

  EXPECT_TRUE(needs_logprobs({.temperature = 1, .top_p = 0.9f}));
  EXPECT_FALSE(needs_logprobs({.temperature = 0, .top_p = 0.9f}));
  EXPECT_FALSE(needs_logprobs({.temperature = 1, .top_p = 0}));
  EXPECT_FALSE(needs_logprobs({.temperature = 1, .top_p = 1}));
}

TEST(Sampler, TreatsTopPOfZeroAndOneAsOff) {
  auto x = rows(random_rows(500, 30, 6));
  auto plain = ids_of(make_sampler({.temperature = 1})(x, key(21)));
  for (float p : {0.0f, 1.0f})
    EXPECT_EQ(ids_of(make_sampler({.temperature = 1, .top_p = p})(x, key(21))), plain);
}

TEST(Sampler, AnswersAnIdOfTheVocabularyForBrokenLogits) {
  auto sample = make_sampler({.temperature = 1,
                              .top_p = 0.5f,
                              .min_p = 0.1f,
                              .top_k = 2,
                              .xtc_probability = 1,
                              .xtc_threshold = 0.1f});
  auto x = rows({Row(5, kNan), Row(5, -kInf), Row(5, kInf), {0, kNan, 1, kInf, -kInf}});
  for (auto id : ids_of(sample(x, key(1)))) EXPECT_LT(id, 5u);
  for (auto id : ids_of(make_sampler({})(x, key(1)))) EXPECT_LT(id, 5u);
}

std::string complaint(const SampleOptions& options) {
  try {
    options.validate();
    return "";
  } catch (const InputError& e) {
    return e.what();
  }
}

TEST(SampleOptions, AcceptTheEndsOfTheirRanges) {
  EXPECT_EQ(complaint({}), "");
  EXPECT_EQ(complaint({.temperature = 100,
                       .top_p = 0,
                       .min_p = 1,
                       .min_tokens_to_keep = 1,
                       .top_k = 1 << 30,
                       .xtc_probability = 1,
                       .xtc_threshold = 0.5f,
                       .xtc_special_tokens = {0}}),
            "");
}

TEST(SampleOptions, NameTheOptionThatIsWrong) {
  struct Case {
    SampleOptions options;
    std::string message;
  };
  const std::string t = "temperature: bad value; expected a finite number of at least 0, found ";
  const Case cases[] = {
      {{.temperature = kNan}, t + "nan"},
      {{.temperature = kInf}, t + "inf"},
      {{.temperature = -1}, t + "-1"},
      {{.top_p = 1.5f}, "top_p: bad value; expected a number from 0 to 1, found 1.5"},
      {{.top_p = kNan}, "top_p: bad value; expected a number from 0 to 1, found nan"},
      {{.min_p = -0.5f}, "min_p: bad value; expected a number from 0 to 1, found -0.5"},
      {{.min_p = kNan}, "min_p: bad value; expected a number from 0 to 1, found nan"},
      {{.min_tokens_to_keep = 0},
       "min_tokens_to_keep: bad value; expected a number of at least 1, found 0"},
      {{.top_k = -1}, "top_k: bad value; expected a number of at least 0, found -1"},
      {{.xtc_probability = 2},
       "xtc_probability: bad value; expected a number from 0 to 1, found 2"},
      {{.xtc_threshold = 0.6f},
       "xtc_threshold: bad value; expected a number from 0 to 0.5, found 0.6"},
      {{.xtc_threshold = kNan},
       "xtc_threshold: bad value; expected a number from 0 to 0.5, found nan"},
      {{.xtc_special_tokens = {3, -1}},
       "xtc_special_tokens: bad value; expected ids of at least 0, found -1"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(complaint(c.options), c.message);
    EXPECT_THROW(make_sampler(c.options), InputError) << c.message;
  }
}

TEST(Filters, RefuseValuesOutsideTheirRanges) {
  auto x = rows({kFive});
  EXPECT_THROW(apply_top_k(x, 0), InputError);
  for (float p : {0.0f, -1.0f, 1.1f, kNan}) EXPECT_THROW(apply_top_p(x, p), InputError);
  for (float p : {-1.0f, 1.1f, kNan}) EXPECT_THROW(apply_min_p(x, p), InputError);
  EXPECT_THROW(apply_min_p(x, 0.5f, 0), InputError);
  EXPECT_THROW(apply_xtc(x, 1.1f, 0.1f, {}, key(1)), InputError);
  EXPECT_THROW(apply_xtc(x, 1, 0.6f, {}, key(1)), InputError);
  for (float t : {0.0f, -1.0f, kInf, kNan}) EXPECT_THROW(categorical(x, t, key(1)), InputError);
}

}  // namespace
}  // namespace mlxcpp::lm
