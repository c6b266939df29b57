// Gated delta nets and gated attention against loops in float64, and the checks of their extents.
#include "mlxcpp/nn/gated_mixers.h"

#include "mlxcpp/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace mlxcpp::nn {
namespace {

using test::message_of;
using test::noise;
using test::Numbers;

constexpr int kTokens = 5, kDim = 6, kBatch = 2;

WeightMap map_of(const std::map<std::string, mx::Shape>& shapes) {
  WeightMap map;
  int seed = 1;
  for (auto& [name, shape] : shapes) map.arrays.emplace(name, noise(shape, seed++));
  return map;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double silu(double x) { return x * sigmoid(x); }

const DeltaShape kDelta{.linear_num_key_heads = 2,
                        .linear_num_value_heads = 4,
                        .linear_key_head_dim = 3,
                        .linear_value_head_dim = 5,
                        .linear_conv_kernel_dim = 3};

/// The convolution's output, activated: (B, L, C).
Numbers convolved(const Numbers& x, const Numbers& weight) {
  Numbers y = test::zeros(x.shape);
  int k = weight.shape[1];
  for (int b = 0; b < x.shape[0]; ++b)
    for (int t = 0; t < x.shape[1]; ++t)
      for (int c = 0; c < x.shape[2]; ++c) {
        double sum = 0;
        for (int i = std::max(0, k - 1 - t); i < k; ++i)
          sum += weight(c, i, 0) * x(b, t - (k - 1) + i, c);
        y(b, t, c) = silu(sum);
      }
  return y;
}

/// One head's key or query: `n` numbers from `first` on, of length `by`.
std::vector<double> head(const Numbers& x, int b, int t, int first, int n, double by) {
  std::vector<double> v(n);
  double squares = 1e-6;
  for (int i = 0; i < n; ++i) v[i] = x(b, t, first + i), squares += v[i] * v[i];
  for (double& number : v) number *= by / std::sqrt(squares);
  return v;
}

/// Before the output projection: (B, L, H*p).
Numbers delta_loop(const GatedDeltaNet::Inputs& in,
                   const std::map<std::string, array>& w,
                   float eps) {
  int H = 4, share = 2, n = 3, p = 5, keys = 6;
  Numbers x = convolved(in.qkv, w.at("a.conv1d.weight"));
  Numbers a(in.a), b(in.b), z(in.z), norm(w.at("a.norm.weight"));
  Numbers a_log(w.at("a.A_log")), dt(w.at("a.dt_bias")),
      out = test::zeros({kBatch, kTokens, H * p});
  for (int r = 0; r < kBatch; ++r)
    for (int h = 0; h < H; ++h) {
      Numbers s = test::zeros({p, n});
      for (int t = 0; t < kTokens; ++t) {
        auto q = head(x, r, t, h / share * n, n, 1 / std::sqrt(n));
        auto k = head(x, r, t, keys + h / share * n, n, 1);
        double keep = std::exp(-std::exp(a_log(h)) * std::log1p(std::exp(a(r, t, h) + dt(h))));
        std::vector<double> y(p);
        double squares = 0;
        for (int i = 0; i < p; ++i) {
          double known = 0;
          for (int j = 0; j < n; ++j) known += (s(i, j) *= keep) * k[j];
          double news = (x(r, t, 2 * keys + h * p + i) - known) * sigmoid(b(r, t, h));
          for (int j = 0; j < n; ++j) y[i] += (s(i, j) += news * k[j]) * q[j];
          squares += y[i] * y[i] / p;
        }
        for (int i = 0; i < p; ++i)
          out(r, t, h * p + i) =
              y[i] / std::sqrt(squares + eps) * norm(i) * silu(z(r, t, h * p + i));
      }
    }
  return out;
}

TEST(GatedDeltaNet, equals_the_loop_over_tokens) {
  WeightMap map = map_of({{"a.conv1d.weight", {32, 3, 1}},
                          {"a.A_log", {4}},
                          {"a.dt_bias", {4}},
                          {"a.norm.weight", {5}},
                          {"a.out_proj.weight", {kDim, 20}}});
  auto weights = map.arrays;
  GatedDeltaNet net(Scope(map, "a"), kDelta, kDim, ops::Activation::silu, 1e-9f);
  map.expect_empty();
  // Small, so that what is added to the squares of a head's length counts.
  GatedDeltaNet::Inputs in{.qkv = ops::scale(noise({kBatch, kTokens, 32}, 21), 0.003f),
                           .z = noise({kBatch, kTokens, 20}, 22),
                           .b = noise({kBatch, kTokens, 4}, 23),
                           .a = noise({kBatch, kTokens, 4}, 24)};
  std::vector<ops::State> states(2);
  std::vector<int> none(kBatch, 0), all(kBatch, kTokens);
  ops::Layer layer{
      std::make_shared<ops::Rows>(kBatch, kTokens, none, all), {}, {&states[0], &states[1]}};
  Numbers got = net(in, layer), mixed = delta_loop(in, weights, 1e-9f);
  mixed.shape = {kBatch * kTokens, 20};
  Numbers want = test::times_transposed(mixed, weights.at("a.out_proj.weight"));
  want.shape = {kBatch, kTokens, kDim};
  EXPECT_LT(test::relative(got, want), 1e-5);
  auto layout = net.layout();
  EXPECT_EQ(layout.states, (std::vector<mx::Shape>{{2, 32}, {4, 5, 3}}));
  for (int i = 0; i < 2; ++i) {
    auto shape = states[i]->shape();
    EXPECT_EQ(mx::Shape(shape.begin() + 1, shape.end()), layout.states[i]);
  }
}

TEST(GatedAttention, multiplies_each_head_by_the_sigmoid_of_its_gate) {
  constexpr int kHeads = 4, kSize = 4;
  AttentionShape shape{
      .dim = kDim, .heads = kHeads, .kv_heads = 2, .head_dim = kSize, .qk_norm = 0.01f};
  WeightMap map = map_of({{"a.q_proj.weight", {2 * kHeads * kSize, kDim}},
                          {"a.k_proj.weight", {8, kDim}},
                          {"a.v_proj.weight", {8, kDim}},
                          {"a.o_proj.weight", {kDim, kHeads * kSize}},
                          {"a.q_norm.weight", {kSize}},
                          {"a.k_norm.weight", {kSize}}});
  // The same as plain attention has them: queries and gates are rows of one weight, by head.
  auto plain = map;
  array both = mx::reshape(map.arrays.at("a.q_proj.weight"), {kHeads, 2, kSize, kDim});
  auto half = [&](int i) { return mx::reshape(mx::take(both, i, 1), {kHeads * kSize, kDim}); };
  plain.arrays.insert_or_assign("a.q_proj.weight", half(0));
  // An output projection that shows the heads.
  array identity = mx::eye(kHeads * kSize);
  GatedAttention gated(Scope(map, "a"), shape, {.dims = 2, .base = 10});
  map.expect_empty();
  Attention attention(Scope(plain, "a"), shape, {.dims = 2, .base = 10});
  *gated.o->value = identity, *attention.o->value = identity;

  array x = noise({1, kTokens, kDim}, 31);
  ops::Layer layer{
      std::make_shared<ops::Rows>(1, kTokens, std::vector{0}, std::vector{kTokens}), {nullptr}, {}};
  Numbers got = gated(x, layer), want = attention(x, layer);
  Numbers gate = mx::matmul(x, mx::transpose(half(1)));
  for (size_t i = 0; i < want.data.size(); ++i) want.data[i] *= sigmoid(gate.data[i]);
  EXPECT_LT(test::relative(got, want), 1e-5);
  EXPECT_EQ(gated.layout().kv[0].heads, 2);
  EXPECT_EQ(gated.layout().kv[0].k_dim, kSize);
  EXPECT_EQ(gated.layout().kv[0].v_dim, kSize);
}

std::string delta_refusal(const std::string& key, const std::string& value) {
  std::map<std::string, std::string> keys = {{"linear_num_key_heads", "2"},
                                             {"linear_num_value_heads", "4"},
                                             {"linear_key_head_dim", "3"},
                                             {"linear_value_head_dim", "5"},
                                             {"linear_conv_kernel_dim", "3"}};
  keys[key] = value;
  std::string text;
  for (auto& [k, v] : keys) text += (text.empty() ? "{\"" : ", \"") + k + "\": " + v;
  return message_of<ConfigError>([&] { io::read<DeltaShape>(io::Fields::parse(text + "}")); });
}

TEST(DeltaShape, refuses_extents_that_are_none_or_do_not_fit) {
  EXPECT_EQ(delta_refusal("linear_key_head_dim", "0"),
            "config.linear_key_head_dim: expected a positive number, found 0");
  EXPECT_EQ(delta_refusal("linear_num_value_heads", "3"),
            "config.linear_num_value_heads: expected a multiple of linear_num_key_heads (2), found "
            "3");
  EXPECT_EQ(delta_refusal("linear_conv_kernel_dim", "1"),
            "config.linear_conv_kernel_dim: expected a number from 2 to 2147483647, found 1");
  EXPECT_EQ(delta_refusal("linear_key_head_dim", "2000000000"),
            "config.linear_key_head_dim: expected a product that fits 32 bits, found 2 * "
            "2000000000");
  EXPECT_EQ(delta_refusal("linear_value_head_dim", "500000000"),
            "config.linear_value_head_dim: outputs: expected a number from 1 to 2147483647, found "
            "4000000012");
}

LinearLayers layers_of(const std::string& json, int count) {
  auto f = io::Fields::parse(json);
  LinearLayers layers;
  layers.fields(f, count);
  return layers;
}

std::vector<bool> linear(const LinearLayers& layers, int count) {
  std::vector<bool> all;
  for (int i = 0; i < count; ++i) all.push_back(layers.linear(i));
  return all;
}

TEST(LinearLayers, are_those_that_the_list_or_the_interval_says) {
  EXPECT_EQ(linear(layers_of("{}", 5), 5), (std::vector<bool>{1, 1, 1, 0, 1}));
  EXPECT_EQ(linear(layers_of(R"({"full_attention_interval": 2})", 3), 3),
            (std::vector<bool>{1, 0, 1}));
  EXPECT_EQ(linear(layers_of(R"({"layer_types": ["full_attention", "linear_attention"],
                                 "full_attention_interval": 2})",
                             2),
                   2),
            (std::vector<bool>{0, 1}));
}

TEST(LinearLayers, are_some) {
  EXPECT_EQ(message_of<ConfigError>([] { layers_of(R"({"full_attention_interval": 0})", 3); }),
            "config.full_attention_interval: expected a positive number, found 0");
  std::string none =
      "config.layer_types: attention alone is not supported; expected a layer of "
      "linear_attention, found none";
  EXPECT_EQ(message_of<UnsupportedError>([] { layers_of(R"({"full_attention_interval": 1})", 3); }),
            none);
  EXPECT_EQ(message_of<UnsupportedError>(
                [] { layers_of(R"({"layer_types": ["full_attention", "full_attention"]})", 2); }),
            none);
}

TEST(CentreNorms, changes_published_checkpoints_and_not_converted_ones) {
  const std::map<std::string, mx::Shape> published = {{"model.norm.weight", {2}},
                                                      {"l.input_layernorm.weight", {2}},
                                                      {"l.q_norm.weight", {2}},
                                                      {"l.k_norm.weight", {2}},
                                                      {"l.linear_attn.norm.weight", {2}},
                                                      {"l.conv1d.weight", {4, 1, 3}}};
  WeightMap map = map_of(published);
  auto before = map.arrays;
  centre_norms(map);
  EXPECT_EQ(map.arrays.at("l.conv1d.weight").shape(), (mx::Shape{4, 3, 1}));
  for (auto& [name, value] : before) {
    if (name == "l.conv1d.weight") continue;
    float by = name == "l.linear_attn.norm.weight" ? 0 : 1;
    EXPECT_EQ(test::difference(map.arrays.at(name), mx::add(value, array(by))), 0) << name;
  }
  auto converted = map.arrays;
  centre_norms(map);
  for (auto& [name, value] : converted)
    EXPECT_EQ(test::difference(map.arrays.at(name), value), 0) << name;
}

}  // namespace
}  // namespace mlxcpp::nn
