// Products of activations with weights: every tier, coding and number of rows against plain loops
// in float64.
#include "mlxcpp/ops/cpu/linear.h"

#include "mlxcpp/ops/cpu/features.h"
#include "tests/cpu/weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

namespace mlxcpp::cpu {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

/// Weights, and their numbers when they are asked for.
struct Coded {
  Weights weights;
  Matrix m;

  Coded(const Layout& layout, int rows, int columns, unsigned seed)
      : weights(random_weights(layout, rows, columns, seed)), m(weights.w) {}
  std::vector<float> numbers() const {
    std::vector<float> all;
    for (int r = 0; r < m.rows; ++r)
      for (int c = 0; c < m.columns; ++c) all.push_back(number_at(m, r, c));
    return all;
  }
};
const Layout kF32{Coding::f32}, kF16{Coding::f16}, kBf16{Coding::bf16},
    kAffine4{Coding::affine4, 64, Number::bf16}, kQ4K{Coding::q4_k}, kQ5K{Coding::q5_k},
    kQ6K{Coding::q6_k};

std::vector<Tier> able_tiers() {
  use({});
  std::vector<Tier> tiers;
  for (auto& t : machine().tiers)
    if (t.standing == Standing::able || t.standing == Standing::active) tiers.push_back(t.tier);
  return tiers;
}

/// Whether the tier rounds both operands of such a product to bfloat16.
bool rounds(Coding coding, int rows) {
  auto& m = machine();
  if (m.deterministic || coding == Coding::f32 || !(m.tier == Tier::amx || m.half_dots_pay))
    return false;
  bool dense = coding == Coding::f16 || coding == Coding::bf16 || coding == Coding::mxfp8;
  auto& half = *m.kernels->gemm_half;
  return rows >= (dense ? half.least_dense : half.least_rows);
}

/// What a tier may be off from the products of the operands that it multiplies, relative to the
/// root of the mean square.
double allowed(bool outliers = false) { return outliers ? 2e-4 : 1e-4; }

/// And from the exact ones, with bfloat16 operands.  A number in [1, 2) is rounded by up to 2^-8,
/// evenly spread: 2^-8 / sqrt(3) in the mean, over a root mean square of sqrt(1.5 / ln 2), is
/// 0.00153, for two operands 0.0022.  Where few roundings decide, since rows are few or one column
/// is much larger than the others, it may be more (seen: 0.0042).
double allowed_of_rounding(int rows, bool outliers) {
  return rows >= 15 && !outliers ? 0.003 : 0.0042;
}

float to_bfloat16(float v) {
  auto u = std::bit_cast<std::uint32_t>(v);
  return std::bit_cast<float>((u + 0x7fff + (u >> 16 & 1)) & 0xffff0000);
}

/// `rounded`: operands to bfloat16, once and to nearest.
std::vector<double> reference(const Coded& w,
                              const std::vector<float>& x,
                              int rows,
                              bool rounded = false) {
  int n = w.m.rows, k = w.m.columns;
  std::vector<double> y(std::size_t(rows) * n);
  auto numbers = w.numbers(), in = x;
  if (rounded)
    for (auto* all : {&numbers, &in})
      for (float& v : *all) v = to_bfloat16(v);
  for (int r = 0; r < rows; ++r)
    for (int o = 0; o < n; ++o) {
      double s = 0;
      const float* a = &numbers[std::size_t(o) * k];
      const float* b = &in[std::size_t(r) * k];
      for (int i = 0; i < k; ++i) s += double(a[i]) * b[i];
      y[std::size_t(r) * n + o] = s;
    }
  return y;
}

/// x (rows, columns) of unit size; with `outliers`, some columns are 30 times as large.
std::vector<float> activations(int rows, int columns, bool outliers, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(std::size_t(rows) * columns);
  for (auto& v : x) v = normal(random);
  if (outliers)
    for (int c = 0; c < columns; c += 200)
      for (int r = 0; r < rows; ++r) x[std::size_t(r) * columns + c] *= 30;
  return x;
}

std::vector<float> run(const Coded& w, const std::vector<float>& x, int rows) {
  std::vector<float> y(std::size_t(rows) * w.m.rows, kNan);
  Product p{.w = w.m, .y = y.data(), .y_stride = w.m.rows};
  linear(x.data(), w.m.columns, rows, {&p, 1});
  return y;
}

double error(const std::vector<float>& y, const std::vector<double>& expected) {
  double off = 0, all = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    off += (y[i] - expected[i]) * (y[i] - expected[i]);
    all += expected[i] * expected[i];
  }
  return std::sqrt(off / std::max(all, 1e-300));
}

struct Shape {
  int rows, outputs, columns;
};

/// Each tier, and once more where bfloat16 dot products may be used.
std::vector<Settings> ways() {
  std::vector<Settings> all;
  for (Tier tier : able_tiers()) {
    all.push_back({.tier = tier, .half_dots = false});
    if (tier == Tier::avx512bf16) all.push_back({.tier = tier, .half_dots = true});
  }
  return all;
}
std::string name_of(const Settings& s) {
  return std::string(name_of(*s.tier)) + (s.half_dots.value_or(false) ? "+dots" : "") +
         (s.deterministic ? ", deterministic" : "");
}

/// The worst of some shapes, for each way and coding: what the table shows.
TEST(Linear, is_near_exact_products_for_every_tier_coding_and_number_of_rows) {
  const Shape kShapes[] = {{1, 70, 64},
                           {2, 33, 576},
                           {3, 129, 2048},
                           {4, 48, 576},
                           {5, 65, 576},
                           {7, 37, 4096},
                           {12, 41, 2048},
                           {15, 130, 576},
                           {16, 48, 64},
                           {17, 31, 2048},
                           {31, 64, 576},
                           {33, 100, 832},
                           {45, 257, 576},
                           {130, 40, 1024},
                           {3, 40, 8192},
                           {9, 40, 8192},
                           {16, 67, 8192},
                           // the last columns are half or a quarter of what is read at once
                           {1, 37, 608},
                           {2, 35, 112},
                           {4, 66, 1056},
                           {5, 33, 80},
                           {6, 50, 1120},
                           {20, 70, 96}};
  struct Question {
    Coded w;
    int rows;
    bool outliers;
    std::vector<float> x;
    std::vector<double> y, rounded;
  };
  for (const Layout& layout : layouts()) {
    std::vector<Question> questions;
    int unit = unit_of(layout);
    for (const Shape& s : kShapes) {
      int columns = std::max(s.columns / unit, 1) * unit;
      bool outliers = questions.size() % 2 == 1;
      auto x = activations(s.rows, columns, outliers, 7);
      Coded w(layout, s.outputs, columns, unsigned(s.rows));
      auto y = reference(w, x, s.rows), rounded = reference(w, x, s.rows, true);
      questions.push_back(
          {std::move(w), s.rows, outliers, std::move(x), std::move(y), std::move(rounded)});
    }
    for (const Settings& way : ways()) {
      use(way);
      double worst_few = 0, worst_many = 0;
      for (const Question& q : questions) {
        auto found = run(q.w, q.x, q.rows);
        double e = error(found, q.y);
        bool half = rounds(layout.coding, q.rows);
        double& worst = q.rows < 4 ? worst_few : worst_many;
        worst = std::max(worst, std::isnan(e) ? 1e9 : e);
        if (half) EXPECT_LE(e, allowed_of_rounding(q.rows, q.outliers)) << name_of(layout);
        EXPECT_LE(half ? error(found, q.rounded) : e, allowed(q.outliers))
            << name_of(way) << " " << name_of(layout) << " " << q.rows << " rows, " << q.w.m.rows
            << " outputs, " << q.w.m.columns << " columns";
      }
      std::printf("error %-16s %-18s fewer than 4 rows %.1e, more %.1e\n",
                  name_of(way).c_str(),
                  name_of(layout).c_str(),
                  worst_few,
                  worst_many);
    }
  }
  use({});
}

TEST(Linear, takes_hundreds_of_rows_and_columns_that_are_no_multiple_of_anything) {
  for (const Settings& way : ways()) {
    use(way);
    for (const Layout& coding : {kF32, kF16, kBf16})
      for (int columns : {1, 7, 31, 33, 100, 575, 1027})
        for (int rows : {1, 3, 4, 7, 11, 16, 50}) {
          Coded w(coding, 37, columns, 3);
          auto x = activations(rows, columns, false, 9);
          auto found = run(w, x, rows);
          bool half = rounds(coding.coding, rows);
          EXPECT_LE(error(found, reference(w, x, rows, half)), allowed())
              << name_of(way) << " " << name_of(coding) << " " << rows << " rows, " << columns
              << " columns";
          if (half)
            EXPECT_LE(error(found, reference(w, x, rows)), allowed_of_rounding(rows, false))
                << name_of(coding) << " " << rows << " rows, " << columns << " columns";
        }
    for (int columns : {576, 1088}) {  // one block of columns, and several
      Coded w(kAffine4, 80, columns, 4);
      auto x = activations(530, columns, true, 5);
      auto found = run(w, x, 530);
      bool half = rounds(w.m.coding, 530);
      EXPECT_LE(error(found, reference(w, x, 530, half)), allowed(true));
      if (half) EXPECT_LE(error(found, reference(w, x, 530)), 0.003);
    }
  }
  use({});
}

/// All paths of linear().
struct Case {
  Settings way;
  int rows;
};
std::vector<Case> cases(std::initializer_list<int> rows) {
  std::vector<Case> all;
  for (Settings way : ways())
    for (bool deterministic : {false, true}) {
      way.deterministic = deterministic;
      for (int r : rows) all.push_back({way, r});
    }
  return all;
}

TEST(Linear, adds_bias_and_residual_and_writes_where_it_is_told) {
  for (auto& [way, rows] : cases({1, 3, 4, 7, 20})) {
    use(way);
    for (const Layout& coding : {kF32, kBf16, kAffine4}) {
      Coded a(coding, 70, 128, 1), b(coding, 33, 128, 2);
      const int x_stride = 131, y_stride = 120, residual_stride = 75;
      auto dense_x = activations(rows, 128, false, 3);
      std::vector<float> x(std::size_t(rows) * x_stride, kNan);
      for (int r = 0; r < rows; ++r)
        std::copy_n(&dense_x[std::size_t(r) * 128], 128, &x[std::size_t(r) * x_stride]);
      auto bias = activations(1, 70, false, 4),
           residual = activations(rows, residual_stride, false, 5);
      // Both products write rows of one array, the first in columns [5, 75), the second after it.
      std::vector<float> y(std::size_t(rows) * y_stride, -7);
      Product products[] = {{.w = a.m,
                             .bias = bias.data(),
                             .residual = residual.data(),
                             .residual_stride = residual_stride,
                             .y = &y[5],
                             .y_stride = y_stride},
                            {.w = b.m, .y = &y[80], .y_stride = y_stride}};
      linear(x.data(), x_stride, rows, products);
      bool half = rounds(coding.coding, rows);
      auto ya = reference(a, dense_x, rows, half), yb = reference(b, dense_x, rows, half);
      double near = 100 * allowed();
      for (int r = 0; r < rows; ++r)
        for (int c = 0; c < y_stride; ++c) {
          double expected = -7;
          if (c >= 5 && c < 75)
            expected = ya[std::size_t(r) * 70 + c - 5] + bias[c - 5] +
                       residual[std::size_t(r) * residual_stride + c - 5];
          if (c >= 80 && c < 113) expected = yb[std::size_t(r) * 33 + c - 80];
          ASSERT_NEAR(y[std::size_t(r) * y_stride + c], expected, near)
              << name_of(way) << " row " << r << " column " << c;
        }
    }
  }
  use({});
}

TEST(Linear, may_overwrite_its_residual) {
  for (auto& [way, rows] : cases({1, 4, 9, 33})) {
    use(way);
    for (const Layout& coding : {kF32, kBf16, kAffine4}) {
      Coded w(coding, 100, 640, 1);  // several blocks of columns
      auto x = activations(rows, 640, false, 2), y = activations(rows, 100, false, 3);
      auto apart = y;
      Product p{.w = w.m,
                .residual = y.data(),
                .residual_stride = 100,
                .y = apart.data(),
                .y_stride = 100};
      linear(x.data(), 640, rows, {&p, 1});
      p.y = y.data();
      linear(x.data(), 640, rows, {&p, 1});
      EXPECT_EQ(y, apart) << name_of(way) << " " << rows;
    }
  }
  use({});
}

TEST(Linear, gives_the_same_bits_for_any_number_of_threads) {
  for (auto& [way, rows] : cases({1, 4, 8, 12, 15, 45})) {
    for (const Layout& coding : {kF32, kBf16, kAffine4, kQ4K, kQ5K, kQ6K}) {
      bool in_blocks = coding.coding >= Coding::q2_k;  // of 256 columns
      int columns = in_blocks ? 768 : 576;             // 576: 64 behind the last 128
      Coded w(coding, 259, columns, 1), v(coding, 100, columns, 2);
      auto x = activations(rows, columns, false, 2);
      std::vector<float> first;
      for (int threads : {1, 2, 3, 7}) {
        Settings with = way;
        with.threads = threads;
        use(with);
        std::vector<float> y(std::size_t(rows) * 359, kNan);
        Product p[] = {{.w = w.m, .y = y.data(), .y_stride = 359},
                       {.w = v.m, .y = &y[259], .y_stride = 359}};
        linear(x.data(), columns, rows, p);
        if (threads == 1) first = y;
        EXPECT_EQ(std::memcmp(first.data(), y.data(), y.size() * sizeof(float)), 0)
            << name_of(way) << " " << threads << " threads";
      }
    }
  }
  use({});
}

TEST(Linear, lets_bad_numbers_through_to_their_row_alone) {
  for (auto& [way, rows] : cases({3, 4, 20})) {
    use(way);
    for (const Layout& coding : {kF32, kBf16, kAffine4})
      for (float bad : {kNan, kInf, -kInf}) {
        Coded w(coding, 50, 128, 1);
        auto x = activations(rows, 128, false, 2);
        auto good = run(w, x, rows);
        x[128 + 70] = bad;
        std::fill_n(&x[256], 128, 0.f);
        auto y = run(w, x, rows);
        for (int r = 0; r < rows; ++r)
          for (int n = 0; n < 50; ++n) {
            float v = y[std::size_t(r) * 50 + n];
            if (r == 1)
              EXPECT_FALSE(std::isfinite(v)) << name_of(way) << " " << n;
            else
              EXPECT_EQ(v, r == 2 ? 0 : good[std::size_t(r) * 50 + n]) << name_of(way);
          }
      }
  }
  use({});
}

TEST(Linear, gives_a_row_the_same_bits_in_every_batch_when_deterministic) {
  for (Tier tier : able_tiers()) {
    use({.tier = tier, .deterministic = true, .half_dots = false});
    for (const Layout& coding : layouts()) {
      int columns = std::max(576 / unit_of(coding), 1) * unit_of(coding);
      Coded w(coding, 130, columns, 1);
      auto x = activations(45, columns, true, 2);
      auto all = run(w, x, 45);
      for (int rows : {1, 2, 3, 4, 5, 16})
        for (int from : {0, 7, 29}) {
          std::vector<float> part(&x[std::size_t(from) * columns],
                                  &x[std::size_t(from) * columns] + std::size_t(rows) * columns);
          auto y = run(w, part, rows);
          EXPECT_EQ(std::memcmp(y.data(), &all[std::size_t(from) * 130], y.size() * sizeof(float)),
                    0)
              << name_of(tier) << " " << name_of(coding) << " " << rows << " rows from " << from;
        }
    }
  }
  use({});
}

TEST(GatherLinear, multiplies_each_row_with_the_matrix_that_its_router_chose) {
  for (auto& [way, tokens] : cases({1, 2, 13, 40})) {
    use(way);
    for (const Layout& coding : {kF32, kBf16, kAffine4}) {
      const int kExperts = 6, kOutputs = 70, kColumns = 192, kRepeat = 3;
      Coded all(coding, kExperts * kOutputs, kColumns, 1);
      ExpertStack stack{.w = all.m,
                        .experts = kExperts,
                        .stride = kOutputs * all.m.row_bytes,
                        .scale_stride = kOutputs * all.m.scale_row_bytes};
      stack.w.rows = kOutputs;
      auto bias = activations(kExperts, kOutputs, false, 5);
      stack.bias = bias.data();
      int rows = tokens * kRepeat;
      std::vector<unsigned> which(rows);
      for (int r = 0; r < rows; ++r) which[r] = unsigned(r * r + r / 5) % (kExperts - 1);
      auto x = activations(tokens, kColumns, false, 3);
      auto exact = reference(all, x, tokens);  // an expert may have few rows or many
      std::vector<float> y(std::size_t(rows) * 75, -3);
      gather_linear(x.data(), kColumns, rows, kRepeat, which.data(), stack, y.data(), 75);
      for (int r = 0; r < rows; ++r)
        for (int n = 0; n < 75; ++n) {
          double expected = -3;
          if (n < kOutputs)
            expected =
                exact[std::size_t(r / kRepeat) * kExperts * kOutputs + which[r] * kOutputs + n] +
                bias[which[r] * kOutputs + n];
          ASSERT_NEAR(y[std::size_t(r) * 75 + n],
                      expected,
                      rounds(coding.coding, 100) ? 0.3 : 100 * allowed())
              << name_of(way) << " row " << r << " output " << n;
        }
    }
  }
  use({});
}

}  // namespace
}  // namespace mlxcpp::cpu
