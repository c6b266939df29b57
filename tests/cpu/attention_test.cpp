// Attention against loops in float64 that ask for each query and key whether the one sees the
// other.
#include "mlxcpp/ops/cpu/attention.h"

#include "mlxcpp/ops/cpu/elementwise.h"
#include "tests/cpu/tiers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mlxcpp::cpu {
namespace {

using test::normal;
using test::on_every_tier;
using test::relative_rms;
using Floats = std::vector<float>;

const float kNan = std::numeric_limits<float>::quiet_NaN();

/// An attention and all its arrays.  Keys and values lie in a store with room for more, which holds
/// what is not a number.
struct Given {
  struct Call : Attention {
    int keys = 0;  // of every row
    Heads k, v;
    int kept_first = 0, kept_last = 0;
  } a{};
  Floats q, k, v, out, sinks;
  std::vector<int> offsets, ends, index, spans;
  std::vector<unsigned char> allowed;
  std::vector<unsigned short> k_half, v_half;  // instead of k and v, which are the same numbers

  Given(int rows, int heads, int kv_heads, int queries, int keys, int k_size, int v_size) {
    int room = keys + 3;
    a.rows = rows, a.heads = heads, a.kv_heads = kv_heads, a.queries = queries, a.keys = keys;
    a.k_size = k_size, a.v_size = v_size;
    a.scale = 1 / std::sqrt(float(k_size));
    q = normal(size_t(rows) * heads * queries * k_size, 1);
    k.assign(size_t(rows) * kv_heads * room * k_size, kNan);
    v.assign(size_t(rows) * kv_heads * room * v_size, kNan);
    Floats ks = normal(k.size(), 2), vs = normal(v.size(), 3);
    for (int b = 0; b < rows * kv_heads; ++b) {
      std::copy_n(&ks[b * room * k_size], keys * k_size, &k[b * room * k_size]);
      std::copy_n(&vs[b * room * v_size], keys * v_size, &v[b * room * v_size]);
    }
    out.assign(size_t(rows) * heads * queries * v_size, 77);
    for (int b = 0; b < rows; ++b) offsets.push_back(keys - queries), ends.push_back(keys);
    // q and out: (rows, queries, heads, size), as a projection leaves them.
    a.q = {nullptr, long(heads) * queries * k_size, k_size, long(heads) * k_size};
    a.k = {nullptr, long(kv_heads) * room * k_size, long(room) * k_size, k_size};
    a.v = {nullptr, long(kv_heads) * room * v_size, long(room) * v_size, v_size};
    a.out_row = long(heads) * queries * v_size, a.out_head = v_size;
    a.out_token = long(heads) * v_size;
  }

  /// Keys and values become float16.
  void round() {
    auto rounded = [](Floats& x) {
      std::vector<unsigned short> y(x.size());
      to_half(x.data(), long(x.size()), y.data());
      std::transform(y.begin(), y.end(), x.begin(), test::half_value);
      return y;
    };
    k_half = rounded(k), v_half = rounded(v);
  }

  Floats run() { return run({a.keys}); }

  /// Row by row, the keys cut into pieces of so many; what is left is the last one.
  Floats run(const std::vector<int>& cuts) {
    a.q.data = q.data(), a.out = out.data();
    a.sinks = sinks.empty() ? nullptr : sinks.data();
    a.spans = spans.empty() ? nullptr : spans.data();
    std::vector<std::vector<KeyPiece>> pieces(a.rows);
    std::vector<RowKeys> rows;
    for (int b = 0; b < a.rows; ++b) {
      for (size_t i = 0, from = 0; int(from) < a.keys; ++i) {
        int n = std::min(i < cuts.size() ? cuts[i] : a.keys, a.keys - int(from));
        pieces[b].push_back(piece(b, int(from), n));
        from += n;
      }
      rows.push_back({.pieces = pieces[b].data(),
                      .count = int(pieces[b].size()),
                      .keys = a.keys,
                      .offset = offsets[b],
                      .end = ends[b],
                      .index = index.empty() ? nullptr : &index[b * a.keys],
                      .kept_first = a.kept_first,
                      .kept_last = a.kept_last,
                      .allowed = allowed.empty() ? nullptr : &allowed[b * a.queries * a.keys]});
    }
    a.Attention::keys = rows.data();
    attention(a);
    return out;
  }
  /// Of a row, from key `from` on.
  KeyPiece piece(int row, int from, int n) const {
    auto numbers = [&](auto& x, auto& half, const Heads& strides, int size) -> KeyNumbers {
      long at = row * strides.row + from * strides.token;
      if (!half.empty())
        return KeyNumbers::half(half.data() + at, strides.head, strides.token, size);
      return {.data = x.data() + at, .head = strides.head, .token = strides.token};
    };
    return {numbers(k, k_half, a.k, a.k_size), numbers(v, v_half, a.v, a.v_size), n};
  }

  bool sees(int row, int query, int column) const {
    int key = index.empty() ? column : index[row * a.keys + column];
    int at = offsets[row] + query, fresh = key - offsets[row];
    if (!allowed.empty() && !allowed[(row * a.queries + query) * a.keys + column]) return false;
    if (!spans.empty() && fresh >= 0 && fresh < a.queries) {
      int mine = spans[row * a.queries + query];
      if (mine > 0 && mine == spans[row * a.queries + fresh]) return true;
    }
    if (a.causal ? key > at : key >= ends[row]) return false;
    if (a.window && key <= at - a.window) return false;
    if (a.chunk && key / a.chunk != at / a.chunk) return false;
    return !a.kept_last || key < a.kept_first || key > at - a.kept_last;
  }

  std::vector<double> expected() const {
    std::vector<double> y(out.size()), weight(a.keys);
    for (int b = 0; b < a.rows; ++b)
      for (int h = 0; h < a.heads; ++h)
        for (int i = 0; i < a.queries; ++i) {
          int kv = h / (a.heads / a.kv_heads);
          const float* x = &q[b * a.q.row + h * a.q.head + i * a.q.token];
          double high = sinks.empty() ? -1e300 : sinks[h];
          for (int j = 0; j < a.keys; ++j) {
            weight[j] = -1e300;
            if (!sees(b, i, j)) continue;
            const float* key = &k[b * a.k.row + kv * a.k.head + j * a.k.token];
            double score = 0;
            for (int d = 0; d < a.k_size; ++d) score += double(x[d]) * key[d];
            score *= a.scale;
            if (a.softcap) score = a.softcap * std::tanh(score / a.softcap);
            weight[j] = score, high = std::max(high, score);
          }
          double sum = sinks.empty() ? 0 : std::exp(sinks[h] - high);
          double* to = &y[b * a.out_row + h * a.out_head + i * a.out_token];
          for (int j = 0; j < a.keys; ++j) {
            if (weight[j] == -1e300) continue;
            double w = std::exp(weight[j] - high);
            sum += w;
            for (int d = 0; d < a.v_size; ++d)
              to[d] += w * v[b * a.v.row + kv * a.v.head + j * a.v.token + d];
          }
          for (int d = 0; d < a.v_size && sum > 0; ++d) to[d] /= sum;
        }
    return y;
  }
};

/// The bound for tiers that round to bfloat16, and for all others.
double bound(const Given& g) {
  bool half = machine().kernels->attention_half && !machine().deterministic &&
              g.a.queries * (g.a.heads / g.a.kv_heads) >= 16 && g.spans.empty() &&
              g.allowed.empty();
  return half ? 3e-3 : 1e-5;
}

void check(Given& g, const std::string& name) {
  auto expected = g.expected();
  on_every_tier([&](const std::string& tier) {
    std::fill(g.out.begin(), g.out.end(), 77.f);
    EXPECT_LT(relative_rms(g.run(), expected), bound(g)) << name << ", " << tier;
  });
}

struct Shape {
  int rows, heads, kv_heads, queries, keys, k_size, v_size;
};
std::string text(const Shape& s) {
  std::string all;
  for (int n : {s.rows, s.heads, s.kv_heads, s.queries, s.keys, s.k_size, s.v_size})
    all += std::to_string(n) + " ";
  return all;
}

const Shape kShapes[] = {
    {1, 9, 3, 1, 512, 64, 64},
    {1, 32, 8, 1, 300, 64, 64},
    {2, 4, 1, 1, 7, 8, 6},
    {1, 4, 4, 1, 257, 80, 80},
    {1, 2, 2, 1, 1, 96, 96},
    {3, 6, 2, 2, 255, 128, 128},
    {1, 8, 1, 3, 600, 256, 256},
    {1, 2, 1, 5, 40, 72, 40},
    {1, 9, 3, 33, 33, 64, 64},
    {2, 8, 2, 70, 321, 64, 64},
    {1, 4, 4, 130, 130, 80, 80},
    {1, 2, 1, 64, 700, 128, 100},
    {1, 4, 2, 50, 90, 72, 96},
    {1, 16, 1, 20, 40, 192, 128},
    {1, 100, 1, 2, 300, 40, 32},
    {1, 6, 2, 31, 263, 7, 5},
    {1, 2, 2, 90, 90, 96, 7},
    {1, 4, 2, 17, 2000, 256, 256},
};

TEST(CpuAttention, equals_the_loop_at_every_shape) {
  for (auto& s : kShapes) {
    Given g(s.rows, s.heads, s.kv_heads, s.queries, s.keys, s.k_size, s.v_size);
    check(g, text(s));
    g.round();
    check(g, text(s) + "in float16");
  }
}

struct Rule {
  const char* name;
  bool causal;
  int window, chunk, kept_first, kept_last;
  float softcap;
  bool sinks, ring, spans, allowed;
};
const Rule kRules[] = {
    {"not causal", false, 0, 0, 0, 0, 0, false, false, false, false},
    {"window", true, 100, 0, 0, 0, 0, false, false, false, false},
    {"narrow window", true, 1, 0, 0, 0, 0, false, false, false, false},
    {"window of one block", true, 256, 0, 0, 0, 0, false, false, false, false},
    {"window, not causal", false, 40, 0, 0, 0, 0, false, false, false, false},
    {"chunk", true, 0, 96, 0, 0, 0, false, false, false, false},
    {"chunk, not causal", false, 0, 96, 0, 0, 0, false, false, false, false},
    {"kept", true, 0, 0, 4, 120, 0, false, false, false, false},
    {"kept last", true, 0, 0, 0, 300, 0, false, false, false, false},
    {"softcap", true, 0, 0, 0, 0, 1.5f, false, false, false, false},
    {"sinks", true, 0, 0, 0, 0, 0, true, false, false, false},
    {"sinks, softcap, window", true, 77, 0, 0, 0, 2, true, false, false, false},
    {"ring", true, 0, 0, 0, 0, 0, false, true, false, false},
    {"ring and window", true, 200, 0, 0, 0, 0, false, true, false, false},
    {"ring and kept", true, 0, 0, 3, 200, 0, false, true, false, false},
    {"spans", true, 0, 0, 0, 0, 0, false, false, true, false},
    {"spans, ring, window", true, 60, 0, 0, 0, 0, false, true, true, false},
    {"allowed", true, 0, 0, 0, 0, 0, false, false, false, true},
    {"allowed, ring, spans, sinks", true, 0, 0, 0, 0, 0, true, true, true, true},
};

void apply(const Rule& rule, Given& g) {
  g.a.causal = rule.causal, g.a.window = rule.window, g.a.chunk = rule.chunk;
  g.a.kept_first = rule.kept_first, g.a.kept_last = rule.kept_last, g.a.softcap = rule.softcap;
  if (rule.sinks) g.sinks = normal(g.a.heads, 5);
  for (int b = 0; rule.ring && b < g.a.rows; ++b)
    for (int j = 0; j < g.a.keys; ++j)  // turned, with holes
      g.index.push_back((j * 7 + b) % 23 == 5 ? kNoToken : (j + 91) % g.a.keys);
  for (int b = 0; rule.spans && b < g.a.rows; ++b)
    for (int i = 0; i < g.a.queries; ++i) g.spans.push_back((i + b) / 9 % 3);
  if (rule.allowed)
    for (int i = 0; i < g.a.rows * g.a.queries * g.a.keys; ++i)
      g.allowed.push_back((i * 2654435761u >> 13) % 3 != 0);
}

TEST(CpuAttention, obeys_every_rule_of_who_sees_whom) {
  for (auto& rule : kRules)
    for (int queries : {1, 40, 301})
      for (int ragged : {0, 1}) {
        Given g(2, 4, 2, queries, 301, 24, 20);
        apply(rule, g);
        if (ragged) {  // the second row is shorter, and its last queries are padding
          int shorter = std::min(queries, 5);
          g.offsets[1] = std::max(0, g.offsets[1] - 30);
          g.ends[1] = g.offsets[1] + queries - (queries > 5 ? shorter : 0);
        }
        check(g, std::string(rule.name) + ", " + std::to_string(queries) + " queries");
      }
}

TEST(CpuAttention, stays_finite_where_nothing_is_seen) {
  on_every_tier([](const std::string& tier) {
    for (int queries : {1, 30}) {
      Given g(2, 4, 2, queries, 300, 32, 32);
      g.a.causal = false, g.ends[1] = 0;
      g.index.assign(600, kNoToken);
      for (int j = 0; j < 300; ++j) g.index[j] = j;
      for (float sink : {0.f, 3.f, -std::numeric_limits<float>::infinity()}) {
        g.sinks.assign(sink ? 4 : 0, sink);
        for (float y : g.run()) ASSERT_TRUE(std::isfinite(y)) << tier << queries << sink;
        EXPECT_LT(relative_rms(g.run(), g.expected()), 3e-3) << tier;
      }
    }
  });
}

TEST(CpuAttention, keeps_what_is_not_a_number_in_its_row) {
  on_every_tier([](const std::string& tier) {
    for (int queries : {1, 40}) {
      Given g(2, 4, 2, queries, 300, 32, 32);
      g.q[g.a.q.row + g.a.q.head + 5] = kNan;  // row 1, head 1, query 0
      auto y = g.run();
      for (int b = 0; b < 2; ++b)
        for (int h = 0; h < 4; ++h)
          for (int i = 0; i < queries; ++i)
            EXPECT_EQ(std::isnan(y[b * g.a.out_row + h * g.a.out_head + i * g.a.out_token]),
                      b == 1 && h == 1 && i == 0)
                << tier << b << h << i;
      Given hit(2, 4, 2, queries, 300, 32, 32);
      hit.k[hit.a.k.row + 9] = kNan;  // row 1, the first kv head, key 0: seen by all its queries
      y = hit.run();
      for (int b = 0; b < 2; ++b)
        for (int h = 0; h < 4; ++h)
          for (int i = 0; i < queries; ++i)
            EXPECT_EQ(std::isnan(y[b * hit.a.out_row + h * hit.a.out_head + i * hit.a.out_token]),
                      b == 1 && h < 2)
                << tier << b << h << i;
    }
  });
}

TEST(CpuAttention, survives_channels_of_keys_that_are_large_everywhere) {
  for (float size : {10.f, 100.f})
    for (int queries : {1, 64}) {
      // A bias on a few channels, of queries too: it grows by the same amount for all keys.
      Given g(1, 4, 2, queries, 500, 64, 64);
      for (size_t i = 0; i < g.k.size(); ++i)
        if (i % 64 == 3 || i % 64 == 40) g.k[i] += size;
      for (size_t i = 0; i < g.q.size(); ++i)
        if (i % 64 == 3) g.q[i] += 2;
      check(g, "bias of " + std::to_string(size));
    }
}

TEST(CpuAttention, picks_out_one_key_of_large_scores) {
  for (int queries : {1, 64}) {
    Given g(1, 4, 2, queries, 400, 64, 64);
    for (auto& x : g.q) x *= 30;
    check(g, "large scores");
  }
}

TEST(CpuAttention, does_not_depend_on_the_number_of_threads) {
  for (auto tier : test::tiers())
    for (auto& s : {Shape{1, 9, 3, 1, 3000, 64, 64},
                    {2, 8, 2, 1, 100, 64, 64},
                    {1, 4, 2, 200, 500, 64, 64},
                    {1, 8, 1, 40, 2000, 128, 64}}) {
      Given g(s.rows, s.heads, s.kv_heads, s.queries, s.keys, s.k_size, s.v_size);
      Floats first;
      for (int threads : {1, 2, 3, 7}) {
        use({.tier = tier, .threads = threads});
        std::fill(g.out.begin(), g.out.end(), 77.f);
        auto y = g.run();
        if (first.empty()) first = y;
        EXPECT_EQ(y, first) << name_of(tier) << ", " << threads << " threads, " << text(s);
      }
    }
  use(Settings::read());
}

TEST(CpuAttention, does_not_depend_on_how_keys_are_cut) {
  for (auto tier : test::tiers()) {
    use({.tier = tier, .threads = 2});
    for (int queries : {1, 50}) {
      for (int half : {0, 1}) {
        Given g(2, 6, 2, queries, 700, half ? 64 : 40, 24);
        if (half) g.round();
        auto whole = g.run();
        for (auto& cuts : std::vector<std::vector<int>>{
                 {256, 256}, {1, 2, 3}, {100, 200, 300}, {255, 2, 255}, {512}, {690, 1, 1}})
          EXPECT_EQ(g.run(cuts), whole) << name_of(tier) << ", " << queries << " queries";
      }
    }
  }
  use(Settings::read());
}

TEST(CpuAttention, reads_rows_of_different_lengths) {
  on_every_tier([](const std::string& tier) {
    Given longer(1, 4, 2, 1, 600, 32, 32), shorter(1, 4, 2, 1, 77, 32, 32);
    auto first = longer.run(), second = shorter.run();
    Floats q = longer.q, both(2 * first.size());
    q.insert(q.end(), shorter.q.begin(), shorter.q.end());
    std::vector<KeyPiece> pieces;
    std::vector<RowKeys> rows;
    for (auto* g : {&longer, &shorter}) pieces.push_back(g->piece(0, 0, g->a.keys));
    for (size_t b = 0; b < 2; ++b)
      rows.push_back({.pieces = &pieces[b],
                      .count = 1,
                      .keys = pieces[b].keys,
                      .offset = pieces[b].keys - 1,
                      .end = pieces[b].keys});
    Attention a = longer.a;
    a.rows = 2, a.q.data = q.data(), a.keys = rows.data(), a.out = both.data();
    attention(a);
    EXPECT_EQ(Floats(both.begin(), both.begin() + long(first.size())), first) << tier;
    EXPECT_EQ(Floats(both.begin() + long(first.size()), both.end()), second) << tier;
  });
}

TEST(CpuAttention, reads_packed_keys_as_the_numbers_that_they_stand_for) {
  on_every_tier([](const std::string& tier) {
    // 8-bit codes in groups of 32, a scale and a zero each; by hand.
    constexpr int kSize = 64, kKeys = 300, kHeads = 2, kGroup = 32;
    Given g(1, 4, kHeads, 1, kKeys, kSize, kSize);
    struct Packed {
      std::vector<unsigned char> codes;
      Floats scales, zeros;
      KeyNumbers numbers() const {
        KeyNumbers n;
        n.packed = {.data = codes.data(),
                    .scales = scales.data(),
                    .zeros = zeros.data(),
                    .row_bytes = kSize,
                    .scale_row_bytes = long(sizeof(float)) * kSize / kGroup,
                    .rows = kKeys,
                    .columns = kSize,
                    .group = kGroup,
                    .coding = Coding::affine8,
                    .scale_type = Number::f32};
        n.head_bytes = long(kKeys) * kSize;
        n.head_scale_bytes = long(kKeys) * n.packed.scale_row_bytes;
        return n;
      }
    };
    auto pack = [&](Floats& x, const Heads& strides) {
      Packed p;
      for (int h = 0; h < kHeads; ++h)
        for (int j = 0; j < kKeys; ++j)
          for (int d = 0; d < kSize; ++d) {
            if (d % kGroup == 0)
              p.scales.push_back(0.01f + 0.001f * float((j + d) % 7)), p.zeros.push_back(-1.f);
            auto code = static_cast<unsigned char>((j * 31 + d * 17 + h * 5) % 251);
            p.codes.push_back(code);
            x[h * strides.head + j * strides.token + d] =
                float(code) * p.scales.back() + p.zeros.back();
          }
      return p;
    };
    Packed k = pack(g.k, g.a.k), v = pack(g.v, g.a.v);
    auto dense = g.run();
    KeyPiece piece{k.numbers(), v.numbers(), kKeys};
    RowKeys row{.pieces = &piece, .count = 1, .keys = kKeys, .offset = kKeys - 1, .end = kKeys};
    g.a.Attention::keys = &row;
    attention(g.a);
    EXPECT_LT(relative_rms(g.out, std::vector<double>(dense.begin(), dense.end())), 1e-6) << tier;
  });
}

TEST(CpuAttention, gives_each_query_the_same_alone_and_among_others_if_that_is_asked_for) {
  for (auto tier : test::tiers()) {
    use({.tier = tier, .threads = 2, .deterministic = true});
    Given all(1, 6, 2, 150, 700, 64, 48);
    all.a.window = 400;
    auto y = all.run();
    Given one(1, 6, 2, 1, 700, 64, 48);
    one.a.window = 400, one.k = all.k, one.v = all.v;
    for (int i : {0, 1, 77, 149}) {
      one.offsets[0] = all.offsets[0] + i, one.ends[0] = one.offsets[0] + 1;
      std::copy_n(&all.q[i * all.a.q.token], one.q.size(), one.q.begin());
      one.a.keys = one.ends[0];  // later keys are not there yet
      auto alone = one.run();
      Floats among(&y[i * all.a.out_token], &y[i * all.a.out_token] + alone.size());
      EXPECT_EQ(alone, among) << name_of(tier) << ", query " << i;
    }
  }
  use(Settings::read());
}

}  // namespace
}  // namespace mlxcpp::cpu
