// Nodes of our own kernels in MLX's graph: gradients by finite differences, vmap, views of larger
// arrays, and that MLXCPP_OPS=mlx gives the same.
#include "mlxcpp/ops/attention.h"
#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/rope.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::noise;
using test::Numbers;
using Function = std::function<array(const array&)>;

/// Two rows of five queries, the second from another place.
std::shared_ptr<const Rows> rows() {
  return std::make_shared<Rows>(2, 5, std::vector<int>{0, 2}, std::vector<int>{5, 4});
}

array attend(const array& q, const array& k) {
  return attention(q, KvView::of(k, noise({2, 2, 7, 6}, 2), rows()), {.scale = 0.5f, .window = 4});
}

struct Case {
  const char* name;
  mx::Shape shape;
  Function f;
};

std::vector<Case> cases() {
  auto param = [](const array& a) { return std::make_shared<array>(a); };
  auto rope_layer = Layer{rows(), {}, {}};
  std::vector<Case> all = {
      {"rms_norm",
       {4, 12},
       [=](const array& x) { return rms_norm(x, param(noise({12}, 2)), 0.01f); }},
      {"layer_norm",
       {4, 12},
       [=](const array& x) {
         return layer_norm(x, param(noise({12}, 2)), param(noise({12}, 3)), 0.01f);
       }},
      {"softcap", {50}, [](const array& x) { return softcap(x, 0.7f); }},
      {"rope", {2, 3, 5, 8}, [=](const array& x) { return rope(x, {.dims = 6}, rope_layer); }},
      {"attention_by_queries",
       {2, 4, 5, 8},
       [](const array& x) {
         return attend(x, noise({2, 2, 7, 8}, 1));
       }},
      {"attention_by_keys", {2, 2, 7, 8}, [](const array& x) {
         return attend(noise({2, 4, 5, 8}, 3), x);
       }}};
  for (auto act : {Activation::silu, Activation::gelu, Activation::gelu_tanh, Activation::relu2}) {
    all.push_back({"activate", {40}, [act](const array& x) { return activate(x, act); }});
    all.push_back({"gated", {2, 20}, [act](const array& x) {
                     return gated(x, noise({2, 20}, 4), {.act = act, .limit = 0.6f, .shift = 1});
                   }});
  }
  return all;
}

TEST(OwnKernels, have_the_gradients_of_finite_differences) {
  for (auto& c : cases()) {
    array x = noise(c.shape, 1), way = noise(c.shape, 9);
    array probe = c.f(x), weight = noise(probe.shape(), 8);
    auto value = [&](const array& at) { return mx::sum(mx::multiply(c.f(at), weight)); };
    array along = mx::sum(mx::multiply(mx::grad(value)(x), way));
    float step = 1e-2f;
    auto at = [&](float s) { return Numbers(value(mx::add(x, mx::multiply(way, array(s)))))(); };
    double expected = (at(step) - at(-step)) / (2 * step);
    EXPECT_NEAR(Numbers(along)(), expected, 2e-3 + 2e-3 * std::abs(expected)) << c.name;
  }
}

TEST(OwnKernels, give_the_same_as_the_composition) {
  std::vector<array> ours;
  for (auto& c : cases()) ours.push_back(c.f(noise(c.shape, 1)));
  mx::eval(ours);
  cpu::use({.mlx = true});
  size_t i = 0;
  for (auto& c : cases()) {
    array reference = c.f(noise(c.shape, 1));
    reference.eval();
    EXPECT_LT(difference(ours[i++], reference), 2e-6) << c.name;
  }
  cpu::use(cpu::Settings::read());
}

TEST(OwnKernels, are_mapped_over_an_axis) {
  for (auto& c : cases()) {
    mx::Shape shape = c.shape;
    shape.insert(shape.begin(), 3);
    array x = noise(shape, 1);
    array y = mx::vmap([&](const array& a) { return c.f(a); })(x);
    for (int i = 0; i < 3; ++i)
      EXPECT_LT(difference(mx::take(y, i, 0), c.f(mx::take(x, i, 0))), 2e-6) << c.name;
  }
}

TEST(OwnKernels, read_views_of_larger_arrays) {
  array wide = noise({3, 4, 40}, 1);
  auto halves = mx::split(wide, 2, -1);
  array gate = mx::contiguous(halves[0]), up = mx::contiguous(halves[1]);
  EXPECT_EQ(difference(gated(halves[0], halves[1], {}), gated(gate, up, {})), 0);
  EXPECT_EQ(difference(rms_norm(halves[1], nullptr, 1e-5f), rms_norm(up, nullptr, 1e-5f)), 0);
  array turned = mx::swapaxes(wide, 0, 2);
  EXPECT_EQ(difference(activate(turned, Activation::silu),
                       activate(mx::contiguous(turned), Activation::silu)),
            0);

  array k = noise({2, 2, 20, 8}, 1), v = noise({2, 2, 20, 6}, 2), q = noise({2, 5, 4, 8}, 3);
  auto cut = [](const array& x) { return mx::slice(x, {0, 0, 0, 0}, {2, 2, 7, x.shape(3)}); };
  auto on = [&](const array& queries, const array& keys, const array& values) {
    return attention(queries, KvView::of(keys, values, rows()), {.scale = 0.5f});
  };
  array queries = mx::transpose(q, {0, 2, 1, 3});
  EXPECT_EQ(difference(on(queries, cut(k), cut(v)),
                       on(mx::contiguous(queries), mx::contiguous(cut(k)), mx::contiguous(cut(v)))),
            0);
  array columns = mx::swapaxes(mx::contiguous(mx::swapaxes(cut(k), 2, 3)), 2, 3);
  EXPECT_EQ(difference(on(queries, columns, cut(v)), on(queries, cut(k), cut(v))), 0);
}

}  // namespace
}  // namespace mlxcpp::ops
