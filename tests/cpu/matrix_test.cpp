// Products of few rows with matrices in every coding, by every tier that this CPU has, against
// float64 sums of numbers decoded by plain loops (weights.cpp).
#include "mlxcpp/ops/cpu/detail/tiers.h"
#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/cpu/quantised.h"
#include "tests/cpu/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <iostream>
#include <limits>
#include <random>

namespace mlxcpp::cpu {
namespace {

/// Of the RMS of the sums, against what sums of such products are: the root of the sum of their
/// squares.  Activations have 16 bits in each 64 columns; also where some are 30 times as large.
constexpr double kError = 1e-4, kErrorOutliers = 2e-4;

bool is_dense(Coding c) { return c <= Coding::bf16 || c == Coding::mxfp8; }

/// Activations of some rows, with a few large channels, in memory that ends with the last of them.
struct Activations {
  Activations(int count, int width, unsigned seed, bool outliers = true)
      : rows(count), columns(width), memory(sizeof(float) * std::size_t(count) * width) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    for (int i = 0; i < rows * columns; ++i) {
      float v = normal(random);
      put(i, outliers && i % columns % 191 == 7 ? 30 * v : v);
    }
  }
  float* row(int m) { return data() + long(m) * columns; }
  float* data() { return reinterpret_cast<float*>(memory.data()); }
  void put(int i, float v) { data()[i] = v; }
  int rows, columns;
  Fenced memory;
};

std::vector<float> products(const Kernels& k, const Matrix& w, Activations& x, int from, int to) {
  std::vector<float> y(std::size_t(x.rows) * w.rows, -77);
  if (is_dense(w.coding)) {
    k.matrix.dense_dots(w, x.data(), x.columns, x.rows, from, to, y.data(), w.rows);
    return y;
  }
  Fenced memory((quantised_bytes(x.rows, x.columns) + 63) / 64 * 64);
  std::memset(memory.data(), 0xff, memory.size());
  auto q = quantised_rows(memory.data(), x.rows, x.columns);
  for (int m = 0; m < x.rows; ++m) k.matrix.quantise(x.row(m), m, q);
  k.matrix.dots(w, q, from, to, y.data(), w.rows);
  return y;
}

/// The numbers of a matrix, row by row.
std::vector<float> numbers(const Matrix& w) {
  std::vector<float> all;
  for (int n = 0; n < w.rows; ++n)
    for (int k = 0; k < w.columns; ++k) all.push_back(number_at(w, n, k));
  return all;
}

/// See kError; infinite where a result is not finite.
double error(const std::vector<float>& y,
             const std::vector<float>& w,
             Activations& x,
             int outputs) {
  double off = 0, all = 0;
  for (int m = 0; m < x.rows; ++m)
    for (int n = 0; n < outputs; ++n) {
      double exact = 0;
      for (int k = 0; k < x.columns; ++k) {
        double product = double(w[std::size_t(n) * x.columns + k]) * x.row(m)[k];
        exact += product, all += product * product;
      }
      double d = y[std::size_t(m) * outputs + n] - exact;
      off += d * d;
    }
  return std::isfinite(off) ? std::sqrt(off / all) : INFINITY;
}

class Tiers : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    auto& t = detail::compiled_tiers()[std::size_t(GetParam())];
    use({});
    for (auto& report : machine().tiers)
      if (report.tier == t.tier && report.standing == Standing::absent)
        GTEST_SKIP() << "SKIPPED: tier " << name_of(t.tier) << ": " << report.note;
    kernels = t.kernels;
  }
  const Kernels* kernels = nullptr;
};

TEST_P(Tiers, multiply_every_coding) {
  double worst = 0;
  for (auto& layout : layouts())
    for (int base : {64, 576, 2048, 8192, 96, 1056, 2080}) {
      int unit = unit_of(layout), columns = (base + unit - 1) / unit * unit;
      if (is_dense(layout.coding) && unit == 1) columns += base == 96 ? 5 : 0;
      int outputs = base >= 2048 ? 5 : 11;
      auto w = random_weights(layout, outputs, columns, unsigned(columns));
      auto exact = numbers(w.w);
      for (int rows = 1; rows <= kMaxRows; ++rows) {
        for (bool outliers : {false, true}) {
          Activations x(rows, columns, unsigned(rows), outliers);
          double e = error(products(*kernels, w.w, x, 0, outputs), exact, x, outputs);
          worst = std::max(worst, e);
          EXPECT_LT(e, outliers ? kErrorOutliers : kError)
              << name_of(layout) << " columns " << columns << " rows " << rows;
        }
      }
    }
  RecordProperty("worst", std::to_string(worst));
  std::cout << "largest error " << worst << "\n";
}

TEST_P(Tiers, unpack_every_coding) {
  for (auto& layout : layouts())
    for (int base : {64, 96, 544, 1024}) {
      int unit = unit_of(layout), columns = (base + unit - 1) / unit * unit;
      auto w = random_weights(layout, 3, columns, 5);
      int step = unit == 1 ? 8 : unit;
      for (int from = 0; from < columns; from += 3 * step)
        for (int count : {step, 2 * step, columns}) {
          count = std::min(count, columns - from);
          Fenced memory(sizeof(float) * std::size_t(count));
          auto* out = reinterpret_cast<float*>(memory.data());
          kernels->matrix.unpack(w.w, 2, from, count, out);
          // The plainest tier has no fused multiply-add: it rounds twice.
          bool rounds = kernels == detail::compiled_tiers().front().kernels;
          for (int i = 0; i < count; ++i) {
            float expected = number_at(w.w, 2, from + i);
            ASSERT_NEAR(out[i], expected, rounds ? 1e-5 * std::max(1.f, std::abs(expected)) : 0)
                << name_of(layout) << " columns " << columns << " at " << from << " + " << i;
          }
        }
    }
}

TEST_P(Tiers, give_the_same_however_outputs_are_divided) {
  for (auto& layout : layouts())
    for (int least : {576, 1536})
      for (int rows : {1, 2, 3}) {
        int unit = unit_of(layout), columns = (least + unit - 1) / unit * unit;
        auto w = random_weights(layout, 13, columns, 3);
        Activations x(rows, columns, 9);
        auto all = products(*kernels, w.w, x, 0, 13);
        for (int cut : {1, 2, 5, 8}) {
          auto first = products(*kernels, w.w, x, 0, cut),
               then = products(*kernels, w.w, x, cut, 13);
          for (int i = 0; i < 13 * rows; ++i) {
            float v = i % 13 < cut ? first[std::size_t(i)] : then[std::size_t(i)];
            ASSERT_EQ(all[std::size_t(i)], v) << name_of(layout) << " cut " << cut << " at " << i;
            float other = i % 13 < cut ? then[std::size_t(i)] : first[std::size_t(i)];
            ASSERT_EQ(other, -77) << "written outside its outputs";
          }
        }
      }
}

TEST_P(Tiers, give_zero_for_zeros_and_nothing_finite_for_what_is_not) {
  const float bad[] = {INFINITY, -INFINITY, NAN};
  for (auto& layout : layouts()) {
    int columns = 512;
    auto w = random_weights(layout, 5, columns, 4);
    for (float b : bad)
      for (int at : {0, 63, 200, 511}) {
        Activations x(4, columns, 2);
        for (int k = 0; k < columns; ++k) x.row(1)[k] = 0;
        x.row(2)[at] = b;
        auto y = products(*kernels, w.w, x, 0, 5);
        for (int n = 0; n < 5; ++n) {
          EXPECT_EQ(y[std::size_t(5 + n)], 0) << name_of(layout);
          bool nothing = is_dense(layout.coding) && number_at(w.w, n, at) == 0 && std::isinf(b);
          EXPECT_TRUE(!std::isfinite(y[std::size_t(10 + n)]) || nothing)
              << name_of(layout) << " " << b << " at " << at << ": " << y[std::size_t(10 + n)];
          EXPECT_TRUE(std::isfinite(y[std::size_t(n)]) && std::isfinite(y[std::size_t(15 + n)]));
        }
      }
  }
}

TEST_P(Tiers, keep_very_small_and_very_large_activations) {
  Layout layout{Coding::affine4, 64, Number::bf16};
  auto w = random_weights(layout, 5, 512, 4);
  auto exact = numbers(w.w);
  for (float scale : {1e-25f, 1e-12f, 1e12f, 1e30f}) {
    Activations x(2, 512, 2);
    for (int i = 0; i < 1024; ++i) x.data()[i] *= scale;
    EXPECT_LT(error(products(*kernels, w.w, x, 0, 5), exact, x, 5), kErrorOutliers) << scale;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Cpu, Tiers, testing::Range(0, int(detail::compiled_tiers().size())), [](const auto& tier) {
      return std::string(name_of(detail::compiled_tiers()[std::size_t(tier.param)].tier));
    });

}  // namespace
}  // namespace mlxcpp::cpu
