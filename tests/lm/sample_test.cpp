#include "mlxcpp/lm/sample.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/cpu/features.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

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

array rows(const std::vector<Row>& table) {
  Row flat;
  for (const auto& row : table) flat.insert(flat.end(), row.begin(), row.end());
  return array(flat.begin(), {int(table.size()), int(table.front().size())});
}

Row log_of(Row probs) {
  for (float& p : probs) p = std::log(p);
  return probs;
}

GenerateOptions sampling(SampleOptions s) {
  GenerateOptions o;
  o.sample = std::move(s);
  return o;
}

std::vector<SampleRow*> pointers(std::vector<SampleRow>& rows) {
  std::vector<SampleRow*> out;
  for (auto& r : rows) out.push_back(&r);
  return out;
}

/// `count` draws one after the other from the same scores.
Tokens draws(const GenerateOptions& o, const Row& row, int count, std::uint64_t seed = 1) {
  SampleRow r(o, seed, int(row.size()));
  SampleRow* p = &r;
  Tokens out;
  for (int i = 0; i < count; ++i) {
    out.push_back(sample(rows({row}), {&p, 1}).token(0).id);
    r.push(out.back());
  }
  return out;
}

std::map<TokenId, int> counted(const Tokens& tokens) {
  std::map<TokenId, int> out;
  for (TokenId t : tokens) ++out[t];
  return out;
}

const Row kFive = log_of({0.05f, 0.4f, 0.15f, 0.3f, 0.1f});

TEST(Sample, DrawsFromTheDistribution) {
  constexpr int kDraws = 20000;
  auto count = counted(draws(sampling({.temperature = 1}), kFive, kDraws));
  double chi_square = 0;
  for (TokenId id = 0; id < 5; ++id) {
    double expected = std::exp(kFive[id]) * kDraws;
    chi_square += (count[id] - expected) * (count[id] - expected) / expected;
  }
  EXPECT_LT(chi_square, 4 + 6 * std::sqrt(8.0));
}

TEST(Sample, RepeatsItselfForASeed) {
  auto o = sampling({.temperature = 1, .top_p = 0.95f});
  EXPECT_EQ(draws(o, kFive, 50, 3), draws(o, kFive, 50, 3));
  EXPECT_NE(draws(o, kFive, 50, 3), draws(o, kFive, 50, 4));
  // Filters that remove nothing do not change the draws.
  EXPECT_EQ(draws(sampling({.temperature = 1,
                            .top_p = 0.9999999f,
                            .min_p = 1e-30f,
                            .top_k = 5,
                            .xtc_probability = 1e-9f,
                            .xtc_threshold = 0.5f}),
                  kFive,
                  50,
                  3),
            draws(sampling({.temperature = 1}), kFive, 50, 3));
}

TEST(Sample, TakesTheMostLikelyAtTemperatureZeroWhateverElse) {
  GenerateOptions o = sampling({.top_n_sigma = 0.1f,
                                .typical_p = 0.1f,
                                .top_p = 0.5f,
                                .xtc_probability = 1,
                                .xtc_threshold = 0,
                                .mirostat = 2});
  EXPECT_EQ(draws(o, kFive, 3), (Tokens{1, 1, 1}));
}

TEST(Sample, TreatsTopPOfZeroAndNegativeSigmasAsOff) {
  auto plain = draws(sampling({.temperature = 1}), kFive, 40);
  EXPECT_EQ(draws(sampling({.temperature = 1, .top_p = 0}), kFive, 40), plain);
  EXPECT_EQ(draws(sampling({.temperature = 1, .top_n_sigma = -1}), kFive, 40), plain);
}

TEST(Sample, CutsTheUntemperedDistribution) {
  // At temperature 4 the first token has 0.33 of the mass, so top_p 0.5 would leave two tokens.
  Row x = log_of({0.6f, 0.2f, 0.1f, 0.1f});
  EXPECT_EQ(counted(draws(sampling({.temperature = 4, .top_p = 0.5f}), x, 300)).size(), 1u);
}

TEST(Sample, PassesEveryOptionToItsFilter) {
  auto left = [](SampleOptions s) {
    s.temperature = 1;
    Tokens out;
    for (auto [id, n] : counted(draws(sampling(std::move(s)), kFive, 400))) out.push_back(id);
    return out;
  };
  EXPECT_EQ(left({}), (Tokens{0, 1, 2, 3, 4}));
  EXPECT_EQ(left({.top_n_sigma = 0.5f}), (Tokens{1, 3}));
  EXPECT_EQ(left({.typical_p = 0.2f}), (Tokens{3}));
  EXPECT_EQ(left({.top_p = 0.5f}), (Tokens{1, 3}));
  EXPECT_EQ(left({.min_p = 0.3f}), (Tokens{1, 2, 3}));
  EXPECT_EQ(left({.min_p = 0.9f, .min_tokens_to_keep = 2}), (Tokens{1, 3}));
  EXPECT_EQ(left({.top_k = 2}), (Tokens{1, 3}));
  EXPECT_EQ(left({.xtc_probability = 1, .xtc_threshold = 0.12f}), (Tokens{0, 2, 4}));
  EXPECT_EQ(left({.xtc_probability = 1, .xtc_threshold = 0.12f, .xtc_special_tokens = {3}}),
            (Tokens{0, 2, 3, 4}));
}

TEST(Sample, TossesXtcsCoinForEachDraw) {
  constexpr int kDraws = 4000;
  auto count =
      counted(draws(sampling({.temperature = 1, .xtc_probability = 0.3f, .xtc_threshold = 0.12f}),
                    kFive,
                    kDraws));
  // Without XTC 0.7 of the draws are one of the two that it removes.
  double p = 0.7 * 0.7;
  EXPECT_NEAR(count[1] + count[3], p * kDraws, 5 * std::sqrt(p * (1 - p) * kDraws));
}

TEST(Sample, MirostatKeepsTheSurpriseWhereItIsAskedFor) {
  Row row;
  std::vector<double> p;
  double total = 0;
  for (int i = 0; i < 300; ++i) row.push_back(-0.1f * float(i));
  for (float v : row) total += std::exp(double(v));
  for (float v : row) p.push_back(std::exp(double(v)) / total);
  for (float tau : {1.5f, 2.5f, 3.5f}) {
    auto tokens = draws(
        sampling({.temperature = 1, .mirostat = 2, .mirostat_tau = tau, .mirostat_eta = 0.1f}),
        row,
        3000);
    double surprise = 0, mu = 2 * tau;
    for (TokenId t : tokens) {
      double left = p[0];
      for (int i = 1; i < 300; ++i)
        if (-std::log2(p[i]) <= mu) left += p[i];
      if (t > 0) ASSERT_LE(-std::log2(p[t]), mu + 1e-3);
      double bits = -std::log2(p[t] / left);
      surprise += bits / 3000;
      mu -= 0.1 * (bits - tau);
    }
    EXPECT_NEAR(surprise, tau, 0.1) << tau;
  }
}

/// Rows with options of every kind, and penalties.
std::vector<GenerateOptions> mixed_options() {
  std::vector<GenerateOptions> all;
  all.push_back(sampling({}));
  all.push_back(sampling({.temperature = 0.7f, .top_p = 0.9f, .min_p = 0.01f, .top_k = 40}));
  all.push_back(sampling({.temperature = 1.3f, .top_n_sigma = 1.5f, .typical_p = 0.9f}));
  all.push_back(sampling({.temperature = 1, .mirostat = 2, .mirostat_tau = 3}));
  all.push_back(sampling({.temperature = 1,
                          .xtc_probability = 0.5f,
                          .xtc_threshold = 0.02f,
                          .xtc_special_tokens = {3}}));
  all.push_back(sampling({.temperature = 2}));
  all.push_back(sampling({.temperature = 0.5f, .min_p = 0.2f, .min_tokens_to_keep = 3}));
  all[0].logprobs = true;
  all[1].penalties.repetition_penalty = 1.2f;
  all[2].penalties.frequency_penalty = 0.5f;
  all[2].penalties.min_tokens = 4;
  all[2].penalties.end_tokens = {1, 2};
  all[4].top_logprobs = 3;
  all[5].penalties.dry_multiplier = 0.8f;
  all[6].penalties.logit_bias = {{7, 2.f}};
  return all;
}

/// Scores that depend on what was said, as a model's do.
Row scores(const Tokens& said, int vocab) {
  int seed = int(said.size());
  for (TokenId t : said) seed = int((unsigned(seed) * 31u + t) % 100003u);
  array x = mx::multiply(test::noise({vocab}, seed), array(5.f));
  x.eval();
  return {x.data<float>(), x.data<float>() + vocab};
}

struct Said {
  Tokens tokens;
  std::vector<float> logprobs;
  std::vector<std::vector<TokenLogprob>> top;
  void add(const Token& t) {
    tokens.push_back(t.id);
    if (t.logprob) logprobs.push_back(*t.logprob);
    if (!t.top.empty()) top.push_back(t.top);
  }
};
void expect_same(const Said& a, const Said& b, int row) {
  EXPECT_EQ(a.tokens, b.tokens) << "row " << row;
  EXPECT_EQ(a.logprobs, b.logprobs) << "row " << row;
  ASSERT_EQ(a.top.size(), b.top.size()) << "row " << row;
  for (std::size_t i = 0; i < a.top.size(); ++i)
    for (std::size_t k = 0; k < a.top[i].size(); ++k) {
      EXPECT_EQ(a.top[i][k].id, b.top[i][k].id);
      EXPECT_EQ(a.top[i][k].logprob, b.top[i][k].logprob);
    }
}

constexpr int kVocab = 3000, kSteps = 12;
const Tokens kPrompt = {5, 6, 7, 5, 6};

Said alone(const GenerateOptions& o, std::uint64_t seed) {
  SampleRow r(o, seed, kVocab);
  r.begin(kPrompt);
  SampleRow* p = &r;
  Said said;
  for (int i = 0; i < kSteps; ++i) {
    said.add(sample(rows({scores(said.tokens, kVocab)}), {&p, 1}).token(0));
    r.push(said.tokens.back());
  }
  return said;
}

/// Rows that join and leave between steps: row r is there from step r on.
void expect_alone_in_batch() {
  auto options = mixed_options();
  int count = int(options.size());
  std::vector<SampleRow> states;
  for (int r = 0; r < count; ++r) {
    states.emplace_back(options[r], 100 + r, kVocab);
    states.back().begin(kPrompt);
  }
  std::vector<Said> said(count);
  for (int step = 0; step < kSteps + count; ++step) {
    std::vector<int> here;
    for (int r = count - 1; r >= 0; --r)
      if (step >= r && step < r + kSteps) here.push_back(r);
    if (here.empty()) continue;
    std::vector<Row> table;
    std::vector<SampleRow*> in;
    for (int r : here) {
      table.push_back(scores(said[r].tokens, kVocab));
      in.push_back(&states[r]);
    }
    auto out = sample(rows(table), in);
    mx::eval(out.arrays());
    for (std::size_t i = 0; i < here.size(); ++i) {
      said[here[i]].add(out.token(int(i)));
      in[i]->push(said[here[i]].tokens.back());
    }
  }
  for (int r = 0; r < count; ++r) expect_same(said[r], alone(options[r], 100 + r), r);
  EXPECT_EQ(said[0].logprobs.size(), std::size_t(kSteps));
  EXPECT_TRUE(said[1].logprobs.empty()) << "only where it was asked for";
  EXPECT_EQ(said[4].top.size(), std::size_t(kSteps));
}

TEST(Sample, GivesARowTheSameBitsAloneAndAmongOthers) { expect_alone_in_batch(); }

TEST(Sample, GivesARowTheSameBitsAloneAndAmongOthersByMlxsOperationsToo) {
  cpu::use({.mlx = true});
  expect_alone_in_batch();
  cpu::use(cpu::Settings::read());
}

TEST(Sample, OfACopyIsTheSameDrawAgain) {
  GenerateOptions o = sampling({.temperature = 1, .mirostat = 2});
  o.penalties.frequency_penalty = 1;
  SampleRow a(o, 5, kVocab);
  a.begin(kPrompt);
  SampleRow* pa = &a;
  for (int i = 0; i < 5; ++i) a.push(sample(rows({scores({}, kVocab)}), {&pa, 1}).token(0).id);
  SampleRow b = a;
  SampleRow* pb = &b;
  EXPECT_EQ(b.drawn(), 5u);
  Tokens of_a, of_b;
  for (int i = 0; i < 20; ++i) {
    of_a.push_back(sample(rows({scores({}, kVocab)}), {&pa, 1}).token(0).id);
    a.push(of_a.back());
  }
  for (int i = 0; i < 20; ++i) {
    of_b.push_back(sample(rows({scores({}, kVocab)}), {&pb, 1}).token(0).id);
    b.push(of_b.back());
  }
  EXPECT_EQ(of_a, of_b);
}

TEST(Sample, HoldsBackEndTokensUntilThereAreSoMany) {
  GenerateOptions o = sampling({});
  o.penalties.min_tokens = 3;
  o.penalties.end_tokens = {1, 3};
  EXPECT_EQ(draws(o, kFive, 5), (Tokens{2, 2, 2, 1, 1}));
}

TEST(Sample, GivesLogProbabilitiesAfterPenaltiesAndBeforeFilters) {
  GenerateOptions o = sampling({.temperature = 0.1f, .top_k = 1});
  o.top_logprobs = 2;
  o.penalties.logit_bias = {{2, 5.f}};
  SampleRow r(o, 1, 5);
  SampleRow* p = &r;
  Token t = sample(rows({kFive}), {&p, 1}).token(0);
  double weights[5], total = 0;
  for (int i = 0; i < 5; ++i) total += weights[i] = std::exp(kFive[i] + (i == 2 ? 5.0 : 0.0));
  EXPECT_EQ(t.id, 2u);
  EXPECT_NEAR(t.logprob.value(), std::log(weights[2] / total), 1e-6);
  ASSERT_EQ(t.top.size(), 2u);
  EXPECT_EQ(t.top[0].id, 2u);
  EXPECT_EQ(t.top[1].id, 1u);
  EXPECT_NEAR(t.top[1].logprob, std::log(weights[1] / total), 1e-5);
}

TEST(Probabilities, AreThoseOfTheDraws) {
  std::vector<GenerateOptions> options{
      sampling({.temperature = 0}),
      sampling({.temperature = 0.5f}),
      sampling({.temperature = 2, .top_k = 2}),
      sampling({.temperature = 1, .mirostat = 2, .mirostat_tau = 1})};  // mu is 2 bits
  std::vector<SampleRow> states;
  for (auto& o : options) states.emplace_back(o, 1, 5);
  array p = probabilities(rows(std::vector<Row>(4, kFive)), pointers(states));
  p.eval();
  auto expect = [&](int row, std::vector<double> want) {
    double total = 0;
    for (double w : want) total += w;
    for (int i = 0; i < 5; ++i) EXPECT_NEAR(p.data<float>()[row * 5 + i], want[i] / total, 1e-6);
  };
  expect(0, {0, 1, 0, 0, 0});
  expect(1, {0.0025, 0.16, 0.0225, 0.09, 0.01});
  expect(2, {0, std::sqrt(0.4), 0, std::sqrt(0.3), 0});
  expect(3, {0, 0.4, 0, 0.3, 0});
  EXPECT_EQ(states[1].drawn(), 0u) << "nothing was drawn";
}

TEST(Sample, RefusesLogitsOfAnotherShape) {
  SampleRow r(sampling({}), 1, 5);
  SampleRow* p[] = {&r, &r};
  EXPECT_THROW(sample(rows({kFive}), p), InputError);
  EXPECT_THROW(sample(array({1.f, 2.f}), p), InputError);
  EXPECT_EQ(r.drawn(), 0u);
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
                       .top_n_sigma = -1,
                       .typical_p = 1e-6f,
                       .top_p = 0,
                       .min_p = 1,
                       .min_tokens_to_keep = 1,
                       .top_k = 1 << 30,
                       .xtc_probability = 1,
                       .xtc_threshold = 0.5f,
                       .xtc_special_tokens = {0},
                       .mirostat = 2,
                       .mirostat_tau = 0,
                       .mirostat_eta = 0}),
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
      {{.top_n_sigma = kNan}, "top_n_sigma: bad value; expected a finite number, found nan"},
      {{.typical_p = 0}, "typical_p: bad value; expected a number above 0 and at most 1, found 0"},
      {{.typical_p = 1.5f},
       "typical_p: bad value; expected a number above 0 and at most 1, found 1.5"},
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
      {{.mirostat = 1}, "mirostat: bad value; expected 0 or 2, found 1"},
      {{.mirostat_tau = -1},
       "mirostat_tau: bad value; expected a finite number of at least 0, found -1"},
      {{.mirostat_eta = kNan},
       "mirostat_eta: bad value; expected a finite number of at least 0, found nan"},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(complaint(c.options), c.message);
    EXPECT_THROW(SampleRow(sampling(c.options), 1, 5), InputError) << c.message;
  }
}

}  // namespace
}  // namespace mlxcpp::lm
