// Recurrent mixers against loops in float64, on every tier.
#include "mlxcpp/ops/cpu/recurrent.h"

#include "tests/cpu/tiers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mlxcpp::cpu {
namespace {

using test::normal;
using test::on_every_tier;
using test::relative_rms;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

struct Sizes {
  int rows, tokens, heads, key_heads, n, p;
  std::string name() const {
    std::string s;
    for (int i : {rows, tokens, heads, key_heads, n, p}) s += " " + std::to_string(i);
    return s;
  }
};

/// A whole history, and how to feed it.
struct Problem {
  Sizes size;
  bool delta, unit;
  Floats q, k, v, decay, write, skip, state;
  std::vector<int> lengths;

  Problem(const Sizes& s, bool with_delta, bool with_unit, unsigned seed = 1)
      : size(s), delta(with_delta), unit(with_unit) {
    size_t tokens = size_t(s.rows) * s.tokens, keys = tokens * s.key_heads * s.n;
    q = normal(keys, seed), k = normal(keys, seed + 1);
    if (!unit)  // of a length for which a delta rule does not grow
      for (auto* x : {&q, &k})
        for (float& f : *x) f /= 2 * std::sqrt(float(s.n));
    v = normal(tokens * s.heads * s.p, seed + 2);
    decay = normal(tokens * s.heads, seed + 3), write = normal(tokens * s.heads, seed + 4);
    for (float& d : decay) d = std::exp(-0.3f * std::abs(d));
    for (float& w : write) w = 1 / (1 + std::exp(-w));
    skip = normal(s.heads, seed + 5);
    state = normal(size_t(s.rows) * s.heads * s.p * s.n, seed + 6);
    lengths.assign(s.rows, s.tokens);
  }
};

struct Outcome {
  Doubles y, state;
};

/// A key of unit length, or the key.
Doubles key_of(const Problem& m, const Floats& x, size_t from, double by) {
  Doubles k(x.begin() + long(from), x.begin() + long(from) + m.size.n);
  if (!m.unit) return k;
  double squares = 1e-6;
  for (double d : k) squares += d * d;
  for (double& d : k) d *= by / std::sqrt(squares);
  return k;
}

Outcome loop(const Problem& m, double q_scale) {
  const Sizes& z = m.size;
  Outcome o{Doubles(m.v.size()), Doubles(m.state.begin(), m.state.end())};
  for (int r = 0; r < z.rows; ++r)
    for (int t = 0; t < m.lengths[r]; ++t)
      for (int h = 0; h < z.heads; ++h) {
        size_t token = size_t(r) * z.tokens + t, at = token * z.heads + h;
        size_t key = (token * z.key_heads + h / (z.heads / z.key_heads)) * z.n;
        Doubles q = key_of(m, m.q, key, q_scale), k = key_of(m, m.k, key, 1);
        for (int p = 0; p < z.p; ++p) {
          double* s = &o.state[((size_t(r) * z.heads + h) * z.p + p) * z.n];
          double known = 0, v = m.v[at * z.p + p], y = m.skip[h] * v;
          for (int n = 0; n < z.n; ++n) known += (s[n] *= m.decay[at]) * k[n];
          double w = m.write[at] * (m.delta ? v - known : v);
          for (int n = 0; n < z.n; ++n) y += (s[n] += w * k[n]) * q[n];
          o.y[at * z.p + p] = y;
        }
      }
  return o;
}

struct Result {
  Floats y, state;
  bool operator==(const Result&) const = default;
};

enum class Feed { in_place, elsewhere };

/// Tokens [from, to) of each row.
Recurrence job(const Problem& m, int from, int to, float q_scale, bool stepwise) {
  const Sizes& z = m.size;
  auto sequence = [&](const Floats& x, int heads, int size) {
    long token = long(heads) * size;
    return Sequence{x.data() + from * token, z.tokens * token, token, size};
  };
  return {.rows = z.rows,
          .tokens = to - from,
          .heads = z.heads,
          .key_heads = z.key_heads,
          .n = z.n,
          .p = z.p,
          .delta = m.delta,
          .q = sequence(m.q, z.key_heads, z.n),
          .k = sequence(m.k, z.key_heads, z.n),
          .v = sequence(m.v, z.heads, z.p),
          .unit = m.unit,
          .q_scale = q_scale,
          .skip = m.skip.data(),
          .stepwise = stepwise};
}

/// Each row's numbers of tokens [from, to), (rows, tokens, size).
Floats cut(const Floats& x, const Sizes& z, int from, int to) {
  size_t size = x.size() / z.rows / z.tokens;
  Floats y;
  for (int r = 0; r < z.rows; ++r)
    y.insert(y.end(),
             x.begin() + long((size_t(r) * z.tokens + from) * size),
             x.begin() + long((size_t(r) * z.tokens + to) * size));
  return y;
}

Result fed(const Problem& m,
           const std::vector<int>& cuts,
           bool stepwise = false,
           Feed feed = Feed::in_place,
           float q_scale = 0.5f) {
  const Sizes& z = m.size;
  Result out{Floats(m.v.size()), m.state};
  int from = 0;
  for (int to : cuts) {
    Recurrence r = job(m, from, to, q_scale, stepwise);
    Floats decay = cut(m.decay, z, from, to), write = cut(m.write, z, from, to);
    Floats y(size_t(z.rows) * (to - from) * z.heads * z.p, 77), after(m.state.size(), 77);
    std::vector<int> lengths;
    for (int n : m.lengths) lengths.push_back(std::clamp(n - from, 0, to - from));
    r.decay = decay.data(), r.write = write.data(), r.lengths = lengths.data(), r.y = y.data();
    r.before = out.state.data();
    r.after = feed == Feed::in_place ? out.state.data() : after.data();
    recurrence(r);
    if (feed == Feed::elsewhere) out.state = after;
    size_t inner = size_t(z.heads) * z.p;
    for (int b = 0; b < z.rows; ++b)
      std::copy_n(y.begin() + long(b * (to - from) * inner),
                  (to - from) * inner,
                  out.y.begin() + long((size_t(b) * z.tokens + from) * inner));
    from = to;
  }
  return out;
}

void expect_loop(const Problem& m, const std::vector<int>& cuts, const std::string& what) {
  Outcome want = loop(m, m.unit ? 0.5 : 1);
  for (bool stepwise : {false, true})
    for (Feed feed : {Feed::in_place, Feed::elsewhere}) {
      Result got = fed(m, cuts, stepwise, feed);
      std::string where = what + m.size.name() + (stepwise ? " steps" : "") +
                          (feed == Feed::elsewhere ? " elsewhere" : "");
      EXPECT_LT(relative_rms(got.y, want.y), 2e-6) << where;
      EXPECT_LT(relative_rms(got.state, want.state), 2e-6) << where;
    }
}

const Sizes kSizes[] = {{1, 20, 2, 2, 128, 128},
                        {2, 17, 4, 2, 16, 64},
                        {2, 33, 6, 2, 96, 80},
                        {1, 23, 3, 1, 7, 5},
                        {1, 18, 4, 2, 2, 1},
                        {1, 20, 4, 1, 100, 70}};

TEST(CpuRecurrence, equals_the_loop_at_many_sizes) {
  on_every_tier([](const std::string& tier) {
    for (auto& size : kSizes)
      for (bool delta : {false, true})
        for (bool unit : {false, true})
          expect_loop(Problem(size, delta, unit), {size.tokens}, tier + (delta ? " delta" : ""));
  });
}

TEST(CpuRecurrence, equals_the_loop_at_each_length) {
  on_every_tier([](const std::string& tier) {
    for (int tokens = 1; tokens <= 40; ++tokens)
      for (bool delta : {false, true})
        expect_loop(Problem({1, tokens, 2, 1, 20, 9}, delta, true), {tokens}, tier);
  });
}

TEST(CpuRecurrence, hands_its_state_from_pass_to_pass) {
  on_every_tier([](const std::string& tier) {
    for (bool delta : {false, true}) {
      Problem m({2, 40, 2, 1, 32, 24}, delta, true);
      expect_loop(m, {1, 2, 7, 30, 31, 40}, tier);
    }
  });
}

TEST(CpuRecurrence, of_ragged_rows_moves_states_by_valid_tokens_only) {
  on_every_tier([](const std::string& tier) {
    for (bool delta : {false, true}) {
      Problem m({4, 24, 4, 2, 32, 20}, delta, true);
      m.lengths = {24, 0, 3, 17};
      expect_loop(m, {24}, tier);
      expect_loop(m, {8, 9, 24}, tier);
    }
  });
}

TEST(CpuRecurrence, starts_with_zeros_where_there_is_no_state) {
  Problem m({1, 20, 2, 1, 32, 24}, true, true);
  std::fill(m.state.begin(), m.state.end(), 0.f);
  Result want = fed(m, {20});
  Recurrence r = job(m, 0, 20, 0.5f, false);
  Result got{Floats(m.v.size()), Floats(m.state.size(), 77)};
  r.decay = m.decay.data(), r.write = m.write.data(), r.y = got.y.data();
  r.after = got.state.data();
  recurrence(r);
  EXPECT_EQ(got, want);
}

TEST(CpuRecurrence, takes_decays_that_leave_nothing_and_all) {
  on_every_tier([](const std::string& tier) {
    for (bool delta : {false, true}) {
      Problem m({1, 40, 2, 1, 32, 24}, delta, true);
      for (size_t i = 0; i < m.decay.size(); ++i) m.decay[i] = i / 2 % 5 == 2 ? 0.f : 1.f;
      expect_loop(m, {40}, tier);
      std::fill(m.decay.begin(), m.decay.end(), 1.f);
      std::fill(m.write.begin(), m.write.end(), delta ? 1.f : 0.1f);
      expect_loop(m, {40}, tier);
    }
  });
}

TEST(CpuRecurrence, takes_off_what_the_same_key_wrote_before) {
  on_every_tier([](const std::string& tier) {
    Problem m({1, 40, 1, 1, 32, 24}, true, true);
    std::fill(m.k.begin(), m.k.end(), 1.f);
    std::fill(m.decay.begin(), m.decay.end(), 1.f);
    std::fill(m.write.begin(), m.write.end(), 1.f);
    expect_loop(m, {40}, tier);
  });
}

TEST(CpuRecurrence, gives_the_same_bits_for_any_number_of_threads) {
  for (auto tier : test::tiers())
    for (bool delta : {false, true})
      for (int tokens : {1, 40}) {
        Problem m({2, tokens, 6, 2, 128, 128}, delta, true);
        use({.tier = tier, .threads = 1});
        Result one = fed(m, {tokens});
        for (int threads : {2, 3, 8}) {
          use({.tier = tier, .threads = threads});
          EXPECT_EQ(fed(m, {tokens}), one) << name_of(tier) << threads << " threads " << tokens;
        }
      }
  use(Settings::read());
}

TEST(CpuRecurrence, step_by_step_gives_the_same_bits_wherever_passes_are_cut) {
  on_every_tier([](const std::string& tier) {
    for (bool delta : {false, true}) {
      Problem m({1, 40, 2, 1, 100, 70}, delta, true);
      Result whole = fed(m, {40}, true);
      std::vector<int> each(40);
      std::iota(each.begin(), each.end(), 1);
      EXPECT_EQ(fed(m, each, true), whole) << tier;
      EXPECT_EQ(fed(m, {3, 20, 40}, true), whole) << tier;
    }
  });
  use({.deterministic = true});
  Problem m({1, 40, 2, 1, 100, 70}, true, true);
  EXPECT_EQ(fed(m, {40}), fed(m, {40}, true));
  use(Settings::read());
}

TEST(CpuRecurrence, of_a_row_does_not_depend_on_the_other_rows) {
  for (int tokens : {1, 40}) {
    Problem all({3, tokens, 4, 2, 32, 24}, true, true);
    Result together = fed(all, {tokens});
    for (int r = 0; r < 3; ++r) {
      Problem one = all;
      one.size.rows = 1, one.lengths.resize(1);
      auto row = [&](Floats& x) {
        size_t n = x.size() / 3;
        x = Floats(x.begin() + long(r * n), x.begin() + long((r + 1) * n));
        return x;
      };
      for (auto* x : {&one.q, &one.k, &one.v, &one.decay, &one.write, &one.state}) row(*x);
      EXPECT_EQ(fed(one, {tokens}), (Result{row(together.y), row(together.state)})) << r;
      together = fed(all, {tokens});
    }
  }
}

TEST(CpuRecurrence, lets_what_is_not_a_number_through_and_only_forward) {
  on_every_tier([](const std::string& tier) {
    for (bool delta : {false, true})
      for (int bad : {3, 20}) {
        Problem m({1, 24, 1, 1, 16, 8}, delta, false);
        m.v[size_t(bad) * 8 + 2] = std::numeric_limits<float>::quiet_NaN();
        Result got = fed(m, {24});
        for (int t = 0; t < 24; ++t)
          for (int p = 0; p < 8; ++p)
            EXPECT_EQ(std::isnan(got.y[t * 8 + p]), t >= bad && p == 2) << tier << t << " " << p;
      }
  });
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

TEST(CpuTimeSteps, equal_their_formulas) {
  on_every_tier([](const std::string& tier) {
    for (int heads : {1, 5, 16, 37}) {
      int tokens = 3, stride = heads + 2;
      Floats raw = normal(tokens * stride, 1), gate = normal(tokens * stride, 2);
      for (float& x : raw) x *= 8;
      raw[0] = 60, raw[stride] = -60;
      Floats bias = normal(heads, 3), a_log = normal(heads, 4);
      Floats step(tokens * heads), decay(step), open(step);
      for (float least : {0.f, 0.3f}) {
        float most = least ? 4 : std::numeric_limits<float>::infinity();
        time_steps({.rows = 1,
                    .tokens = tokens,
                    .heads = heads,
                    .raw = {raw.data(), 0, stride, 1},
                    .bias = bias.data(),
                    .a_log = a_log.data(),
                    .least = least,
                    .most = most,
                    .step = step.data(),
                    .decay = decay.data(),
                    .gate = {gate.data(), 0, stride, 1},
                    .open = open.data()});
        for (int t = 0; t < tokens; ++t)
          for (int h = 0; h < heads; ++h) {
            double x = raw[t * stride + h] + bias[h];  // a float32, as the sum is
            double want = std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
            want = std::clamp(want, double(least), double(most));
            double left = std::exp(-std::exp(double(a_log[h])) * want);
            EXPECT_NEAR(step[t * heads + h] / want, 1, 1e-6) << tier << x;
            EXPECT_NEAR(decay[t * heads + h], left, 1e-6) << tier << x;
            EXPECT_NEAR(open[t * heads + h], sigmoid(gate[t * stride + h]), 1e-6) << tier;
          }
      }
    }
  });
}

TEST(CpuGatedNorm, equals_its_formula_in_both_orders_and_without_a_norm) {
  on_every_tier([](const std::string& tier) {
    for (int size : {1, 7, 64, 100})
      for (int kind = 0; kind < 3; ++kind)
        for (bool shared : {false, true}) {
          int rows = 3, groups = 4, all = groups * size, stride = all + 3;
          Floats x = normal(rows * all, 1), gate = normal(rows * stride, 2), y(x.size());
          Floats weight = normal(shared ? size : all, 3);
          GatedNorm g{.rows = rows,
                      .groups = groups,
                      .size = size,
                      .x = x.data(),
                      .gate = gate.data(),
                      .gate_row = stride,
                      .weight = {kind == 2 ? nullptr : weight.data(), Number::f32},
                      .period = int(weight.size()),
                      .eps = 0.01f,
                      .gate_first = kind == 1,
                      .y = y.data()};
          gated_norm(g);
          Doubles want(x.size());
          for (int r = 0; r < rows; ++r)
            for (int part = 0; part < groups; ++part) {
              Doubles v(size), open(size);
              double squares = 0;
              for (int i = 0; i < size; ++i) {
                double z = gate[r * stride + part * size + i];
                open[i] = z * sigmoid(z);
                v[i] = double(x[r * all + part * size + i]) * (kind == 1 ? open[i] : 1);
                squares += v[i] * v[i];
              }
              double by = kind == 2 ? 1 : 1 / std::sqrt(squares / size + 0.01);
              for (int i = 0; i < size; ++i)
                want[r * all + part * size + i] =
                    v[i] * by * (kind == 2 ? 1 : weight[(part * size + i) % weight.size()]) *
                    (kind == 1 ? 1 : open[i]);
            }
          EXPECT_LT(relative_rms(y, want), 1e-6) << tier << size << " " << kind;
        }
  });
}

}  // namespace
}  // namespace mlxcpp::cpu
