// Routed experts beside a shared one against a loop over tokens and experts.
#include "mlxcpp/nn/shared_expert.h"

#include "mlxcpp/base/error.h"
#include "tests/support/errors.h"
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

constexpr int kDim = 6, kTokens = 4, kHidden = 5, kShared = 7, kExperts = 4, kChosen = 2;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

/// down(silu(gate(x)) * up(x)) of one token; weights of (out, in), or of expert e of (E, out, in).
class FeedForward {
 public:
  FeedForward(const std::map<std::string, array>& w, const std::string& path, int hidden)
      : gate_(w.at(path + ".gate_proj.weight")),
        up_(w.at(path + ".up_proj.weight")),
        down_(w.at(path + ".down_proj.weight")),
        hidden_(hidden) {}

  std::vector<double> operator()(const std::vector<double>& x, int e = 0) const {
    std::vector<double> y(kDim);
    for (int h = 0; h < hidden_; ++h) {
      double g = 0, u = 0;
      for (int i = 0; i < kDim; ++i) {
        size_t at = (size_t(e) * hidden_ + h) * kDim + i;
        g += gate_.data[at] * x[i], u += up_.data[at] * x[i];
      }
      for (int o = 0; o < kDim; ++o)
        y[o] += down_.data[(size_t(e) * kDim + o) * hidden_ + h] * g * sigmoid(g) * u;
    }
    return y;
  }

 private:
  Numbers gate_, up_, down_;
  int hidden_;
};

class SharedExpert : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Normalised, SharedExpert, testing::Bool());

TEST_P(SharedExpert, is_added_to_the_best_behind_its_own_gate) {
  const std::map<std::string, mx::Shape> shapes = {
      {"a.gate.weight", {kExperts, kDim}},
      {"a.switch_mlp.gate_proj.weight", {kExperts, kHidden, kDim}},
      {"a.switch_mlp.up_proj.weight", {kExperts, kHidden, kDim}},
      {"a.switch_mlp.down_proj.weight", {kExperts, kDim, kHidden}},
      {"a.shared_expert.gate_proj.weight", {kShared, kDim}},
      {"a.shared_expert.up_proj.weight", {kShared, kDim}},
      {"a.shared_expert.down_proj.weight", {kDim, kShared}},
      {"a.shared_expert_gate.weight", {1, kDim}}};
  WeightMap map;
  int seed = 1;
  for (auto& [name, shape] : shapes) map.arrays.emplace(name, noise(shape, seed++));
  auto w = map.arrays;
  SharedExpertMoe moe(Scope(map, "a"),
                      {.num_experts = kExperts,
                       .num_experts_per_tok = kChosen,
                       .moe_intermediate_size = kHidden,
                       .shared_expert_intermediate_size = kShared},
                      kDim,
                      ops::Activation::silu,
                      GetParam());
  map.expect_empty();

  array input = noise({1, kTokens, kDim}, 31);
  Numbers x(input), want = test::zeros(x.shape), router(w.at("a.gate.weight")),
                    own(w.at("a.shared_expert_gate.weight"));
  FeedForward routed(w, "a.switch_mlp", kHidden), shared(w, "a.shared_expert", kShared);
  for (int t = 0; t < kTokens; ++t) {
    std::vector<double> token(kDim), p(kExperts);
    double gate = 0, all = 0, kept = 0;
    for (int i = 0; i < kDim; ++i) token[i] = x(0, t, i), gate += own(0, i) * token[i];
    for (int e = 0; e < kExperts; ++e) {
      for (int i = 0; i < kDim; ++i) p[e] += router(e, i) * token[i];
      all += p[e] = std::exp(p[e]);
    }
    std::vector<int> order(kExperts);
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](int i, int j) { return p[i] > p[j]; });
    for (int i = 0; i < kChosen; ++i) kept += p[order[i]];
    auto add = [&](const std::vector<double>& y, double by) {
      for (int o = 0; o < kDim; ++o) want(0, t, o) += by * y[o];
    };
    for (int i = 0; i < kChosen; ++i)
      add(routed(token, order[i]), p[order[i]] / (GetParam() ? kept : all));
    add(shared(token), sigmoid(gate));
  }
  EXPECT_LT(test::relative(moe(input), want), 1e-5);
}

TEST(SharedExpertShape, refuses_more_choices_than_experts_and_empty_ones) {
  auto refusal = [](const std::string& per_token, const std::string& shared) {
    auto text = R"({"num_experts": 4, "moe_intermediate_size": 8, "num_experts_per_tok": )" +
                per_token + R"(, "shared_expert_intermediate_size": )" + shared + "}";
    return test::message_of<ConfigError>(
        [&] { io::read<SharedExpertShape>(io::Fields::parse(text)); });
  };
  EXPECT_EQ(refusal("5", "8"),
            "config.num_experts_per_tok: expected a number from 1 to 4, found 5");
  EXPECT_EQ(refusal("2", "0"),
            "config.shared_expert_intermediate_size: expected a positive number, found 0");
}

}  // namespace
}  // namespace mlxcpp::nn
