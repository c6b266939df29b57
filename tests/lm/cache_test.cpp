// Caches against lists of tokens.  Every value is the one-hot code of its token and every query is
// zero, so attention gives the mean of what it may see: the counts of the tokens seen.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/caches.h"
#include "mlxcpp/ops/attention.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace mlxcpp::lm {
namespace {

using Tokens = std::vector<int>;
constexpr int kHeads = 2, kNames = 61;  // tokens are 0 ... 60
constexpr float kPadding = 1e4f;        // what must never be seen

std::vector<float> floats(const array& x) {
  array y = mx::contiguous(mx::astype(x, mx::float32));
  y.eval();
  return {y.data<float>(), y.data<float>() + y.size()};
}

/// What a cache is and what its queries may see.
struct Kind {
  std::string name;
  int window = 0;
  CacheOptions options = {};

  CacheLayout layout() const {
    return {
        {.kv = {{.heads = kHeads, .k_dim = 1, .v_dim = kNames, .window = window}}, .states = {}}};
  }
  int held() const {
    int by_window = options.rotate ? window : 0, by_size = options.max_kv_size;
    return by_size && (!by_window || by_size < by_window) ? by_size : by_window;
  }
  /// The rule: the first `keep` and the last of the rest, and never beyond the window.
  bool sees(int query, int key) const {
    int size = options.max_kv_size;
    bool rotates = size && held() == size;
    if (key > query || (window && key <= query - window)) return false;
    return !rotates || key < options.keep || key > query - (size - options.keep);
  }
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

/// A batch of rows in a cache, and the same rows as plain lists.
class Batch {
 public:
  Batch(const Kind& kind, int n) : Batch(kind, make(kind, n)) {}
  Batch fork() const {
    Batch copy(kind_, caches.fork());
    copy.rows = rows;
    return copy;
  }

  /// Adds these tokens to the rows and compares all that each may see.
  void add(const std::vector<Tokens>& fresh) {
    size_t length = 1;
    std::vector<int> lengths;
    for (auto& r : fresh) length = std::max(length, r.size()), lengths.push_back(int(r.size()));
    int B = int(fresh.size()), L = int(length);
    Input in{.tokens = mx::zeros({B, L}, mx::int32), .lengths = lengths};
    std::vector<ops::State> none;
    ops::Pass pass = caches.begin(kind_.layout(), in, none);
    ops::KvView view = ops::kv_append(pass.layers[0], keys(fresh, L), values(fresh, L));
    array q = mx::zeros({B, kHeads, L, 1});
    array seen = ops::attention(q, view, {.scale = 1, .window = kind_.window});
    for (int b = 0; b < B; ++b) rows[b].insert(rows[b].end(), fresh[b].begin(), fresh[b].end());
    auto all = caches.arrays();
    all.push_back(seen);
    mx::eval(all);
    compare(floats(seen), fresh, L);
    check_columns(view);
    std::vector<int> counts;
    for (auto& r : rows) counts.push_back(int(r.size()));
    EXPECT_EQ(caches.consumed(), counts);
  }

  void trim(const std::vector<int>& n) {
    caches.trim(n);
    for (size_t b = 0; b < n.size(); ++b) rows[b].resize(rows[b].size() - n[b]);
  }
  void keep_rows(const std::vector<int>& which) {
    caches.keep_rows(which);
    std::vector<Tokens> kept;
    for (int b : which) kept.push_back(rows[b]);
    rows = kept;
  }
  void join(const Batch& other) {
    caches.join(other.caches);
    rows.insert(rows.end(), other.rows.begin(), other.rows.end());
  }

  Caches caches;
  std::vector<Tokens> rows;

 private:
  Batch(const Kind& kind, Caches c) : caches(std::move(c)), rows(caches.rows()), kind_(kind) {}
  static Caches make(const Kind& kind, int n) {
    CacheOptions options = kind.options;
    options.rows = n;
    return {kind.layout(), options};
  }

  /// (B, heads, L, 1): the token itself, plus 100 for the second head.
  static array keys(const std::vector<Tokens>& fresh, int L) {
    std::vector<float> k;
    for (auto& r : fresh)
      for (int h = 0; h < kHeads; ++h)
        for (int j = 0; j < L; ++j)
          k.push_back(j < int(r.size()) ? float(r[j] + 100 * h) : kPadding);
    return array(k.data(), {int(fresh.size()), kHeads, L, 1}, mx::float32);
  }
  /// (B, heads, L, names): one-hot, twice as large for the second head.
  static array values(const std::vector<Tokens>& fresh, int L) {
    std::vector<float> v;
    for (auto& r : fresh)
      for (int h = 0; h < kHeads; ++h)
        for (int j = 0; j < L; ++j)
          for (int n = 0; n < kNames; ++n)
            v.push_back(j >= int(r.size()) ? kPadding : n == r[j] ? float(h + 1) : 0);
    return array(v.data(), {int(fresh.size()), kHeads, L, kNames}, mx::float32);
  }

  void compare(const std::vector<float>& seen, const std::vector<Tokens>& fresh, int L) const {
    float worst = 0;
    for (size_t b = 0; b < fresh.size(); ++b)
      for (int h = 0; h < kHeads; ++h)
        for (size_t j = 0; j < fresh[b].size(); ++j) {
          auto want = expected(rows[b], int(rows[b].size() - fresh[b].size() + j));
          for (int n = 0; n < kNames; ++n) {
            float got = seen[((b * kHeads + h) * L + j) * kNames + n];
            worst = std::max(worst, std::abs(got - float(h + 1) * want[n]));
          }
        }
    EXPECT_LT(worst, 1e-5f);
  }
  std::vector<float> expected(const Tokens& row, int query) const {
    std::vector<float> counts(kNames);
    float total = 0;
    for (int k = 0; k <= query; ++k)
      if (kind_.sees(query, k)) ++counts[row[k]], ++total;
    for (float& c : counts) c /= total;
    return counts;
  }

  /// Every column of a view holds the token that its index says.
  void check_columns(const ops::KvView& view) const {
    auto k = floats(view.k);
    int S = view.k.shape(2);
    std::vector<float> index;
    if (view.key_index) index = floats(*view.key_index);
    for (size_t b = 0; b < rows.size(); ++b)
      for (int c = 0; c < S; ++c) {
        int token = view.key_index ? int(index[b * S + c]) : c;
        if (token >= int(rows[b].size())) continue;
        EXPECT_EQ(k[b * kHeads * S + c], float(rows[b][token])) << "row " << b << " column " << c;
      }
  }

  Kind kind_;
};

Tokens some(std::mt19937& random, int n) {
  Tokens t;
  for (int i = 0; i < n; ++i) t.push_back(int(random() % kNames));
  return t;
}

const std::vector<Kind> kKinds = {
    {"plain"},
    {"plain_with_window", 5, {.rotate = false}},
    {"window", 8},
    {"window_of_one", 1},
    {"first_four_and_last_four", 0, {.max_kv_size = 8, .keep = 4}},
    {"first_one_of_seven", 0, {.max_kv_size = 7, .keep = 1}},
    {"last_six", 0, {.max_kv_size = 6, .keep = 0}},
    {"all_kept_but_one", 0, {.max_kv_size = 5, .keep = 4}},
    {"smaller_than_the_window", 12, {.max_kv_size = 6, .keep = 2}},
    {"larger_than_the_window", 4, {.max_kv_size = 9, .keep = 2}},
};

class CacheKinds : public testing::TestWithParam<Kind> {
 protected:
  std::mt19937 random{7};
};

TEST_P(CacheKinds, shows_a_whole_prompt_what_single_steps_see) {
  Batch b(GetParam(), 1);
  b.add({some(random, 30)});
  for (int i = 0; i < 12; ++i) b.add({some(random, 1)});
}

TEST_P(CacheKinds, keeps_the_right_tokens_over_chunks_of_every_length) {
  for (int chunk = 1; chunk <= 11; ++chunk) {
    Batch b(GetParam(), 1);
    for (int i = 0; i < 4; ++i) b.add({some(random, chunk)});
    b.add({some(random, 1)});
    b.add({some(random, 2)});
  }
}

TEST_P(CacheKinds, gives_ragged_rows_what_each_would_get_alone) {
  Batch b(GetParam(), 3);
  b.add({some(random, 3), some(random, 11), some(random, 6)});
  for (int i = 0; i < 4; ++i) b.add({some(random, 1), some(random, 1), some(random, 1)});
  b.add({some(random, 5), some(random, 2), some(random, 9)});
  for (int i = 0; i < 9; ++i) b.add({some(random, 1), some(random, 1), some(random, 1)});
}

TEST_P(CacheKinds, lets_rows_rest_while_others_go_on) {
  Batch b(GetParam(), 3);
  b.add({some(random, 7), {}, some(random, 2)});
  for (int i = 0; i < 5; ++i) b.add({some(random, 1), {}, some(random, 1)});
  b.add({{}, some(random, 10), {}});
  for (int i = 0; i < 5; ++i) b.add({some(random, 1), some(random, 1), some(random, 1)});
}

TEST_P(CacheKinds, agrees_with_the_lists_whatever_is_done_to_it) {
  for (int round = 0; round < 6; ++round) {
    Batch b(GetParam(), 2);
    std::vector<std::pair<Batch, std::shared_ptr<const Caches::Mark>>> marks;
    for (int i = 0; i < 14; ++i) {
      SCOPED_TRACE("round " + std::to_string(round) + " step " + std::to_string(i));
      int rows = b.caches.rows();
      switch (random() % 7) {
        case 0:
          if (!b.caches.trimmable()) break;
          {
            std::vector<int> n;
            for (auto& r : b.rows) n.push_back(int(random() % (r.size() + 1)));
            b.trim(n);
          }
          break;
        case 1: {
          Batch other = b.fork();
          other.add(std::vector<Tokens>(rows, some(random, 3)));
          break;
        }
        case 2: {
          std::vector<int> which;
          for (int k = 0, n = 1 + int(random() % 3); k < n; ++k)
            which.push_back(int(random() % rows));
          b.keep_rows(which);
          break;
        }
        case 3: {
          if (rows > 3) break;
          Batch late(GetParam(), 1);
          if (random() % 2) late.add({some(random, 1 + int(random() % 12))});
          b.join(late);
          break;
        }
        case 4: {
          auto mark = b.caches.mark();
          auto before = b.rows;
          for (int k = int(random() % 4); k >= 0; --k)
            b.add(std::vector<Tokens>(rows, some(random, 1 + int(random() % 9))));
          b.caches.rollback(*mark);
          b.rows = before;
          break;
        }
        case 5: {
          std::vector<Tokens> steps;
          for (int r = 0; r < rows; ++r) steps.push_back(some(random, 1));
          b.add(steps);
          break;
        }
        default: {
          std::vector<Tokens> chunk;
          for (int r = 0; r < rows; ++r) chunk.push_back(some(random, int(random() % 9)));
          b.add(chunk);
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kind, CacheKinds, testing::ValuesIn(kKinds), [](auto& kind) {
  return kind.param.name;
});

const Kind kPlain{"plain"}, kRing{"ring", 0, {.max_kv_size = 8, .keep = 3}};

TEST(Cache, grows_by_256_tokens_at_a_time) {
  std::mt19937 random(1);
  Batch b(kPlain, 2);
  std::uint64_t token = 2 * kHeads * (1 + kNames) * sizeof(float);  // of both rows
  EXPECT_EQ(b.caches.nbytes(), 0u);
  b.add({some(random, 1), some(random, 1)});
  EXPECT_EQ(b.caches.nbytes(), 256 * token);
  b.add({some(random, 255), some(random, 250)});
  EXPECT_EQ(b.caches.nbytes(), 256 * token);
  b.add({some(random, 1), some(random, 1)});
  EXPECT_EQ(b.caches.nbytes(), 512 * token);
  b.add({some(random, 1), some(random, 300)});
  EXPECT_EQ(b.caches.nbytes(), 768 * token);
}

TEST(Cache, that_rotates_takes_no_more_than_its_size) {
  std::mt19937 random(1);
  std::uint64_t token = kHeads * (1 + kNames) * sizeof(float);
  Batch large(Kind{"ring", 0, {.max_kv_size = 300, .keep = 4}}, 1);
  large.add({some(random, 200)});
  EXPECT_EQ(large.caches.nbytes(), 256 * token);
  large.add({some(random, 90)});
  EXPECT_EQ(large.caches.nbytes(), 300 * token);
  large.add({some(random, 30)});
  EXPECT_EQ(large.caches.nbytes(), 300 * token);
  Batch small(kRing, 1);
  small.add({some(random, 1)});
  EXPECT_EQ(small.caches.nbytes(), 8 * token);
  small.add({some(random, 40)});
  EXPECT_EQ(small.caches.nbytes(), 8 * token);
}

TEST(Cache, keeps_the_dtype_of_what_it_is_given) {
  Caches c(kPlain.layout(), {});
  std::vector<ops::State> none;
  auto pass = c.begin(kPlain.layout(), {.tokens = mx::zeros({1, 3}, mx::int32)}, none);
  ops::kv_append(pass.layers[0],
                 mx::zeros({1, kHeads, 3, 1}, mx::bfloat16),
                 mx::zeros({1, kHeads, 3, kNames}, mx::bfloat16));
  for (auto& a : c.arrays()) EXPECT_EQ(a.dtype(), mx::bfloat16);
  EXPECT_EQ(c.nbytes(), 256u * kHeads * (1 + kNames) * 2);
}

TEST(Cache, can_be_trimmed_until_a_ring_forgets) {
  std::mt19937 random(2);
  Batch ring(kRing, 2), plain(kPlain, 1);
  ring.add({some(random, 8), some(random, 2)});
  EXPECT_TRUE(ring.caches.trimmable());
  ring.trim({3, 2});
  ring.add({some(random, 3), some(random, 5)});
  EXPECT_TRUE(ring.caches.trimmable());
  ring.add({some(random, 1), some(random, 1)});
  EXPECT_FALSE(ring.caches.trimmable());
  EXPECT_THROW(ring.trim({0, 0}), InputError);
  ring.keep_rows({1});  // this one has all of its six tokens
  EXPECT_TRUE(ring.caches.trimmable());
  ring.trim({4});
  ring.add({some(random, 12)});
  plain.add({some(random, 300)});
  EXPECT_TRUE(plain.caches.trimmable());
}

TEST(Cache, with_recurrent_states_can_not_be_trimmed) {
  Caches c({{.kv = {}, .states = {{3, 4}}}}, {});
  EXPECT_FALSE(c.trimmable());
  EXPECT_THROW(c.trim({0}), InputError);
}

TEST(Cache, that_failed_to_trim_is_as_it_was) {
  std::mt19937 random(3);
  Batch b(kPlain, 2);
  b.add({some(random, 5), some(random, 3)});
  for (auto& n : {std::vector<int>{0, 4}, {6, 0}, {-1, 0}, {1}, {1, 1, 1}}) {
    EXPECT_THROW(b.caches.trim(n), InputError);
    EXPECT_EQ(b.caches.consumed(), (std::vector<int>{5, 3}));
  }
  b.add({some(random, 2), some(random, 2)});
}

TEST(Cache, refuses_a_pass_that_does_not_fit_and_is_as_it_was) {
  std::mt19937 random(4);
  Batch b(kRing, 2);
  b.add({some(random, 5), some(random, 9)});
  array two = mx::zeros({2, 4}, mx::int32);
  array three = mx::zeros({3, 4}, mx::int32);
  std::vector<Input> bad = {
      {.tokens = three},
      {.tokens = mx::zeros({1, 4}, mx::int32)},
      {.tokens = mx::zeros({4}, mx::int32)},
      {.tokens = mx::zeros({2, 0}, mx::int32)},
      {.tokens = mx::zeros({0, 4}, mx::int32)},
      {.tokens = two, .lengths = {4}},
      {.tokens = two, .lengths = {5, 4}},
      {.tokens = two, .lengths = {-1, 4}},
      {.tokens = two, .rope_shift = {1}},
      {.tokens = two, .adapters = {0, 0, 0}},
      {.tokens = two, .embeddings = mx::zeros({2, 3, 8})},
      {.tokens = two, .embeddings = mx::zeros({8})},
      {.tokens = two, .positions = mx::zeros({2, 3}, mx::int32)},
      {.tokens = two, .positions = mx::zeros({2, 2, 4}, mx::int32)},
      {.tokens = two, .positions = mx::zeros({4}, mx::int32)},
      {.tokens = two, .spans = mx::zeros({1, 4}, mx::int32)},
      {.tokens = two, .per_layer = mx::zeros({2, 3, 1, 8})},
  };
  std::vector<ops::State> none;
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_THROW(b.caches.begin(kRing.layout(), bad[i], none), InputError) << i;
    EXPECT_EQ(b.caches.consumed(), (std::vector<int>{5, 9})) << i;
  }
  b.add({some(random, 1), some(random, 1)});
}

TEST(Cache, of_no_rows_refuses_every_pass_until_one_joins) {
  std::mt19937 random(4);
  Batch b(kRing, 2), late(kRing, 1);
  b.add({some(random, 5), some(random, 9)});
  b.keep_rows({});
  EXPECT_EQ(b.caches.rows(), 0);
  std::vector<ops::State> none;
  for (int rows : {1, 2})
    EXPECT_THROW(b.caches.begin(kRing.layout(), {.tokens = mx::zeros({rows, 4}, mx::int32)}, none),
                 InputError);
  late.add({some(random, 11)});
  b.join(late);
  b.add({some(random, 3)});
}

TEST(Cache, refuses_rows_that_it_does_not_have_and_is_as_it_was) {
  std::mt19937 random(5);
  Batch b(kPlain, 2);
  b.add({some(random, 5), some(random, 3)});
  EXPECT_THROW(b.caches.keep_rows({0, 2}), InputError);
  EXPECT_THROW(b.caches.keep_rows({-1}), InputError);
  b.add({some(random, 1), some(random, 1)});
}

TEST(Cache, joins_only_caches_of_the_same_layout_and_options) {
  std::mt19937 random(6);
  Batch b(kPlain, 1);
  b.add({some(random, 5)});
  CacheLayout heads = kPlain.layout(), twice = kPlain.layout(), two = kPlain.layout(),
              state = kPlain.layout();
  heads[0].kv[0].heads = 1;
  twice.push_back(twice[0]);
  two[0].kv.push_back(two[0].kv[0]);
  state[0].states = {{1, 2}};
  std::vector<Caches> others;
  for (auto& layout : {heads, twice, two, state}) others.emplace_back(layout, CacheOptions{});
  others.emplace_back(kPlain.layout(), kRing.options);
  for (auto& other : others) EXPECT_THROW(b.caches.join(other), InputError);
  b.add({some(random, 3)});
  Batch ring(kRing, 1);
  ring.add({some(random, 5)});
  CacheOptions keep = kRing.options;
  keep.keep = 2;
  EXPECT_THROW(ring.caches.join(Caches(kRing.layout(), keep)), InputError);
  ring.add({some(random, 9)});
}

TEST(Cache, rolls_back_only_to_marks_of_as_many_rows) {
  std::mt19937 random(6);
  Batch b(kPlain, 2);
  b.add({some(random, 5), some(random, 2)});
  auto mark = b.caches.mark();
  b.keep_rows({0});
  EXPECT_THROW(b.caches.rollback(*mark), InputError);
  b.add({some(random, 3)});
}

TEST(Cache, forked_shares_its_storage_until_one_side_writes) {
  std::mt19937 random(8);
  for (auto& kind : {kPlain, kRing}) {
    Batch b(kind, 1);
    b.add({some(random, 6)});
    Batch other = b.fork();
    auto mine = b.caches.arrays(), theirs = other.caches.arrays();
    for (size_t i = 0; i < mine.size(); ++i)
      EXPECT_EQ(mine[i].data<float>(), theirs[i].data<float>());
    mine.clear(), theirs.clear();
    b.add({some(random, 5)});
    other.add({some(random, 3)});
    b.add({some(random, 1)});
    other.add({some(random, 1)});
  }
}

TEST(CacheOptions, out_of_range_name_the_field) {
  auto message = [](CacheOptions o) -> std::string {
    try {
      Caches c(kPlain.layout(), o);
    } catch (const InputError& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_TRUE(message({.rows = 0}).starts_with("rows:"));
  EXPECT_TRUE(message({.max_kv_size = -1}).starts_with("max_kv_size:"));
  EXPECT_TRUE(message({.keep = -1}).starts_with("keep:"));
  EXPECT_TRUE(message({.max_kv_size = 4, .keep = 4}).starts_with("max_kv_size:"));
  EXPECT_EQ(message({.max_kv_size = 5, .keep = 4}), "");
}

}  // namespace
}  // namespace mlxcpp::lm
