// Rope scalings against transformers' own frequencies (tests/data/nn/rope.json), measured on what
// ops::rope does to pairs of numbers; and the errors of settings that make no sense.
#include "mlxcpp/nn/rope.h"

#include "mlxcpp/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <sstream>

namespace mlxcpp::nn {
namespace {

using test::Numbers;

struct Case {
  std::string name;
  int dims = 0, max_position_embeddings = 0;
  std::optional<int> seq_len;
  float rope_theta = 0;
  double attention_factor = 0;
  std::vector<float> inv_freq;
  RopeScaling rope_scaling;

  void fields(io::Fields& f) {
    f.need("name", &name)
        .need("dims", &dims)
        .need("rope_theta", &rope_theta)
        .need("max_position_embeddings", &max_position_embeddings)
        .may("seq_len", &seq_len)
        .need("inv_freq", &inv_freq)
        .need("attention_factor", &attention_factor)
        .need("rope_scaling", &rope_scaling);
  }
  ops::Rope rope() const {
    return make_rope({.dims = dims, .base = rope_theta, .max_positions = max_position_embeddings},
                     rope_scaling);
  }
};

std::vector<Case> cases() {
  std::ostringstream text;
  text << std::ifstream(MLXCPP_TEST_DATA "/nn/rope.json").rdbuf();
  std::vector<Case> all;
  io::Fields::parse(text.str(), "rope.json").may("cases", &all);
  return all;
}

/// What the rotation makes of (1, 0) in every pair, for the last token of a row.
Numbers turned(const ops::Rope& r, int row_length, std::optional<int> position) {
  auto rows = std::make_shared<ops::Rows>(1, 1, std::vector{row_length - 1}, std::vector{1});
  if (position) rows->positions = test::ints({*position}, {1, 1});
  Numbers ones = test::zeros({1, 1, 1, r.dims});
  for (int p = 0; p < r.dims / 2; ++p) ones(0, 0, 0, p) = 1;
  return ops::rope(ones.as(), r, {rows, {}, {}});
}

class RopeGolden : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Rows, RopeGolden, testing::ValuesIn(cases()), [](const auto& c) {
  return c.param.name;
});

TEST_P(RopeGolden, turns_by_transformers_frequencies) {
  const Case& c = GetParam();
  Numbers y = turned(c.rope(), c.seq_len.value_or(1), 1);  // one position: the angle itself
  ASSERT_EQ(int(c.inv_freq.size()), c.dims / 2);
  for (int p = 0; p < c.dims / 2; ++p) {
    double x = y(0, 0, 0, p), z = y(0, 0, 0, p + c.dims / 2);
    EXPECT_NEAR(std::atan2(z, x), c.inv_freq[p], 2e-5 * c.inv_freq[p]) << "pair " << p;
    EXPECT_NEAR(std::hypot(x, z), c.attention_factor, 1e-6) << "pair " << p;
  }
}

TEST_P(RopeGolden, turns_the_last_token_of_a_row_of_that_length) {
  const Case& c = GetParam();
  int length = c.seq_len.value_or(1);
  Numbers y = turned(c.rope(), length, {});
  for (int p = 0; p < c.dims / 2; ++p) {
    double angle = (length - 1) * double(c.inv_freq[p]), bound = 2e-6 + length * 1e-6;
    EXPECT_NEAR(y(0, 0, 0, p), c.attention_factor * std::cos(angle), bound) << "pair " << p;
    EXPECT_NEAR(y(0, 0, 0, p + c.dims / 2), c.attention_factor * std::sin(angle), bound)
        << "pair " << p;
  }
}

TEST(RopeShape, hands_on_what_is_no_scaling) {
  ops::Rope r = make_rope({.dims = 8, .base = 500, .traditional = true});
  EXPECT_EQ(r.dims, 8);
  EXPECT_EQ(r.base, 500);
  EXPECT_TRUE(r.traditional);
  EXPECT_EQ(r.scale, 1);
  EXPECT_EQ(r.magnitude, 1);
  EXPECT_FALSE(r.freqs || r.dynamic || r.beyond);
}

TEST(RopeScaling, linear_divides_positions) {
  RopeScaling linear{.type = "linear", .factor = 4.f};
  EXPECT_EQ(make_rope({.dims = 8}, linear).scale, 0.25f);
}

TEST(RopeScaling, takes_the_original_window_from_the_config_where_it_has_none_itself) {
  std::vector<float> ones(4, 1), twos(4, 2);
  RopeScaling c{.type = "longrope", .short_factor = ones, .long_factor = twos};
  ops::Rope r = make_rope({.dims = 8, .max_positions = 4096, .original_max_positions = 64}, c);
  ASSERT_TRUE(r.beyond);
  EXPECT_EQ(r.beyond->original, 64);
  EXPECT_NEAR(r.magnitude, std::sqrt(1 + std::log(64.0) / std::log(64.0)), 1e-6);
  c.original_max_position_embeddings = 128;
  EXPECT_EQ(make_rope({.dims = 8, .max_positions = 4096, .original_max_positions = 64}, c)
                .beyond->original,
            128);
}

TEST(RopeScaling, reads_either_spelling_of_its_type_and_leaves_no_key_unread) {
  for (auto key : {"type", "rope_type"}) {
    auto f = io::Fields::parse(std::string("{\"") + key + R"(": "yarn", "factor": 4,
        "rope_theta": 5, "partial_rotary_factor": 0.5, "attention_factor": 1.5, "mscale": 1,
        "mscale_all_dim": 2, "original_max_position_embeddings": 64, "low_freq_factor": 1,
        "high_freq_factor": 4, "beta_fast": 30, "beta_slow": 2, "truncate": false,
        "short_factor": [1, 2], "long_factor": [3]})",
                               "config.rope_parameters");
    RopeScaling c;
    c.fields(f);
    EXPECT_EQ(c.type, "yarn");
    EXPECT_EQ(c.where, "config.rope_parameters");
    EXPECT_EQ(c.rope_theta, 5.f);
    EXPECT_EQ(c.partial_rotary_factor, 0.5f);
    EXPECT_EQ(c.short_factor, (std::vector{1.f, 2.f}));
    EXPECT_FALSE(c.truncate);
    EXPECT_EQ(f.unread(), std::vector<std::string>{});
  }
  auto both = io::Fields::parse(R"({"type": "linear", "rope_type": "yarn"})");
  RopeScaling c;
  c.fields(both);
  EXPECT_EQ(c.type, "yarn") << "as in transformers";
}

std::string error_of(const RopeScaling& c, const RopeShape& s = {.dims = 8}) {
  return test::message_of<ConfigError>([&] { make_rope(s, c); });
}

TEST(RopeErrors, a_factor_that_is_missing_or_no_positive_number) {
  for (auto type : {"linear", "dynamic", "llama3", "yarn"}) {
    EXPECT_EQ(error_of({.type = type}),
              std::string("config.rope_scaling.factor: missing for rope type ") + type);
    for (float bad : {0.f, -1.f, NAN, INFINITY})
      EXPECT_TRUE(
          error_of({.type = type, .factor = bad}).starts_with("config.rope_scaling.factor: "))
          << type << " " << bad;
  }
}

TEST(RopeErrors, lists_of_another_length_than_there_are_pairs) {
  std::vector<float> four(4, 1), three(3, 1);
  EXPECT_EQ(error_of({.type = "longrope", .short_factor = three, .long_factor = four}),
            "config.rope_scaling.short_factor: wrong length; expected 4, found 3");
  EXPECT_EQ(error_of({.type = "longrope", .short_factor = four, .long_factor = {}}),
            "config.rope_scaling.long_factor: wrong length; expected 4, found 0");
}

TEST(RopeErrors, factors_that_leave_no_frequency) {
  std::vector<float> four(4, 1);
  for (float bad : {0.f, -1.f, NAN, INFINITY, 1e38f}) {
    std::vector<float> one_bad = {1, 1, 1, bad};
    EXPECT_TRUE(error_of({.type = "longrope", .short_factor = four, .long_factor = one_bad})
                    .starts_with("config.rope_scaling: a frequency is out of range; expected a "
                                 "positive finite number, found "))
        << bad;
  }
}

TEST(RopeErrors, dims_that_are_no_pairs) {
  for (int dims : {7, 1, 0, -2})
    EXPECT_EQ(error_of({}, {.dims = dims}),
              "config.head_dim: can not be rotated; expected an even number of dims, found " +
                  std::to_string(dims));
  EXPECT_EQ(error_of({.type = "dynamic", .factor = 2.f}, {.dims = 2}),
            "config.rope_scaling: dynamic needs at least 4 dims");
}

TEST(RopeErrors, a_base_that_is_no_positive_number) {
  for (float bad : {0.f, -1.f, NAN, INFINITY})
    EXPECT_TRUE(error_of({}, {.dims = 8, .base = bad}).starts_with("config.rope_theta: ")) << bad;
}

TEST(RopeErrors, bounds_of_llama3_and_yarn_that_cross_or_vanish) {
  std::string high = "config.rope_scaling.high_freq_factor: out of range; expected ";
  for (auto [lo, hi] : {std::pair{4.f, 1.f}, {1.f, 1.f}, {0.f, 4.f}, {-1.f, 4.f}, {1.f, NAN}}) {
    RopeScaling c{.type = "llama3", .factor = 8.f, .low_freq_factor = lo, .high_freq_factor = hi};
    EXPECT_TRUE(error_of(c).starts_with(high)) << lo << " " << hi;
  }
  EXPECT_TRUE(error_of({.type = "yarn", .factor = 4.f, .beta_fast = 0})
                  .starts_with("config.rope_scaling.beta_fast: "));
  EXPECT_TRUE(error_of({.type = "yarn", .factor = 4.f, .beta_slow = -1})
                  .starts_with("config.rope_scaling.beta_slow: "));
}

TEST(RopeErrors, an_original_window_that_is_not_positive) {
  for (auto type : {"llama3", "yarn", "longrope"})
    EXPECT_TRUE(error_of({.type = type,
                          .factor = 4.f,
                          .original_max_position_embeddings = 0,
                          .short_factor = {1, 1, 1, 1},
                          .long_factor = {1, 1, 1, 1}})
                    .starts_with("config.rope_scaling.original_max_position_embeddings: "))
        << type;
}

TEST(RopeErrors, numbers_whose_result_would_not_be_finite) {
  EXPECT_NE(error_of({.type = "yarn", .factor = 4.f, .attention_factor = NAN}), "no error");
  EXPECT_NE(error_of({.type = "yarn", .factor = 4.f}, {.dims = 8, .base = 1}), "no error");
  EXPECT_NE(error_of({.type = "linear", .factor = 1e-45f}), "no error");
}

TEST(RopeErrors, a_type_that_is_not_known) {
  EXPECT_EQ(
      test::message_of<UnsupportedError>([] { make_rope({.dims = 8}, {.type = "xpos"}); }),
      "config.rope_scaling.rope_type: rope type not supported; expected default, linear, dynamic, "
      "llama3, yarn, longrope or proportional, found \"xpos\"");
}

}  // namespace
}  // namespace mlxcpp::nn
