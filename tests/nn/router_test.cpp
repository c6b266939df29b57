// Routers against loops that sort.
#include "mlxcpp/nn/router.h"

#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

namespace mlxcpp::nn {
namespace {

using test::noise;
using test::Numbers;

/// Expert -> weight, for one token.
using Choice = std::map<int, double>;

std::vector<int> best(const std::vector<double>& scores, int k) {
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, [&](int i, int j) { return scores[i] > scores[j]; });
  order.resize(k);
  return order;
}

Choice choice_at(const Routed& r, int b, int t) {
  Numbers chosen(r.chosen), weights(r.weights);
  Choice c;
  for (int k = 0; k < chosen.shape[2]; ++k) c[int(chosen(b, t, k))] = weights(b, t, k);
  return c;
}

void expect_near(const Choice& got, const Choice& want) {
  ASSERT_EQ(got.size(), want.size());
  for (auto& [expert, weight] : want) {
    ASSERT_TRUE(got.count(expert)) << expert;
    EXPECT_NEAR(got.at(expert), weight, 1e-5) << expert;
  }
}

class SoftmaxTopK : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Normalised, SoftmaxTopK, testing::Bool());

TEST_P(SoftmaxTopK, weighs_the_best_of_all) {
  constexpr int kExperts = 7, k = 3;
  array logits = mx::multiply(noise({2, 3, kExperts}, 4), array(3.f));
  auto routed = softmax_top_k(logits, k, GetParam());
  Numbers x(logits);
  for (int b = 0; b < 2; ++b)
    for (int t = 0; t < 3; ++t) {
      std::vector<double> p(kExperts);
      for (int e = 0; e < kExperts; ++e) p[e] = std::exp(x(b, t, e));
      double all = std::accumulate(p.begin(), p.end(), 0.0), kept = 0;
      for (int e : best(p, k)) kept += p[e];
      Choice want;
      for (int e : best(p, k)) want[e] = p[e] / (GetParam() ? kept : all);
      expect_near(choice_at(routed, b, t), want);
    }
}

struct Case {
  int groups, used;
  bool normalise;
  int k = 2;
};

class Grouped : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Cases,
                         Grouped,
                         testing::Values(Case{1, 1, true},
                                         Case{4, 2, true},
                                         Case{4, 2, false},
                                         Case{4, 1, true},
                                         Case{2, 2, true},
                                         Case{4, 2, true, 1},
                                         Case{4, 2, false, 1}));

TEST_P(Grouped, lets_only_the_best_groups_take_part_and_weighs_without_the_correction) {
  constexpr int kExperts = 8, kDim = 6;
  auto [groups, used, normalise, k] = GetParam();
  WeightMap map;
  map.arrays.emplace("gate.weight", noise({kExperts, kDim}, 1));
  map.arrays.emplace("gate.e_score_correction_bias", noise({kExperts}, 2));
  GroupedRouter router(Scope(map) / "gate",
                       {.dim = kDim,
                        .experts = kExperts,
                        .k = k,
                        .groups = groups,
                        .used_groups = used,
                        .normalise = normalise,
                        .factor = 2.5f});
  array in = noise({2, 5, kDim}, 3);
  Numbers x(in), w(noise({kExperts, kDim}, 1)), bias(noise({kExperts}, 2));
  auto routed = router(in);
  for (int b = 0; b < 2; ++b)
    for (int t = 0; t < 5; ++t) {
      std::vector<double> score(kExperts), race(kExperts), of_group(groups);
      for (int e = 0; e < kExperts; ++e) {
        double dot = 0;
        for (int d = 0; d < kDim; ++d) dot += w(e, d) * x(b, t, d);
        score[e] = 1 / (1 + std::exp(-dot)), race[e] = score[e] + bias(e);
      }
      int size = kExperts / groups;
      for (int g = 0; g < groups; ++g) {
        std::vector<double> part(race.begin() + g * size, race.begin() + (g + 1) * size);
        for (int i : best(part, std::min(2, size))) of_group[g] += part[i];
      }
      auto open = best(of_group, used);
      for (int e = 0; e < kExperts; ++e)
        if (std::ranges::count(open, e / size) == 0) race[e] = -1e9;
      double kept = 0;
      for (int e : best(race, k)) kept += score[e];
      Choice want;
      for (int e : best(race, k)) want[e] = 2.5 * score[e] / (normalise ? kept : 1);
      expect_near(choice_at(routed, b, t), want);
    }
}

TEST(GroupedRouter, brings_a_single_weight_to_one_as_transformers_does) {
  WeightMap map;
  map.arrays.emplace("weight", noise({4, 6}, 1));
  map.arrays.emplace("e_score_correction_bias", noise({4}, 2));
  GroupedRouter router(Scope(map), {.dim = 6, .experts = 4, .k = 1, .factor = 2.5f});
  Numbers weights(router(noise({1, 3, 6}, 3)).weights);
  for (int t = 0; t < 3; ++t) EXPECT_FLOAT_EQ(float(weights(0, t, 0)), 2.5f);
}

}  // namespace
}  // namespace mlxcpp::nn
