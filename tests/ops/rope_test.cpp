// ops::rope against the rotation written out.
#include "mlxcpp/ops/rope.h"

#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <memory>

namespace mlxcpp::ops {
namespace {

using test::difference;
using test::ints;
using test::noise;
using test::Numbers;

constexpr int kBatch = 2, kHeads = 3, kLength = 4, kHeadDim = 12;
const std::vector<float> kFreqs = {1, 2.5f, 40, 7};  // wavelength / 2 pi, not even in order

double plain_wavelength(const Rope& r, double base, int pair) {
  return std::pow(base, 2.0 * pair / r.dims);
}

/// Place and wavelength of a pair of dims, at a row and a token of it.
using Place = std::function<double(int row, int token, int pair)>;
using Wavelength = std::function<double(int row, int pair)>;

Numbers rotate_loop(const Numbers& x, const Rope& r, const Place& place, const Wavelength& wave) {
  Numbers y = x;
  for (int b = 0; b < x.shape[0]; ++b)
    for (int h = 0; h < x.shape[1]; ++h)
      for (int t = 0; t < x.shape[2]; ++t)
        for (int p = 0; p < r.dims / 2; ++p) {
          int i = r.traditional ? 2 * p : p, j = r.traditional ? 2 * p + 1 : p + r.dims / 2;
          double angle = place(b, t, p) * r.scale / wave(b, p);
          double c = r.magnitude * std::cos(angle), s = r.magnitude * std::sin(angle);
          y(b, h, t, i) = x(b, h, t, i) * c - x(b, h, t, j) * s;
          y(b, h, t, j) = x(b, h, t, i) * s + x(b, h, t, j) * c;
        }
  return y;
}

/// The same where places are a row's own and no frequency depends on a length.
Numbers rotate_loop(const Numbers& x, const Rope& r, const Rows& rows) {
  std::optional<Numbers> freqs;
  if (r.freqs) freqs = Numbers(*r.freqs);
  return rotate_loop(
      x,
      r,
      [&](int b, int t, int) { return rows.offsets[b] + t; },
      [&](int, int p) { return freqs ? (*freqs)(p) : plain_wavelength(r, r.base, p); });
}

Layer layer_of(const Rows& rows) { return {std::make_shared<Rows>(rows), {}, {}}; }
array heads(int rows = kBatch) { return noise({rows, kHeads, kLength, kHeadDim}, 1); }

struct Case {
  const char* name;
  Rope rope;
};
std::vector<Case> cases() {
  array freqs(kFreqs.data(), {int(kFreqs.size())}, mx::float32);
  return {{"plain", {.dims = kHeadDim}},
          {"other_base", {.dims = kHeadDim, .base = 100}},
          {"some_dims", {.dims = 8}},
          {"no_dims", {.dims = 0}},
          {"scale", {.dims = 8, .scale = 0.25f}},
          {"freqs", {.dims = 8, .freqs = freqs}},
          {"freqs_and_scale", {.dims = 8, .scale = 0.25f, .freqs = freqs}},
          {"magnitude", {.dims = kHeadDim, .magnitude = 1.3f}},
          {"magnitude_on_some_dims", {.dims = 8, .freqs = freqs, .magnitude = 1.3f}}};
}

class RopeForms : public testing::TestWithParam<std::tuple<Case, bool>> {
 protected:
  Rope rope_of_case() const {
    Rope r = std::get<0>(GetParam()).rope;
    r.traditional = std::get<1>(GetParam());
    return r;
  }
};

TEST_P(RopeForms, rotate_every_row_from_one_offset) {
  Rope r = rope_of_case();
  for (int offset : {0, 17}) {
    Rows rows(kBatch, kLength, {offset, offset}, {4, 4});
    EXPECT_LT(difference(rope(heads(), r, layer_of(rows)), rotate_loop(heads(), r, rows)), 1e-5);
  }
}

TEST_P(RopeForms, rotate_each_row_from_its_own_offset) {
  Rope r = rope_of_case();
  Rows rows(kBatch, kLength, {3, 20}, {4, 2});
  EXPECT_LT(difference(rope(heads(), r, layer_of(rows)), rotate_loop(heads(), r, rows)), 1e-5);
}

TEST_P(RopeForms, rotate_to_positions_from_outside) {
  Rope r = rope_of_case();
  Rows rows(kBatch, kLength, {3, 20}, {4, 4});
  rows.positions = ints({5, 0, 9, 2, 30, 31, 31, 7}, {2, 4});
  Numbers at(*rows.positions), freqs = r.freqs ? Numbers(*r.freqs) : test::zeros({1});
  Numbers expected = rotate_loop(
      heads(),
      r,
      [&](int b, int t, int) { return at(b, t); },
      [&](int, int p) { return r.freqs ? freqs(p) : plain_wavelength(r, r.base, p); });
  EXPECT_LT(difference(rope(heads(), r, layer_of(rows)), expected), 1e-5);
}

TEST_P(RopeForms, keep_half_types) {
  Rope r = rope_of_case();
  Rows plain(kBatch, kLength, {3, 20}, {4, 4}), given = plain;
  given.positions = plain.index;
  for (mx::Dtype dtype : {mx::float16, mx::bfloat16})
    for (auto& rows : {plain, given}) {
      array x = mx::astype(heads(), dtype), y = rope(x, r, layer_of(rows));
      EXPECT_EQ(y.dtype(), dtype);
      EXPECT_LT(difference(y, rotate_loop(x, r, rows)), dtype == mx::float16 ? 3e-3 : 2.5e-2);
    }
}

INSTANTIATE_TEST_SUITE_P(All,
                         RopeForms,
                         testing::Combine(testing::ValuesIn(cases()), testing::Bool()),
                         [](const auto& c) {
                           return std::string(std::get<0>(c.param).name) +
                                  (std::get<1>(c.param) ? "_neighbours" : "_halves");
                         });

TEST(RopePositions, in_three_streams_give_each_frequency_the_stream_of_its_axis) {
  Rope r{.dims = 8, .axis = {0, 2, 1, 2}};
  Rows rows(kBatch, kLength, {0, 5}, {4, 4});
  rows.positions = ints({0, 1,  2,  3,  10, 11, 12, 13,   //
                         4, 4,  5,  5,  20, 20, 21, 21,   //
                         7, 30, 29, 28, 3,  1,  4,  15},  //
                        {3, 2, 4});
  Numbers at(*rows.positions);
  Numbers expected = rotate_loop(
      heads(),
      r,
      [&](int b, int t, int p) { return at(r.axis[p], b, t); },
      [&](int, int p) { return plain_wavelength(r, r.base, p); });
  EXPECT_LT(difference(rope(heads(), r, layer_of(rows)), expected), 1e-5);

  r.axis.clear();  // then all turn by the first stream
  expected = rotate_loop(
      heads(),
      r,
      [&](int b, int t, int) { return at(0, b, t); },
      [&](int, int p) { return plain_wavelength(r, r.base, p); });
  EXPECT_LT(difference(rope(heads(), r, layer_of(rows)), expected), 1e-5);
}

/// Rows that end before, at and behind `original` = 8, neighbours of one kind and not.
Rows rows_of_lengths() { return Rows(6, kLength, {2, 4, 5, 5, 26, 0}, {4, 4, 4, 4, 1, 2}); }

std::function<double(int, int)> dynamic_wavelength(const Rope& r, const Rows& rows) {
  return [&r, &rows](int b, int p) {
    double n = std::max(rows.end(b), r.dynamic->original), f = r.dynamic->factor;
    double base = r.base * std::pow(f * n / r.dynamic->original - (f - 1), r.dims / (r.dims - 2.0));
    return plain_wavelength(r, base, p);
  };
}

TEST(RopeDynamic, grows_the_base_with_each_rows_own_length) {
  Rope r{.dims = 8, .base = 100, .dynamic = DynamicNtk{.factor = 3, .original = 8}};
  Rows rows = rows_of_lengths();
  array x = heads(rows.batch);
  auto own = [&](int b, int t, int) { return rows.offsets[b] + t; };
  EXPECT_LT(
      difference(rope(x, r, layer_of(rows)), rotate_loop(x, r, own, dynamic_wavelength(r, rows))),
      1e-5);
}

TEST(RopeDynamic, follows_the_rows_length_when_positions_are_given) {
  Rope r{.dims = 8, .base = 100, .dynamic = DynamicNtk{.factor = 3, .original = 8}};
  Rows rows = rows_of_lengths();
  rows.positions = mx::add(rows.index, array(3));
  array x = heads(rows.batch);
  auto shifted = [&](int b, int t, int) { return rows.offsets[b] + t + 3; };
  EXPECT_LT(difference(rope(x, r, layer_of(rows)),
                       rotate_loop(x, r, shifted, dynamic_wavelength(r, rows))),
            1e-5);
}

TEST(RopeBeyond, uses_the_long_frequencies_for_rows_longer_than_the_original) {
  std::vector<float> longer = {2, 5, 80, 700};
  Rope r{.dims = 8,
         .freqs = array(kFreqs.data(), {4}, mx::float32),
         .beyond = LongFrequencies{array(longer.data(), {4}, mx::float32), 8}};
  Rows rows = rows_of_lengths();
  array x = heads(rows.batch);
  auto wave = [&](int b, int p) { return double(rows.end(b) > 8 ? longer[p] : kFreqs[p]); };
  auto own = [&](int b, int t, int) { return rows.offsets[b] + t; };
  EXPECT_LT(difference(rope(x, r, layer_of(rows)), rotate_loop(x, r, own, wave)), 1e-5);

  rows.positions = ints(std::vector<int>(3 * 6 * 4, 5), {3, 6, 4});
  auto five = [](int, int, int) { return 5; };
  EXPECT_LT(difference(rope(x, r, layer_of(rows)), rotate_loop(x, r, five, wave)), 1e-5);
}

}  // namespace
}  // namespace mlxcpp::ops
