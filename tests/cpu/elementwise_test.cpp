// Small operations against their formulas in float64, on every tier.
#include "mlxcpp/ops/cpu/elementwise.h"

#include "mlxcpp/ops/cpu/attention.h"
#include "tests/cpu/tiers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

namespace mlxcpp::cpu {
namespace {

using test::normal;
using test::on_every_tier;
using test::relative_rms;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::numeric_limits<float>::quiet_NaN();
const int kSizes[] = {1, 3, 4, 7, 15, 16, 17, 31, 64, 100, 576, 2047};

Doubles norm_loop(
    const Floats& x, const Floats& weight, const Floats& bias, bool mean, double eps) {
  size_t size = weight.size();
  Doubles y(x.size());
  for (size_t r = 0; r < x.size(); r += size) {
    double m = 0, sum = 0;
    for (size_t i = 0; mean && i < size; ++i) m += double(x[r + i]) / double(size);
    for (size_t i = 0; i < size; ++i) sum += (x[r + i] - m) * (x[r + i] - m);
    for (size_t i = 0; i < size; ++i)
      y[r + i] = (x[r + i] - m) / std::sqrt(sum / double(size) + eps) * weight[i] + bias[i];
  }
  return y;
}

TEST(CpuNorms, equal_the_formula_at_every_size) {
  on_every_tier([](const std::string& tier) {
    for (int size : kSizes) {
      int rows = 3;
      Floats x = normal(rows * size, 1), w = normal(size, 2), b = normal(size, 3), none(size);
      Floats y(x.size());
      for (auto& v : x) v += 5;  // a mean that matters
      rms_norm(x.data(), w.data(), 0.01f, rows, size, y.data());
      EXPECT_LT(relative_rms(y, norm_loop(x, w, none, false, 0.01)), 1e-6) << tier << size;
      rms_norm(x.data(), nullptr, 0.01f, rows, size, y.data());
      EXPECT_LT(relative_rms(y, norm_loop(x, Floats(size, 1), none, false, 0.01)), 1e-6) << tier;
      layer_norm(x.data(), w.data(), b.data(), 0.01f, rows, size, y.data());
      EXPECT_LT(relative_rms(y, norm_loop(x, w, b, true, 0.01)), 1e-5) << tier << size;
    }
  });
}

TEST(CpuHalves, are_the_nearest_and_even_where_two_are_as_near) {
  on_every_tier([](const std::string& tier) {
    auto rounded = [](const Floats& x) {
      std::vector<unsigned short> y(x.size());
      to_half(x.data(), long(x.size()), y.data());
      return y;
    };
    Floats all, middles, above, below;
    for (unsigned h = 0; h < 0x7c00; ++h) {
      float here = test::half_value(h);
      float next = h == 0x7bff ? 65536 : test::half_value(h + 1);
      all.push_back(here), middles.push_back((here + next) / 2);
      below.push_back(std::nextafter(middles.back(), 0.f));
      above.push_back(std::nextafter(middles.back(), kInfinity));
    }
    all.push_back(kInfinity);
    auto same = rounded(all), even = rounded(middles), down = rounded(below), up = rounded(above);
    for (unsigned h = 0; h < 0x7c00; ++h) {
      ASSERT_EQ(same[h], h) << tier;
      ASSERT_EQ(even[h], h + (h & 1)) << tier;
      ASSERT_EQ(down[h], h) << tier;
      ASSERT_EQ(up[h], h + 1) << tier;
    }
    EXPECT_EQ(same.back(), 0x7c00) << tier;
    auto odd = rounded({-1.5f, -0.f, 1e30f, -1e30f, kNan, 1e-30f, -3e-8f});
    EXPECT_EQ(odd[0], 0xbe00) << tier;
    EXPECT_EQ(odd[1], 0x8000) << tier;
    EXPECT_EQ(odd[2], 0x7c00) << tier;
    EXPECT_EQ(odd[3], 0xfc00) << tier;
    EXPECT_TRUE(std::isnan(test::half_value(odd[4]))) << tier;
    EXPECT_EQ(odd[5], 0) << tier;
    EXPECT_EQ(odd[6], 0x8001) << tier;
  });
}

TEST(CpuNorms, add_first_and_keep_the_sum) {
  on_every_tier([](const std::string& tier) {
    for (int size : kSizes) {
      Floats x = normal(2 * size, 1), r = normal(2 * size, 4), w = normal(size, 2), none(size);
      Floats y(x.size()), sum(x.size()), expected(x.size());
      for (size_t i = 0; i < x.size(); ++i) expected[i] = x[i] + r[i];
      rms_norm(x.data(), w.data(), 1e-5f, 2, size, y.data(), r.data(), sum.data());
      EXPECT_EQ(sum, expected) << tier;
      EXPECT_LT(relative_rms(y, norm_loop(expected, w, none, false, 1e-5)), 1e-6) << tier << size;
      rms_norm(x.data(), w.data(), 1e-5f, 2, size, y.data(), r.data(), x.data());
      EXPECT_EQ(x, expected) << tier << ": the sum in the place of x";
    }
  });
}

double formula(Act act, double x) {
  switch (act) {
    case Act::silu: return x / (1 + std::exp(-x));
    case Act::gelu: return x / 2 * std::erfc(-x / std::sqrt(2.0));
    case Act::relu2: return x > 0 ? x * x : 0;
    case Act::gelu_tanh: break;
  }
  double u = std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x);
  return x / (1 + std::exp(-2 * u));
}
const Act kActs[] = {Act::silu, Act::gelu, Act::gelu_tanh, Act::relu2};

TEST(CpuActivations, are_right_to_a_few_units_in_the_last_place) {
  Floats x;
  for (float v = -30; v < 30; v += 0.0037f) x.push_back(v);
  for (float v : {0.f, 1e-30f, -1e-30f, 1e-6f, 100.f, 1e4f, 1e18f}) x.push_back(v);
  on_every_tier([&](const std::string& tier) {
    for (Act act : kActs) {
      Floats y(x.size());
      activate(x.data(), act, long(x.size()), y.data());
      for (size_t i = 0; i < x.size(); ++i) {
        double want = formula(act, x[i]), size = std::abs(want);
        // Far out, e^-x^2 loses as much as x^2 has lost.
        double allowed = 1e-6 * std::max(1.0, std::min(100., double(x[i]) * x[i] / 6));
        ASSERT_LE(std::abs(y[i] - want), allowed * size + 1e-37)
            << tier << ", " << int(act) << " of " << x[i];
      }
    }
  });
}

TEST(CpuActivations, keep_what_is_not_a_number) {
  on_every_tier([&](const std::string& tier) {
    for (Act act : kActs) {
      Floats x(19, 1.f), y(19);
      x[3] = x[17] = kNan, x[5] = kInfinity;
      activate(x.data(), act, 19, y.data());
      for (int i = 0; i < 19; ++i) EXPECT_EQ(std::isnan(y[i]), i == 3 || i == 17) << tier << i;
      EXPECT_EQ(y[5], kInfinity) << tier;
    }
  });
}

TEST(CpuGate, joins_its_halves_at_every_size_and_stride) {
  const Gate gates[] = {{},
                        {.act = Act::gelu},
                        {.act = Act::gelu_tanh},
                        {.act = Act::relu2},
                        {.limit = 1},
                        {.limit = 0.7f, .slope = 1.702f, .shift = 1},
                        {.shift = 0.5f}};
  on_every_tier([&](const std::string& tier) {
    for (int size : kSizes)
      for (auto& g : gates) {
        int rows = 2, gs = size + 3, us = size + 1, ys = size + 2;
        Floats gate = normal(rows * gs, 1), up = normal(rows * us, 2), y(rows * ys, 77);
        gated(gate.data(), gs, up.data(), us, g, rows, size, y.data(), ys);
        for (int r = 0; r < rows; ++r) {
          for (int i = 0; i < size; ++i) {
            double a = gate[r * gs + i], u = up[r * us + i];
            if (g.limit) {
              a = std::min(a, double(g.limit));
              u = std::clamp(u, -double(g.limit), double(g.limit));
            }
            double act = g.slope == 1 ? formula(g.act, a) : a / (1 + std::exp(-a * g.slope));
            ASSERT_NEAR(y[r * ys + i], act * (u + g.shift), 2e-6) << tier << size;
          }
          EXPECT_EQ(y[r * ys + size], 77) << tier << ": written behind the row";
        }
      }
  });
}

TEST(CpuSoftcap, bends_large_values) {
  Floats x = normal(1000, 1), y(1000);
  for (size_t i = 0; i < x.size(); ++i) x[i] *= i % 3 ? 0.1f : 100.f;
  on_every_tier([&](const std::string& tier) {
    softcap(x.data(), 30, 1000, y.data());
    for (int i = 0; i < 1000; ++i)
      ASSERT_NEAR(y[i], 30 * std::tanh(x[i] / 30.), 1e-6 * std::abs(x[i])) << tier << x[i];
  });
}

TEST(CpuSoftmax, equals_the_formula) {
  on_every_tier([&](const std::string& tier) {
    for (int size : {1, 5, 16, 33, 1000, 49152}) {
      Floats x = normal(2 * size, 1), y(x.size()), l(x.size()), s(2);
      for (auto& v : x) v = 7 * v + 300;
      if (size > 4) x[3] = -kInfinity;
      softmax(x.data(), 2, size, y.data());
      log_softmax(x.data(), 2, size, l.data());
      logsumexp(x.data(), 2, size, s.data());
      for (int r = 0; r < 2; ++r) {
        double m = *std::max_element(x.begin() + r * size, x.begin() + (r + 1) * size), sum = 0;
        for (int i = 0; i < size; ++i) sum += std::exp(x[r * size + i] - m);
        EXPECT_NEAR(s[r], m + std::log(sum), 5e-5) << tier << size;
        for (int i = 0; i < size; ++i) {
          double d = x[r * size + i] - m;
          ASSERT_NEAR(y[r * size + i], std::exp(d) / sum, 2e-6 * std::exp(d) / sum + 1e-37) << tier;
          if (std::isfinite(d)) ASSERT_NEAR(l[r * size + i], d - std::log(sum), 5e-5) << tier;
        }
      }
      if (size > 4) EXPECT_EQ(y[3], 0) << tier;
      if (size > 4) EXPECT_EQ(l[3], -kInfinity) << tier;
    }
  });
}

TEST(CpuArgmax, is_the_first_of_the_largest) {
  on_every_tier([&](const std::string& tier) {
    for (int size : {1, 3, 16, 17, 1000, 1024, 1025, 5000})
      for (int at : {0, size / 2, size - 1}) {
        Floats x = normal(size, 1);
        x[at] = 50;
        if (at + 1 < size) x[size - 1] = 50;
        if (at > 0) x[0] = kNan;
        unsigned found = 0;
        argmax(x.data(), 1, size, &found);
        EXPECT_EQ(found, unsigned(at)) << tier << size;
      }
    Floats lowest(40, -kInfinity);
    unsigned found = 7;
    argmax(lowest.data(), 1, 40, &found);
    EXPECT_EQ(found, 0u) << tier;
  });
}

TEST(CpuKthLargest, equals_that_of_the_sorted_row) {
  on_every_tier([&](const std::string& tier) {
    for (int size : {1, 10, 64, 65, 1000, 20000})
      for (int equal : {0, 1}) {
        Floats x = normal(2 * size, 1);
        if (equal)
          for (auto& v : x) v = std::round(v);
        if (size > 10) x[5] = -kInfinity;
        for (int k : {1, 2, 5, 40, 64, 300, size - 1, size}) {
          if (k < 1 || k > size) continue;
          Floats value(2);
          kth_largest(x.data(), 2, size, k, value.data());
          for (int r = 0; r < 2; ++r) {
            Floats sorted(x.begin() + r * size, x.begin() + (r + 1) * size);
            std::sort(sorted.begin(), sorted.end(), std::greater<float>());
            EXPECT_EQ(value[r], sorted[k - 1]) << tier << ", " << k << " of " << size;
          }
        }
      }
  });
}

TEST(CpuNucleus, is_the_last_of_the_fewest_that_reach_the_mass) {
  on_every_tier([&](const std::string& tier) {
    for (float spread : {0.f, 0.01f, 1.f, 8.f})
      for (int size : {1, 7, 1000, 30000})
        for (float p : {0.01f, 0.5f, 0.9f, 0.999f}) {
          Floats x = normal(size, 1);
          for (auto& v : x) v = v * spread - 40;
          float value = 0;
          nucleus(x.data(), 1, size, p, &value);
          Floats sorted = x;
          std::sort(sorted.begin(), sorted.end(), std::greater<float>());
          double all = 0, above = 0, with = 0;
          for (float v : x) {
            all += std::exp(double(v) - sorted[0]);
            if (v > value) above += std::exp(double(v) - sorted[0]);
            if (v >= value) with += std::exp(double(v) - sorted[0]);
          }
          EXPECT_LT(above, (p + 1e-5) * all) << tier << ": too few, " << spread << ", " << p;
          EXPECT_GE(with, (p - 1e-5) * all) << tier << ": too many, " << spread << ", " << p;
          EXPECT_TRUE(
              std::binary_search(sorted.begin(), sorted.end(), value, std::greater<float>()));
        }
  });
}

TEST(CpuKeepLargest, keeps_exactly_so_many_and_the_first_of_equal_ones) {
  on_every_tier([&](const std::string& tier) {
    for (int size : {5, 64, 1000})
      for (int k : {1, 3, 5}) {
        Floats x(size, 1.f), y(size);
        x[2] = 3, x[4] = 2;
        keep_largest(x.data(), 1, size, k, y.data());
        int kept = 0, ones = 0;
        for (int i = 0; i < size; ++i) {
          bool want = i == 2 || (i == 4 && k > 1) || (x[i] == 1 && ones < k - 2);
          ones += x[i] == 1;
          EXPECT_EQ(y[i], want ? x[i] : -kInfinity) << tier << ", " << i << " of " << size;
          kept += y[i] > -kInfinity;
        }
        EXPECT_EQ(kept, k) << tier;
      }
  });
}

TEST(CpuKeepNucleus, keeps_what_is_no_less_than_the_last_of_it) {
  on_every_tier([&](const std::string& tier) {
    Floats x, y(5);
    for (float p : {0.05f, 0.4f, 0.1f, 0.4f, 0.05f}) x.push_back(std::log(p));
    keep_nucleus(x.data(), 1, 5, 0.79f, y.data());
    EXPECT_EQ(y, (Floats{-kInfinity, x[1], -kInfinity, x[3], -kInfinity})) << tier;
    keep_nucleus(x.data(), 1, 5, 0.81f, y.data());
    EXPECT_EQ(y, (Floats{-kInfinity, x[1], x[2], x[3], -kInfinity})) << tier;
    keep_nucleus(x.data(), 1, 5, 0.01f, y.data());
    EXPECT_EQ(y, (Floats{-kInfinity, x[1], -kInfinity, x[3], -kInfinity})) << tier;
  });
}

struct Turn {
  int size, dims;
  bool traditional;
};

TEST(CpuRotate, turns_pairs_by_position_times_frequency) {
  on_every_tier([&](const std::string& tier) {
    for (auto [size, dims, traditional] :
         {Turn{64, 64, false}, {64, 64, true}, {80, 20, false}, {12, 8, true}, {7, 4, false}}) {
      int rows = 2, heads = 3, tokens = 5;
      Floats x = normal(rows * heads * tokens * size, 1), y(x.size(), 7), inverse;
      std::vector<int> positions, axis;
      for (int i = 0; i < dims / 2; ++i) {
        inverse.push_back(float(std::pow(10000., -2. * i / dims)));
        axis.push_back(i % 2);
      }
      for (int i = 0; i < 2 * rows * tokens; ++i) positions.push_back(i * i * 977);
      // x: (rows, tokens, heads, size), y: (rows, heads, tokens, size).
      Rotation r{.rows = rows,
                 .heads = heads,
                 .tokens = tokens,
                 .size = size,
                 .dims = dims,
                 .x = {x.data(), heads * tokens * size, size, heads * size},
                 .out = y.data(),
                 .out_row = heads * tokens * size,
                 .out_head = tokens * size,
                 .out_token = size,
                 .traditional = traditional,
                 .magnitude = 1.25f,
                 .inverse = inverse.data(),
                 .positions = positions.data(),
                 .axis = axis.data()};
      rotate(r);
      for (int b = 0; b < rows; ++b)
        for (int h = 0; h < heads; ++h)
          for (int t = 0; t < tokens; ++t) {
            const float* from = &x[((b * tokens + t) * heads + h) * size];
            const float* to = &y[((b * heads + h) * tokens + t) * size];
            for (int i = dims; i < size; ++i) ASSERT_EQ(to[i], from[i]) << tier;
            for (int p = 0; p < dims / 2; ++p) {
              int i = traditional ? 2 * p : p, j = traditional ? 2 * p + 1 : p + dims / 2;
              int position = positions[(axis[p] * rows + b) * tokens + t];
              double angle = float(position) * inverse[p];  // rounded, as everywhere
              double c = 1.25 * std::cos(angle), s = 1.25 * std::sin(angle);
              ASSERT_NEAR(to[i], from[i] * c - from[j] * s, 2e-6) << tier << position;
              ASSERT_NEAR(to[j], from[i] * s + from[j] * c, 2e-6) << tier << position;
            }
          }
    }
  });
}

TEST(CpuRotate, works_in_place) {
  on_every_tier([&](const std::string& tier) {
    Floats x = normal(3 * 2 * 40, 1), y(x.size()), inverse(15, 0.3f);
    std::vector<int> positions = {4, 9};
    auto turned = [&](float* from, float* to) {
      rotate({.rows = 1,
              .heads = 3,
              .tokens = 2,
              .size = 40,
              .dims = 30,
              .x = {from, 240, 80, 40},
              .out = to,
              .out_row = 240,
              .out_head = 80,
              .out_token = 40,
              .inverse = inverse.data(),
              .positions = positions.data()});
    };
    turned(x.data(), y.data());
    turned(x.data(), x.data());
    EXPECT_EQ(x, y) << tier;
  });
}

TEST(CpuElementwise, does_not_depend_on_the_number_of_threads) {
  Floats x = normal(300 * 577, 1), w = normal(577, 2);
  Floats first;
  for (int threads : {1, 2, 3, 7}) {
    use({.threads = threads});
    Floats all(x.size() * 3);
    rms_norm(x.data(), w.data(), 1e-5f, 300, 577, all.data());
    softmax(x.data(), 300, 577, all.data() + x.size());
    activate(x.data(), Act::gelu, long(x.size()), all.data() + 2 * x.size());
    if (first.empty()) first = all;
    EXPECT_EQ(all, first) << threads << " threads";
  }
  use(Settings::read());
}

}  // namespace
}  // namespace mlxcpp::cpu
