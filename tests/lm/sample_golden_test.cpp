// Samplers and penalties against mlx-lm's own on the same vectors: tests/data/sample, made
// by tools/oracle/samplers.py.
#include "mlxcpp/io/fields.h"
#include "mlxcpp/lm/sample.h"

#include <mlx/io.h>
#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>

namespace mlxcpp::lm {
namespace {

using Row = std::vector<float>;

Row values_of(const array& a) {
  auto x = mx::contiguous(mx::astype(a, mx::float32));
  x.eval();
  return {x.data<float>(), x.data<float>() + x.size()};
}

std::vector<int> ints_of(const array& a) {
  auto x = mx::contiguous(mx::astype(a, mx::int32));
  x.eval();
  return {x.data<int>(), x.data<int>() + x.size()};
}

struct Case {
  std::string op, input, output;
  std::optional<io::Fields> args;

  void fields(io::Fields& f) {
    f.need("op", &op).need("input", &input).need("output", &output);
    args = f.need_object("args");
  }
  /// A filter alone, as it acts on log-probabilities.
  ops::Draw filter() const {
    auto o = sample_options();
    ops::Draw d{
        .temperature = 1, .min_p = o.min_p, .min_keep = o.min_tokens_to_keep, .top_k = o.top_k};
    d.top_p = o.top_p;
    d.xtc = o.xtc_probability > 0;
    d.xtc_threshold = o.xtc_threshold;
    d.special = std::make_shared<const std::vector<int>>(o.xtc_special_tokens);
    return d;
  }
  SampleOptions sample_options() const {
    SampleOptions o;
    auto a = *args;
    a.may("temp", &o.temperature).may("top_p", &o.top_p).may("top_k", &o.top_k);
    a.may("min_p", &o.min_p).may("min_tokens_to_keep", &o.min_tokens_to_keep);
    a.may("xtc_probability", &o.xtc_probability).may("xtc_threshold", &o.xtc_threshold);
    a.may("xtc_special_tokens", &o.xtc_special_tokens);
    return o;
  }
  PenaltyOptions penalty_options() const {
    PenaltyOptions o;
    auto a = *args;
    a.may("repetition_penalty", &o.repetition_penalty);
    a.may("repetition_context_size", &o.repetition_context_size);
    a.may("presence_penalty", &o.presence_penalty);
    a.may("presence_context_size", &o.presence_context_size);
    a.may("frequency_penalty", &o.frequency_penalty);
    a.may("frequency_context_size", &o.frequency_context_size);
    if (auto bias = a.object("logit_bias"))
      for (const auto& id : bias->keys())
        bias->need(id, &o.logit_bias.emplace_back(std::stoi(id), 0.0f).second);
    return o;
  }
  bool flag(const char* name) const {
    bool out = false;
    auto a = *args;
    a.may(name, &out);
    return out;
  }
  std::string name() const { return output + " on " + input; }
};

class Golden {
 public:
  explicit Golden(const std::string& part)
      : loaded_(mx::load_safetensors(MLXCPP_TEST_DATA "/sample/" + part + ".safetensors")) {
    std::string text = "{\"cases\": " + meta("cases") + "}";
    io::Fields::parse(text, part).may("cases", &cases_);
    EXPECT_FALSE(cases_.empty()) << "make the file again: " << meta("command");
  }
  const std::string& meta(const std::string& key) const { return loaded_.second.at(key); }
  array tensor(const std::string& name) const { return loaded_.first.at(name); }
  array logprobs(const Case& c) const { return tensor("logprobs." + c.input); }
  std::vector<Case> cases(const std::string& op) const {
    std::vector<Case> out;
    for (const auto& c : cases_)
      if (c.op == op) out.push_back(c);
    EXPECT_FALSE(out.empty()) << op;
    return out;
  }

 private:
  mx::SafetensorsLoad loaded_;
  std::vector<Case> cases_;
};

/// What was removed must agree exactly, what stayed within 1e-6.
void expect_same(const array& got, const array& expected, const std::string& name) {
  ASSERT_EQ(got.shape(), expected.shape()) << name;
  auto a = values_of(got), b = values_of(expected);
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isinf(a[i]) || std::isinf(b[i]))
      EXPECT_EQ(a[i], b[i]) << name << ", element " << i;
    else
      EXPECT_NEAR(a[i], b[i], 1e-6 * std::max(1.0f, std::abs(b[i]))) << name << ", element " << i;
  }
}

/// Which of several equal tokens at the cut stay is open: then only the values left must agree.
void expect_same_values(const array& got, const array& expected, const std::string& name) {
  expect_same(mx::sort(got, -1), mx::sort(expected, -1), name);
}

array filtered(const array& logprobs, const Case& c) {
  return ops::filtered(logprobs, std::vector<ops::Draw>(logprobs.shape(0), c.filter()));
}

TEST(SampleGolden, FiltersAgree) {
  Golden golden("filters");
  for (auto op : {"top_k", "top_p", "min_p"})
    for (const auto& c : golden.cases(op)) {
      auto check = c.flag("tie_at_cut") ? expect_same_values : expect_same;
      check(filtered(golden.logprobs(c), c), golden.tensor(c.output), c.name());
    }
}

TEST(SampleGolden, XtcAgrees) {
  Golden golden("xtc");
  for (const auto& c : golden.cases("xtc"))
    expect_same(filtered(golden.logprobs(c), c), golden.tensor(c.output), c.name());
}

TEST(SampleGolden, ChainsOfFiltersAgree) {
  Golden golden("chains");
  for (const auto& c : golden.cases("chain_logprobs"))
    expect_same(filtered(golden.logprobs(c), c), golden.tensor(c.output), c.name());
}

/// One draw of each of many equal rows.
std::vector<int> draws(const Case& c, const array& row, int count, std::uint64_t seed) {
  GenerateOptions o;
  o.sample = c.sample_options();
  std::vector<SampleRow> states;
  for (int i = 0; i < count; ++i) states.emplace_back(o, seed + std::uint64_t(i), row.shape(1));
  std::vector<SampleRow*> rows;
  for (auto& s : states) rows.push_back(&s);
  return ints_of(sample(mx::broadcast_to(row, {count, row.shape(1)}), rows).ids);
}

TEST(SampleGolden, GreedyIdsAgree) {
  Golden golden("chains");
  for (const auto& c : golden.cases("chain_greedy")) {
    auto x = golden.logprobs(c);
    auto expected = ints_of(golden.tensor(c.output));
    for (int r = 0; r < x.shape(0); ++r)
      EXPECT_EQ(draws(c, mx::slice(x, {r, 0}, {r + 1, x.shape(1)}), 1, 1)[0], expected[r])
          << c.name();
  }
}

TEST(SampleGolden, SamplersDrawFromTheDistributionThatTheChainLeaves) {
  constexpr int kDraws = 8000;
  Golden golden("chains");
  for (const auto& c : golden.cases("chain_scaled")) {
    auto x = golden.logprobs(c);
    auto probs = mx::softmax(golden.tensor(c.output), -1, /*precise=*/true);
    for (int r = 0; r < x.shape(0); ++r) {
      auto row = mx::slice(x, {r, 0}, {r + 1, x.shape(1)});
      auto p = values_of(mx::slice(probs, {r, 0}, {r + 1, x.shape(1)}));
      std::vector<double> count(p.size());
      for (int id : draws(c, row, kDraws, 5)) ++count.at(id);
      double chi_square = 0;
      int cells = 0;
      for (std::size_t i = 0; i < p.size(); ++i) {
        double expected = p[i] * kDraws;
        if (expected == 0) {
          EXPECT_EQ(count[i], 0) << c.name() << ", id " << i;
        }
        if (expected < 1) continue;  // too rare for the statistic
        chi_square += (count[i] - expected) * (count[i] - expected) / expected;
        ++cells;
      }
      EXPECT_LT(chi_square, cells + 6 * std::sqrt(2.0 * cells)) << c.name() << ", row " << r;
    }
  }
}

TEST(SampleGolden, PenaltiesAgree) {
  Golden golden("processors");
  std::vector<int> ids;
  io::Fields::parse("{\"tokens\": " + golden.meta("tokens") + "}").need("tokens", &ids);
  const std::vector<TokenId> tokens(ids.begin(), ids.end());
  for (const auto& c : golden.cases("processors")) {
    int count = 0;
    auto args = *c.args;
    args.need("token_count", &count);
    auto seen = std::span(tokens).first(count);
    auto x = golden.tensor("logits." + c.input);
    Penalties penalties(c.penalty_options(), x.shape(1));
    penalties.begin(seen);
    expect_same(ops::edited(x, {penalties.edits(0)}), golden.tensor(c.output), c.name());
  }
}

}  // namespace
}  // namespace mlxcpp::lm
