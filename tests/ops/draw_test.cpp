// Draws from rows and edits of them: by our kernels and by MLX's operations, against plain loops.
#include "tests/cpu/tiers.h"
#include "tests/ops/choosing.h"

namespace mlxcpp::ops {
namespace {

class Draws : public Choose {};
class Edits : public Choose {};
INSTANTIATE_TEST_SUITE_P(By, Draws, testing::Bool(), backend);
INSTANTIATE_TEST_SUITE_P(By, Edits, testing::Bool(), backend);

/// Pearson's statistic of ids drawn from the given probabilities; `allowed`: what a right sampler
/// stays below nearly always.
struct ChiSquare {
  double value = 0, allowed = 0;
};
ChiSquare chi_square(const std::vector<unsigned>& drawn,
                     const Kept& ids,
                     const std::vector<double>& p) {
  std::vector<double> count(ids.size());
  double known = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    count[i] = double(std::count(drawn.begin(), drawn.end(), unsigned(ids[i])));
    known += count[i];
  }
  EXPECT_EQ(known, drawn.size()) << "a token that was removed";
  ChiSquare out;
  int cells = -1;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    double expected = p[i] * double(drawn.size());
    if (expected < 1) continue;  // too rare for the statistic
    out.value += (count[i] - expected) * (count[i] - expected) / expected;
    ++cells;
  }
  out.allowed = cells + 6 * std::sqrt(2.0 * std::max(cells, 1));
  return out;
}

std::vector<unsigned> many_draws(const Row& row, Draw d, int count, float mu = 0) {
  std::vector<Draw> how;
  for (int i = 0; i < count; ++i) how.push_back(d), how.back().random = noise_bits(i);
  return ids_of(draw(rows(std::vector<Row>(count, row)), how, mx::full({count}, mu)).ids);
}

TEST_P(Draws, come_from_the_tempered_distribution_of_what_is_left) {
  auto row = random_rows(1, 90, 4, 3).front();
  row[17] = -kInf;
  for (auto& way : many_ways()) {
    if (way.temperature == 0) continue;
    auto ids = by_loops(row, way, 5);
    auto drawn = many_draws(row, way, GetParam() ? 1500 : 8000, 5);  // MLX's take their time
    auto got = chi_square(drawn, ids, probs_of(row, ids, way.temperature));
    EXPECT_LT(got.value, got.allowed) << "temperature " << way.temperature;
    if (ids.size() < 89) continue;
    auto other = chi_square(drawn, ids, probs_of(row, ids, way.temperature * 1.5));
    EXPECT_GT(other.value, other.allowed) << "the bound is too loose to tell";
  }
}

TEST_P(Draws, invert_the_running_sum_of_probabilities) {
  Row x = log_of({0.25f, 0.25f, 0.5f});
  auto at = [&](double share) {
    Draw d{.temperature = 1, .random = std::uint64_t(share * 0x1p53) << 11};
    return ids_of(draw(rows({x}), {d}).ids)[0];
  };
  EXPECT_EQ(at(0), 0u);
  EXPECT_EQ(at(0.24), 0u);
  EXPECT_EQ(at(0.26), 1u);
  EXPECT_EQ(at(0.49), 1u);
  EXPECT_EQ(at(0.51), 2u);
  EXPECT_EQ(at(1 - 0x1p-53), 2u);
  x[2] = -kInf;
  EXPECT_EQ(at(1 - 0x1p-53), 1u) << "never a removed one";
  Row far(5000, -kInf);
  far[3210] = 7;
  for (double share : {0.0, 0.5, 1 - 0x1p-53}) {
    Draw d{.temperature = 1, .random = std::uint64_t(share * 0x1p53) << 11};
    EXPECT_EQ(ids_of(draw(rows({far}), {d}).ids)[0], 3210u);
  }
}

TEST_P(Draws, take_the_first_of_the_best_at_temperature_zero_whatever_else) {
  auto table = random_rows(16, 40, 8);
  table[3] = Row(40, 2.f);
  std::vector<unsigned> best;
  for (const auto& row : table) best.push_back(unsigned(ranked(row)[0]));
  Draw other{.top_n_sigma = 1,
             .typical_p = 0.1f,
             .top_p = 0.5f,
             .xtc = true,
             .xtc_threshold = 0,
             .mirostat = true};
  EXPECT_EQ(ids_of(draw(rows(table), std::vector<Draw>(16)).ids), best);
  EXPECT_EQ(ids_of(draw(rows(table), std::vector<Draw>(16, other), mx::zeros({16})).ids), best);
}

TEST_P(Draws, take_the_best_at_the_smallest_temperatures) {
  auto x = rows({kFive, {-50, -40, -30, -20, -10}, {-1000, -999, -1001, -1002, -1003}});
  for (float t : {1e-6f, 1e-30f, std::numeric_limits<float>::denorm_min()})
    EXPECT_EQ(ids_of(draw(x, std::vector<Draw>(3, {.temperature = t, .random = 1u << 31})).ids),
              (std::vector<unsigned>{1, 4, 1}));
}

TEST_P(Draws, read_half_precision_as_float32) {
  auto table = random_rows(200, 50, 5);
  for (auto dtype : {mx::float16, mx::bfloat16}) {
    auto half = mx::astype(rows(table), dtype);
    std::vector<Draw> how;
    for (int i = 0; i < 200; ++i)
      how.push_back({.temperature = 0.7f, .top_p = 0.9f, .random = noise_bits(i)});
    EXPECT_EQ(ids_of(draw(half, how).ids), ids_of(draw(mx::astype(half, mx::float32), how).ids));
  }
}

TEST_P(Draws, move_mirostats_mu_by_the_surprise_of_the_chosen_token) {
  auto table = random_rows(40, 70, 9, 2);
  std::vector<Draw> how;
  std::vector<float> mu;
  for (int i = 0; i < 40; ++i) {
    how.push_back({.temperature = 0.5f + 0.05f * float(i),
                   .mirostat = i % 4 != 3,
                   .tau = 2 + 0.1f * float(i),
                   .eta = 0.1f,
                   .random = noise_bits(i)});
    mu.push_back(1 + 0.2f * float(i));
  }
  auto out = draw(rows(table), how, array(mu.data(), {40}));
  auto ids = ids_of(out.ids);
  auto after = list_of<float>(*out.mu);
  for (int i = 0; i < 40; ++i) {
    auto& d = how[i];
    double want = mu[i];
    if (d.mirostat) {
      auto left = by_loops(table[i], d, mu[i]);
      auto at = std::find(left.begin(), left.end(), int(ids[i]));
      ASSERT_NE(at, left.end()) << i;
      double p = probs_of(table[i], left, d.temperature)[std::size_t(at - left.begin())];
      want -= d.eta * (-std::log2(p) - d.tau);
    }
    EXPECT_NEAR(after[i], want, 1e-4) << i;
  }
}

TEST_P(Draws, give_log_probabilities_of_the_scores_as_they_came) {
  auto table = random_rows(4, 300, 11);
  table[1][250] = table[1][7] = 9;  // equal ones come in the order of their ids
  std::vector<Draw> how{{.temperature = 0.5f,
                         .top_k = 3,
                         .random = noise_bits(1),
                         .logprob = true,
                         .top_logprobs = 5},
                        {.logprob = true, .top_logprobs = 2},
                        {.temperature = 1, .random = noise_bits(3)},
                        {.temperature = 2, .random = noise_bits(4), .logprob = true}};
  auto out = draw(rows(table), how);
  auto ids = ids_of(out.ids);
  auto logprobs = list_of<float>(out.logprobs.value());
  auto top_ids = list_of<unsigned>(out.top_ids.value());
  auto top = table_of(out.top_logprobs.value());
  ASSERT_EQ(out.top_ids->shape(), (mx::Shape{4, 5}));
  for (int r = 0; r < 4; ++r) {
    double total = 0;
    for (float v : table[r]) total += std::exp(double(v));
    auto expected = [&](int id) { return table[r][id] - std::log(total); };
    if (how[r].logprob) EXPECT_NEAR(logprobs[r], expected(int(ids[r])), 1e-5) << r;
    auto order = ranked(table[r]);
    for (int i = 0; i < 5; ++i) {
      if (i < how[r].top_logprobs) {
        EXPECT_EQ(top_ids[r * 5 + i], unsigned(order[i])) << r << ", " << i;
        EXPECT_NEAR(top[r][i], expected(order[i]), 1e-5);
      } else {
        EXPECT_EQ(top[r][i], -kInf);
      }
    }
  }
  EXPECT_FALSE(draw(rows(table), std::vector<Draw>(4)).logprobs);
}

TEST_P(Draws, give_more_log_probabilities_than_there_are_tokens_as_minus_infinity) {
  auto out = draw(rows({kFive}), {{.logprob = true, .top_logprobs = 7}});
  auto top = table_of(*out.top_logprobs).front();
  EXPECT_NEAR(top[4], kFive[0], 1e-5);
  EXPECT_EQ(top[5], -kInf);
  EXPECT_EQ(top[6], -kInf);
}

TEST_P(Draws, are_the_same_bits_for_a_row_alone_and_in_any_batch) {
  auto ways = many_ways();
  for (std::size_t i = 0; i < ways.size(); ++i) {
    ways[i].random = noise_bits(i);
    ways[i].logprob = i % 2;
    ways[i].top_logprobs = i % 3 == 0 ? 4 : 0;
  }
  auto table = random_rows(int(ways.size()), 5000, 13);
  array mu = mx::full({int(ways.size())}, 4.f);
  auto all = draw(rows(table), ways, mu);
  auto ids = ids_of(all.ids);
  auto logprobs = list_of<float>(*all.logprobs), state = list_of<float>(*all.mu);
  auto top = table_of(*all.top_logprobs);
  for (std::size_t r = 0; r < ways.size(); ++r) {
    auto alone = draw(rows({table[r]}), {ways[r]}, mx::full({1}, 4.f));
    EXPECT_EQ(ids_of(alone.ids)[0], ids[r]) << r;
    if (alone.logprobs && ways[r].logprob)
      EXPECT_EQ(list_of<float>(*alone.logprobs)[0], logprobs[r]) << r;
    if (alone.mu) EXPECT_EQ(list_of<float>(*alone.mu)[0], state[r]) << r;
    if (alone.top_logprobs) EXPECT_EQ(table_of(*alone.top_logprobs)[0], top[r]) << r;
  }
}

TEST_P(Draws, answer_an_id_of_the_vocabulary_for_broken_scores) {
  auto x = rows({Row(5, kNan),
                 Row(5, -kInf),
                 Row(5, kInf),
                 {0, kNan, 1, kInf, -kInf},
                 {0, kNan, 1, 2, -kInf}});
  auto ways = many_ways();
  for (auto& way : ways)
    for (std::uint64_t random : {std::uint64_t{0}, ~std::uint64_t{0}}) {
      way.random = random;
      way.logprob = true, way.top_logprobs = 3;
      auto out = draw(x, std::vector<Draw>(5, way), mx::full({5}, 2.f));
      for (auto id : ids_of(out.ids)) EXPECT_LT(id, 5u);
      for (auto id : list_of<unsigned>(*out.top_ids)) EXPECT_LT(id, 5u);
      table_of(filtered(x, std::vector<Draw>(5, way), mx::full({5}, 2.f)));
    }
}

TEST(Tiers, leave_and_draw_the_same) {
  auto ways = many_ways();
  for (std::size_t i = 0; i < ways.size(); ++i) ways[i].random = noise_bits(i);
  auto x = rows(random_rows(int(ways.size()), 1000, 17));
  array mu = mx::full({int(ways.size())}, 4.f);
  std::optional<std::vector<Row>> left;
  std::vector<unsigned> ids;
  test::on_every_tier([&](const std::string& tier) {
    auto now = table_of(filtered(x, ways, mu));
    auto drawn = ids_of(draw(x, ways, mu).ids);
    if (!left) left = now, ids = drawn;
    EXPECT_EQ(now, *left) << tier;
    EXPECT_EQ(drawn, ids) << tier;
  });
}

TEST_P(Edits, add_bias_then_scale_by_sign_then_subtract) {
  auto x = rows({{4, -2, 0, 8}, {1, 2, 3, 4}, {1, 2, 3, -kInf}});
  std::vector<std::vector<Edit>> edits(3);
  edits[0] = {{.id = 3, .bias = 2, .factor = 2, .subtract = 1},
              {.id = 1, .factor = 2},
              {.id = 4, .bias = 7},
              {.id = 0, .bias = -6, .factor = 2}};
  edits[2] = {{.id = 1, .bias = -kInf, .factor = 2, .subtract = -3}};
  EXPECT_EQ(table_of(edited(x, edits)),
            (std::vector<Row>{{-4, -4, 0, 4}, {1, 2, 3, 4}, {1, -kInf, 3, -kInf}}));
  EXPECT_EQ(table_of(x)[0], (Row{4, -2, 0, 8})) << "what others hold stays";
  EXPECT_EQ(table_of(edited(x, std::vector<std::vector<Edit>>(3))), table_of(x));
}

}  // namespace
}  // namespace mlxcpp::ops
