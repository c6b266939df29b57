// A decoder layer against the same layer written as loops, and its gradients against differences of
// those loops.
#include "mlxcpp/ops/plan.h"

#include "mlxcpp/ops/device.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::noise;
using test::Numbers;

constexpr int kBatch = 2, kLength = 5, kDim = 8, kHeads = 4, kKvHeads = 2, kHeadDim = 6,
              kHidden = 10;
constexpr float kEps = 1e-3f, kBase = 50;
const std::vector<int> kLengths = {5, 3};

/// Parameters by name, in float64.
using Parameters = std::map<std::string, Numbers>;

Parameters parameters() {
  const std::pair<const char*, mx::Shape> shapes[] = {{"q", {kHeads * kHeadDim, kDim}},
                                                      {"k", {kKvHeads * kHeadDim, kDim}},
                                                      {"v", {kKvHeads * kHeadDim, kDim}},
                                                      {"o", {kDim, kHeads * kHeadDim}},
                                                      {"gate", {kHidden, kDim}},
                                                      {"up", {kHidden, kDim}},
                                                      {"down", {kDim, kHidden}},
                                                      {"pre_attn", {kDim}},
                                                      {"post_attn", {kDim}},
                                                      {"pre_mlp", {kDim}},
                                                      {"post_mlp", {kDim}},
                                                      {"q_norm", {kHeadDim}},
                                                      {"k_norm", {kHeadDim}}};
  Parameters all;
  int seed = 10;
  for (auto& [name, shape] : shapes) all.emplace(name, Numbers(noise(shape, seed++)));
  return all;
}

/// Which of the optional norms the layer has.
struct Shape {
  bool post_norms = false, head_norms = false;
};

LayerPlan plan_of(const Parameters& p, const Shape& shape) {
  auto weight = [&](const char* name) {
    auto w = std::make_shared<WeightData>();
    w->value = std::make_shared<array>(p.at(name).as());
    return w;
  };
  auto norm = [&](const char* name) {
    return Norm{std::make_shared<array>(p.at(name).as()), kEps};
  };
  LayerPlan plan{.pre_attn = norm("pre_attn"),
                 .attn = {.q = weight("q"),
                          .k = weight("k"),
                          .v = weight("v"),
                          .o = weight("o"),
                          .head_dim = kHeadDim,
                          .rope = {.dims = kHeadDim, .base = kBase},
                          .args = {.scale = 1 / std::sqrt(float(kHeadDim))}},
                 .pre_mlp = norm("pre_mlp"),
                 .mlp = {.gate = weight("gate"), .up = weight("up"), .down = weight("down")}};
  if (shape.post_norms) plan.post_attn = norm("post_attn"), plan.post_mlp = norm("post_mlp");
  if (shape.head_norms) plan.attn.q_norm = norm("q_norm"), plan.attn.k_norm = norm("k_norm");
  return plan;
}

Layer uncached() {
  return {std::make_shared<Rows>(kBatch, kLength, std::vector{0, 0}, kLengths), {nullptr}, {}};
}

// The loops: one row of the batch at a time, x: (tokens, dim).

Numbers norm_loop(Numbers x, const Numbers& weight) {
  for (int t = 0; t < x.shape[0]; ++t) {
    double sum = 0;
    for (int d = 0; d < x.shape[1]; ++d) sum += x(t, d) * x(t, d);
    for (int d = 0; d < x.shape[1]; ++d) x(t, d) *= weight(d) / std::sqrt(sum / x.shape[1] + kEps);
  }
  return x;
}

Numbers columns(const Numbers& x, int from, int count) {
  Numbers part = test::zeros({x.shape[0], count});
  for (int t = 0; t < x.shape[0]; ++t)
    for (int d = 0; d < count; ++d) part(t, d) = x(t, from + d);
  return part;
}

/// One head of a projection, normed and rotated.
Numbers head_loop(const Numbers& projected, int head, const Numbers* weight) {
  Numbers x = columns(projected, head * kHeadDim, kHeadDim);
  if (weight) x = norm_loop(x, *weight);
  Numbers y = x;
  for (int t = 0; t < x.shape[0]; ++t)
    for (int i = 0, half = kHeadDim / 2; i < half; ++i) {
      double angle = t / std::pow(double(kBase), 2.0 * i / kHeadDim);
      y(t, i) = x(t, i) * std::cos(angle) - x(t, i + half) * std::sin(angle);
      y(t, i + half) = x(t, i) * std::sin(angle) + x(t, i + half) * std::cos(angle);
    }
  return y;
}

Numbers attention_loop(const Numbers& x, const Parameters& p, const Shape& shape) {
  Numbers q = test::times_transposed(x, p.at("q")), k = test::times_transposed(x, p.at("k")),
          v = test::times_transposed(x, p.at("v"));
  int tokens = x.shape[0];
  Numbers merged = test::zeros({tokens, kHeads * kHeadDim});
  for (int h = 0; h < kHeads; ++h) {
    int kv = h * kKvHeads / kHeads;
    Numbers qh = head_loop(q, h, shape.head_norms ? &p.at("q_norm") : nullptr);
    Numbers kh = head_loop(k, kv, shape.head_norms ? &p.at("k_norm") : nullptr);
    for (int t = 0; t < tokens; ++t) {
      double sum = 0;
      for (int s = 0; s <= t; ++s) {
        double score = 0;
        for (int d = 0; d < kHeadDim; ++d) score += qh(t, d) * kh(s, d);
        double weight = std::exp(score / std::sqrt(double(kHeadDim)));
        sum += weight;
        for (int d = 0; d < kHeadDim; ++d)
          merged(t, h * kHeadDim + d) += weight * v(s, kv * kHeadDim + d);
      }
      for (int d = 0; d < kHeadDim; ++d) merged(t, h * kHeadDim + d) /= sum;
    }
  }
  return test::times_transposed(merged, p.at("o"));
}

Numbers mlp_loop(const Numbers& x, const Parameters& p) {
  Numbers gate = test::times_transposed(x, p.at("gate")),
          up = test::times_transposed(x, p.at("up"));
  for (size_t i = 0; i < gate.data.size(); ++i)
    gate.data[i] = gate.data[i] / (1 + std::exp(-gate.data[i])) * up.data[i];
  return test::times_transposed(gate, p.at("down"));
}

Numbers sum_of(Numbers a, const Numbers& b) {
  for (size_t i = 0; i < a.data.size(); ++i) a.data[i] += b.data[i];
  return a;
}

Numbers layer_loop(const Numbers& h, const Parameters& p, const Shape& shape) {
  Numbers a = attention_loop(norm_loop(h, p.at("pre_attn")), p, shape);
  if (shape.post_norms) a = norm_loop(a, p.at("post_attn"));
  Numbers mid = sum_of(h, a), m = mlp_loop(norm_loop(mid, p.at("pre_mlp")), p);
  if (shape.post_norms) m = norm_loop(m, p.at("post_mlp"));
  return sum_of(mid, m);
}

/// Row b of (B, L, D), its valid tokens only.
Numbers row_of(const Numbers& h, int b) {
  Numbers row = test::zeros({kLengths[b], kDim});
  for (int t = 0; t < kLengths[b]; ++t)
    for (int d = 0; d < kDim; ++d) row(t, d) = h(b, t, d);
  return row;
}

class LayerOf : public testing::TestWithParam<Shape> {};
INSTANTIATE_TEST_SUITE_P(Kinds,
                         LayerOf,
                         testing::Values(Shape{}, Shape{true, false}, Shape{true, true}),
                         [](const auto& c) {
                           return std::string(c.param.head_norms   ? "post_and_head_norms"
                                              : c.param.post_norms ? "post_norms"
                                                                   : "plain");
                         });

TEST_P(LayerOf, llama_form_equals_the_loops) {
  array h = noise({kBatch, kLength, kDim}, 1);
  Parameters p = parameters();
  Numbers y(layer(h, plan_of(p, GetParam()), uncached()));
  for (int b = 0; b < kBatch; ++b)
    EXPECT_LT(difference(row_of(y, b), layer_loop(row_of(h, b), p, GetParam())), 1e-5) << b;
}

TEST_P(LayerOf, gives_the_tokens_that_are_asked_for_when_it_is_the_last) {
  array h = noise({kBatch, kLength, kDim}, 1);
  Parameters p = parameters();
  for (const std::vector<int>& needed : {std::vector{1, 0}, {0, 2}, {2, 1}, {1, 1}, {5, 3}}) {
    Layer last = uncached();
    auto rows = std::make_shared<Rows>(*last.rows);
    rows->needed = needed;
    last.rows = rows;
    Numbers y(layer(h, plan_of(p, GetParam()), last, true));
    for (int b = 0; b < kBatch; ++b) {
      Numbers mine = row_of(y, b), want = layer_loop(row_of(h, b), p, GetParam());
      int from = kLengths[b] - needed[b];
      for (int t = from; t < kLengths[b]; ++t)
        for (int d = 0; d < kDim; ++d) EXPECT_NEAR(mine(t, d), want(t, d), 1e-4);
      // Few: the others are not computed.
      bool few = 2 * (needed[0] + needed[1]) <= kBatch * kLength;
      for (int t = 0; own_kernels() && few && t < from; ++t)
        for (int d = 0; d < kDim; ++d) EXPECT_EQ(mine(t, d), 0);
    }
  }
}

/// sum of c * layer(h), over valid tokens.
double weighed_loop(const Numbers& h, const Parameters& p, const Shape& shape, const Numbers& c) {
  double sum = 0;
  for (int b = 0; b < kBatch; ++b) {
    Numbers y = layer_loop(row_of(h, b), p, shape);
    for (int t = 0; t < kLengths[b]; ++t)
      for (int d = 0; d < kDim; ++d) sum += c(b, t, d) * y(t, d);
  }
  return sum;
}

/// (f(x + e) - f(x - e)) / 2e for each entry of x.
Numbers slopes(Numbers x, const std::function<double(const Numbers&)>& f) {
  Numbers slope = test::zeros(x.shape);
  for (size_t i = 0; i < x.data.size(); ++i) {
    double at = x.data[i], e = 1e-5;
    x.data[i] = at + e;
    double above = f(x);
    x.data[i] = at - e;
    slope.data[i] = (above - f(x)) / (2 * e);
    x.data[i] = at;
  }
  return slope;
}

/// Weights of the outputs in the sum: none for padding.
Numbers output_weights() {
  Numbers c(noise({kBatch, kLength, kDim}, 2));
  for (int b = 0; b < kBatch; ++b)
    for (int t = kLengths[b]; t < kLength; ++t)
      for (int d = 0; d < kDim; ++d) c(b, t, d) = 0;
  return c;
}

TEST_P(LayerOf, llama_form_has_the_loops_gradient_for_its_input) {
  Parameters p = parameters();
  LayerPlan plan = plan_of(p, GetParam());
  Numbers h(noise({kBatch, kLength, kDim}, 1)), c = output_weights();
  array weights = c.as();
  auto loss = [&](const array& x) {
    return mx::sum(mx::multiply(weights, layer(x, plan, uncached())));
  };
  Numbers gradient(mx::grad(loss)(h.as()));
  Numbers expected = slopes(h, [&](const Numbers& x) { return weighed_loop(x, p, GetParam(), c); });
  EXPECT_LT(test::relative(gradient, expected), 1e-4);
}

TEST_P(LayerOf, llama_form_has_the_loops_gradient_for_its_parameters) {
  Parameters p = parameters();
  LayerPlan plan = plan_of(p, GetParam());
  Numbers h(noise({kBatch, kLength, kDim}, 1)), c = output_weights();
  const std::pair<const char*, Param> slots[] = {{"k", plan.attn.k->value},
                                                 {"o", plan.attn.o->value},
                                                 {"gate", plan.mlp.gate->value},
                                                 {"pre_mlp", plan.pre_mlp.weight}};
  for (auto& [name, slot] : slots) {
    array before = *slot;
    auto loss = [&, to = slot](const array& value) {
      *to = value;
      return mx::sum(mx::multiply(c.as(), layer(h.as(), plan, uncached())));
    };
    Numbers gradient(mx::grad(loss)(before));
    *slot = before;
    Numbers expected = slopes(p.at(name), [&, key = name](const Numbers& value) {
      Parameters changed = p;
      changed.at(key) = value;
      return weighed_loop(h, changed, GetParam(), c);
    });
    EXPECT_LT(test::relative(gradient, expected), 1e-4) << name;
  }
}

/// Keeps nothing; counts.
struct CountingStore : KvStore {
  int calls = 0;
  KvView append(const array& k, const array& v, std::shared_ptr<const Rows> rows) override {
    ++calls;
    return KvView::of(k, v, std::move(rows));
  }
};

TEST(Layers, run_one_after_the_other_each_with_its_own_store) {
  Parameters p = parameters(), other = p;
  other.at("down") = Numbers(noise({kDim, kHidden}, 77));
  LayerPlan first = plan_of(p, {}), second = plan_of(other, {});
  CountingStore stores[2];
  auto rows = uncached().rows;
  Pass pass{rows, {{rows, {&stores[0]}, {}}, {rows, {&stores[1]}, {}}}};
  Numbers h(noise({kBatch, kLength, kDim}, 1)), y(layers(h.as(), {&first, &second}, pass));
  for (auto& store : stores) EXPECT_EQ(store.calls, 1);
  for (int b = 0; b < kBatch; ++b) {
    Numbers expected = layer_loop(layer_loop(row_of(h, b), p, {}), other, {});
    EXPECT_LT(test::relative(row_of(y, b), expected), 1e-5);
  }
}

TEST(SelfAttentionLayout, says_what_is_kept_for_each_token) {
  SelfAttention attn = plan_of(parameters(), {}).attn;
  KvLayout plain = layout(attn);
  EXPECT_EQ(plain.heads, kKvHeads);
  EXPECT_EQ(plain.k_dim, kHeadDim);
  EXPECT_EQ(plain.v_dim, kHeadDim);
  EXPECT_EQ(plain.window, 0);
  attn.args.window = 7;
  EXPECT_EQ(layout(attn).window, 7);
  attn.args.window = 0, attn.args.chunk = 9;
  EXPECT_EQ(layout(attn).window, 9);
}

TEST(SelfAttentionLayout, has_values_of_another_size_than_keys) {
  SelfAttention attn = plan_of(parameters(), {}).attn;
  attn.v->value = std::make_shared<array>(noise({kKvHeads * 3, kDim}, 1));
  EXPECT_EQ(layout(attn).v_dim, 3);
}

}  // namespace
}  // namespace mlxcpp::ops
