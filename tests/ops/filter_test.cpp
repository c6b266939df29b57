// Filters of rows: by our kernels and by MLX's operations, against their definitions.
#include "tests/ops/choosing.h"

namespace mlxcpp::ops {
namespace {

class Filters : public Choose {};
INSTANTIATE_TEST_SUITE_P(By, Filters, testing::Bool(), backend);

/// The ids that a filter left; checks that it changed nothing about them.
Kept kept(const Row& before, const Row& after) {
  Kept out;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (after[i] == -kInf) continue;
    EXPECT_EQ(after[i], before[i]) << "id " << i;
    out.push_back(int(i));
  }
  return out;
}

/// All filters act only where a token is drawn.
Draw drawing(Draw d) {
  if (d.temperature == 0) d.temperature = 1;
  return d;
}
Kept left_of(const Row& row, const Draw& d, std::optional<float> mu = {}) {
  std::optional<array> state;
  if (mu) state = array({*mu});
  return kept(row, table_of(filtered(rows({row}), {drawing(d)}, state)).front());
}

TEST_P(Filters, top_k_keeps_exactly_k) {
  EXPECT_EQ(left_of(kFive, {.top_k = 1}), (Kept{1}));
  EXPECT_EQ(left_of(kFive, {.top_k = 3}), (Kept{1, 2, 3}));
  for (int k : {0, 5, 6, 1000}) EXPECT_EQ(left_of(kFive, {.top_k = k}).size(), 5u);
  Row flat(200, -3.f);
  for (int k : {1, 2, 63, 64, 65, 199}) {
    Kept first(k);
    std::iota(first.begin(), first.end(), 0);
    EXPECT_EQ(left_of(flat, {.top_k = k}), first) << "the first of equal ones";
  }
}

TEST_P(Filters, top_p_keeps_the_fewest_that_reach_the_mass) {
  auto left = [](float p) { return left_of(kFive, {.top_p = p}); };
  EXPECT_EQ(left(0.01f), (Kept{1}));
  EXPECT_EQ(left(0.39f), (Kept{1}));
  EXPECT_EQ(left(0.41f), (Kept{1, 3}));
  EXPECT_EQ(left(0.84f), (Kept{1, 2, 3}));
  EXPECT_EQ(left(0.86f), (Kept{1, 2, 3, 4}));
  EXPECT_EQ(left(0.96f), (Kept{0, 1, 2, 3, 4}));
  Row equal = log_of({0.2f, 0.2f, 0.4f, 0.2f});
  EXPECT_EQ(left_of(equal, {.top_p = 0.5f}), (Kept{0, 1, 2, 3})) << "equals of the last one stay";
  EXPECT_EQ(left_of(equal, {.top_p = 0.3f}), (Kept{2}));
}

TEST_P(Filters, top_p_measures_the_mass_that_is_left) {
  Row x = kFive;
  x[1] = -kInf;  // 0.6 is left: 0.3 is half of it
  EXPECT_EQ(left_of(x, {.top_p = 0.49f}), (Kept{3}));
  EXPECT_EQ(left_of(x, {.top_p = 0.51f}), (Kept{2, 3}));
}

TEST_P(Filters, min_p_keeps_a_share_of_the_best_and_at_least_so_many) {
  auto left = [](float p, int keep) { return left_of(kFive, {.min_p = p, .min_keep = keep}); };
  EXPECT_EQ(left(0.2f, 1), (Kept{1, 2, 3, 4}));
  EXPECT_EQ(left(0.3f, 1), (Kept{1, 2, 3}));
  EXPECT_EQ(left(0.7f, 1), (Kept{1, 3}));
  EXPECT_EQ(left(1, 1), (Kept{1}));
  EXPECT_EQ(left(0.9f, 2), (Kept{1, 3}));
  EXPECT_EQ(left(0.9f, 4), (Kept{1, 2, 3, 4}));
  EXPECT_EQ(left(0.2f, 2), (Kept{1, 2, 3, 4}));
  EXPECT_EQ(left(0.9f, 99), (Kept{0, 1, 2, 3, 4}));
}

TEST_P(Filters, xtc_removes_the_top_choices_but_the_least_likely_of_them) {
  auto left = [](float threshold, std::vector<int> safe) {
    return left_of(kFive,
                   {.xtc = true, .xtc_threshold = threshold, .special = special(std::move(safe))});
  };
  EXPECT_EQ(left(0.12f, {}), (Kept{0, 2, 4}));        // of 0.4, 0.3, 0.15 stays 0.15
  EXPECT_EQ(left(0.35f, {}), (Kept{0, 1, 2, 3, 4}));  // one candidate: nothing to remove
  EXPECT_EQ(left(0.5f, {}), (Kept{0, 1, 2, 3, 4}));   // none
  EXPECT_EQ(left(0.12f, {3}), (Kept{0, 2, 3, 4}));
  EXPECT_EQ(left(0.12f, {0, 1, 3, 5, 4000}), (Kept{0, 1, 2, 3, 4}));
  EXPECT_EQ(left_of(kFive, {.xtc_threshold = 0.12f}).size(), 5u) << "unless the coin says so";
  Row equal = log_of({0.2f, 0.4f, 0.2f, 0.2f});
  EXPECT_EQ(left_of(equal, {.xtc = true, .xtc_threshold = 0.1f}), (Kept{0, 2, 3}));
}

TEST_P(Filters, top_n_sigma_measures_from_the_best_by_the_deviation_of_finite_scores) {
  Row x = {1, 2, 3, 4, 5};  // deviation sqrt(2)
  EXPECT_EQ(left_of(x, {.top_n_sigma = 0.7f}), (Kept{4}));
  EXPECT_EQ(left_of(x, {.top_n_sigma = 0.72f}), (Kept{3, 4}));
  EXPECT_EQ(left_of(x, {.top_n_sigma = 2}), (Kept{2, 3, 4}));
  x.insert(x.end(), 20, -kInf);
  EXPECT_EQ(left_of(x, {.top_n_sigma = 0.72f}), (Kept{3, 4}));
  EXPECT_EQ(left_of({7, 7, 7}, {.top_n_sigma = 1}), (Kept{0, 1, 2}));
}

TEST_P(Filters, typical_p_takes_those_whose_surprise_is_the_expected_one) {
  // Entropy 0.9433: off by 0.433 (0.6), 0.261 (0.3), 1.359 (0.1).
  Row x = log_of({0.6f, 0.3f, 0.1f});
  EXPECT_EQ(left_of(x, {.typical_p = 0.2f}), (Kept{1}));
  EXPECT_EQ(left_of(x, {.typical_p = 0.31f}), (Kept{0, 1}));
  EXPECT_EQ(left_of(x, {.typical_p = 0.91f}), (Kept{0, 1, 2}));
  EXPECT_EQ(left_of(x, {.typical_p = 1}), (Kept{0, 1, 2}));
}

TEST_P(Filters, mirostat_cuts_what_surprises_more_than_mu_bits) {
  Row x = log_of({0.5f, 0.25f, 0.125f, 0.125f});
  auto left = [&](float mu, float t) {
    return left_of(x, {.temperature = t, .top_k = 1, .mirostat = true}, mu);
  };
  EXPECT_EQ(left(3.1f, 1), (Kept{0, 1, 2, 3})) << "other filters do not act";
  EXPECT_EQ(left(2.9f, 1), (Kept{0, 1}));
  EXPECT_EQ(left(1.1f, 1), (Kept{0}));
  EXPECT_EQ(left(0.5f, 1), (Kept{0})) << "the best stays";
  EXPECT_EQ(left(-4, 1), (Kept{0}));
  // At temperature 0.5 squares count: 0.25, 0.0625, ... of 0.34375: 0.46, 2.46, 4.46 bits.
  EXPECT_EQ(left(2.4f, 0.5f), (Kept{0}));
  EXPECT_EQ(left(2.5f, 0.5f), (Kept{0, 1}));
}

TEST_P(Filters, act_in_their_order) {
  // Each pair would leave another set in the other order.
  Row x = log_of({0.3f, 0.25f, 0.2f, 0.15f, 0.1f});
  EXPECT_EQ(left_of(x, {.top_p = 0.7f, .min_p = 0.6f}), (Kept{0, 1, 2}));
  EXPECT_EQ(left_of(x, {.top_p = 0.7f, .xtc = true, .xtc_threshold = 0.05f}), (Kept{2}));
  EXPECT_EQ(left_of(x, {.min_p = 0.6f, .xtc = true, .xtc_threshold = 0.05f}), (Kept{2}));
  EXPECT_EQ(left_of(x, {.xtc = true, .xtc_threshold = 0.12f, .top_k = 1}), (Kept{3}));
  EXPECT_EQ(left_of(x, {.top_p = 0.5f, .top_k = 2}), (Kept{0, 1}));
  // Typical first leaves 1, 2, then the best of them; the other way round 0 alone would be left.
  EXPECT_EQ(left_of(x, {.typical_p = 0.4f, .top_k = 1}), (Kept{1}));
  // Of 0.3, 0.25, 0.2 typical is 0.25; of all it is 0.2.
  EXPECT_EQ(left_of(x, {.top_n_sigma = 1.2f, .typical_p = 0.1f}), (Kept{1}));
  EXPECT_EQ(left_of(x, {.typical_p = 0.1f}), (Kept{2}));
}

/// What float32 may take for the same.
Draw nudged(Draw d, float by) {
  if (d.top_p < 1) d.top_p += by;
  if (d.typical_p < 1) d.typical_p += by;
  return d;
}

TEST_P(Filters, agree_with_plain_loops_in_a_batch_of_all_of_them) {
  auto ways = many_ways();
  for (int vocab : {64, 500, 3000}) {
    auto table = random_rows(int(ways.size()), vocab, vocab);
    for (std::size_t r = 0; r < table.size(); r += 3) table[r][r % vocab] = -kInf;
    std::vector<float> mu;
    for (std::size_t r = 0; r < ways.size(); ++r) mu.push_back(3 + float(r % 5));
    auto after = table_of(filtered(rows(table), ways, array(mu.data(), {int(mu.size())})));
    for (std::size_t r = 0; r < table.size(); ++r) {
      auto got = kept(table[r], after[r]);
      if (got == by_loops(table[r], nudged(ways[r], 1e-5f), mu[r])) continue;
      if (got == by_loops(table[r], nudged(ways[r], -1e-5f), mu[r])) continue;
      EXPECT_EQ(got, by_loops(table[r], ways[r], mu[r])) << "row " << r << " of " << vocab;
    }
  }
}

}  // namespace
}  // namespace mlxcpp::ops
