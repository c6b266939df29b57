// ops::attention against loops that ask for each query and key whether the one sees the other.
#include "mlxcpp/ops/attention.h"

#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <tuple>
#include <vector>

namespace mlxcpp::ops {
namespace {

using test::ints;
using test::noise;
using test::Numbers;

constexpr int kHeads = 4, kKeyDim = 8, kValueDim = 6, kColumns = 11;

/// One attention, read out into numbers.
struct Loop {
  Loop(const array& queries, const KvView& view, const AttentionArgs& args)
      : a(args),
        rows(*view.rows),
        kept(view.parts[0].kept),
        q(queries),
        k(view.parts[0].k()),
        v(view.parts[0].v()) {
    if (view.parts[0].key_index) index = Numbers(*view.parts[0].key_index);
    if (rows.spans) spans = Numbers(*rows.spans);
    if (a.sinks) sinks = Numbers(**a.sinks);
  }

  bool in_span(int row, int query, int token) const {
    int column = token - rows.offsets[row];
    if (!spans || column < 0 || column >= rows.length) return false;
    return (*spans)(row, query) > 0 && (*spans)(row, query) == (*spans)(row, column);
  }

  bool sees(int row, int query, int token) const {
    int at = rows.offsets[row] + query;
    if (in_span(row, query, token)) return true;
    if (a.causal ? token > at : token >= rows.end(row)) return false;
    if (a.window && token <= at - a.window) return false;
    if (a.chunk && token / a.chunk != at / a.chunk) return false;
    return !kept.last || token < kept.first || token > at - kept.last;
  }

  /// The result for one query of one head.
  std::vector<double> attend(int row, int head, int query) const {
    int columns = k.shape[2], kv_head = head * k.shape[1] / q.shape[1];
    std::vector<double> weight(columns, 0), out(v.shape[3], 0);
    double sum = sinks ? std::exp((*sinks)(head)) : 0;
    for (int j = 0; j < columns; ++j) {
      if (!sees(row, query, index ? int((*index)(row, j)) : j)) continue;
      double score = 0;
      for (int d = 0; d < k.shape[3]; ++d) score += q(row, head, query, d) * k(row, kv_head, j, d);
      score *= a.scale;
      if (a.softcap) score = a.softcap * std::tanh(score / a.softcap);
      sum += weight[j] = std::exp(score);
    }
    for (int j = 0; j < columns; ++j)
      for (size_t d = 0; d < out.size(); ++d)
        out[d] += weight[j] / sum * v(row, kv_head, j, int(d));
    return out;
  }

  const AttentionArgs& a;
  const Rows& rows;
  Kept kept;
  Numbers q, k, v;
  std::optional<Numbers> index, spans, sinks;
};

/// Largest difference at valid tokens.
double error_of(const array& q, const KvView& kv, const AttentionArgs& a) {
  Loop loop(q, kv, a);
  Numbers y(attention(q, kv, a));
  EXPECT_TRUE(test::all_finite(y)) << "padding must stay finite";
  EXPECT_EQ(y.shape, (mx::Shape{q.shape(0), q.shape(1), q.shape(2), kv.parts[0].v().shape(3)}));
  double worst = 0;
  for (int b = 0; b < q.shape(0); ++b)
    for (int h = 0; h < q.shape(1); ++h)
      for (int i = 0; i < kv.rows->lengths[b]; ++i) {
        auto expected = loop.attend(b, h, i);
        for (size_t d = 0; d < expected.size(); ++d)
          worst = std::max(worst, std::abs(expected[d] - y(b, h, i, int(d))));
      }
  return worst;
}

struct RowsCase {
  const char* name;
  int length;
  std::vector<int> offsets, lengths;
};
const RowsCase kRows[] = {
    {"from_nothing", 11, {0, 0}, {11, 11}},
    {"from_nothing_ragged", 11, {0, 0}, {11, 5}},
    {"same_offset", 4, {7, 7}, {4, 4}},
    {"same_offset_inside_the_store", 4, {5, 5}, {4, 4}},
    {"other_offsets_and_lengths", 4, {3, 6}, {4, 2}},
    {"the_first_row_is_the_farthest", 3, {8, 3}, {3, 2}},
    {"one_query", 1, {10, 10}, {1, 1}},
    {"one_query_at_other_places", 1, {4, 10}, {1, 1}},
    {"an_idle_row", 3, {5, 8}, {0, 3}},
    {"a_row_that_is_still_empty", 3, {0, 8}, {0, 3}},
};

struct ArgsCase {
  const char* name;
  AttentionArgs args;
  Kept kept = {};
  bool sinks = false, spans = false;
};
const ArgsCase kArgs[] = {
    {"causal", {.scale = 0.7f}},
    {"window", {.scale = 0.7f, .window = 3}},
    {"window_of_all", {.scale = 0.7f, .window = kColumns}},
    {"window_of_all_but_one", {.scale = 0.7f, .window = kColumns - 1}},
    {"chunk", {.scale = 0.7f, .chunk = 4}},
    {"not_causal", {.scale = 0.7f, .causal = false}},
    {"softcap", {.scale = 0.7f, .softcap = 0.5f}},
    {"softcap_not_causal", {.scale = 0.7f, .causal = false, .softcap = 0.5f}},
    {"sinks", {.scale = 0.7f}, {}, true},
    {"sinks_and_softcap_and_window", {.scale = 0.7f, .window = 5, .softcap = 0.5f}, {}, true},
    {"kept_last", {.scale = 0.7f}, {.first = 0, .last = 4}},
    {"kept_first_and_last", {.scale = 0.7f}, {.first = 2, .last = 3}},
    {"kept_all", {.scale = 0.7f}, {.first = 2, .last = kColumns}},
    {"kept_with_softcap", {.scale = 0.7f, .softcap = 0.5f}, {.first = 2, .last = 3}},
    {"spans", {.scale = 0.7f}, {}, false, true},
    {"spans_and_window", {.scale = 0.7f, .window = 2}, {}, false, true},
    {"spans_and_softcap", {.scale = 0.7f, .softcap = 0.5f}, {}, false, true},
};

enum class View { in_order, ring, ring_with_holes };

/// Tokens stand rotated by four columns; with holes, a few tokens are forgotten.
array ring_index(int batch, bool holes) {
  std::vector<int> index;
  for (int b = 0; b < batch; ++b)
    for (int j = 0; j < kColumns; ++j)
      index.push_back(holes && (j == 9 || (b == 1 && j < 2)) ? kHole : (j + 4) % kColumns);
  return ints(index, {batch, kColumns});
}

/// Pairs of neighbours share a number, every third pair has none, padding has none.
array span_numbers(const Rows& rows) {
  std::vector<int> spans;
  for (int b = 0; b < rows.batch; ++b)
    for (int i = 0; i < rows.length; ++i)
      spans.push_back(i < rows.lengths[b] ? (i + b) / 2 % 3 : 0);
  return ints(spans, {rows.batch, rows.length});
}

std::shared_ptr<Rows> make_rows(const RowsCase& c) {
  return std::make_shared<Rows>(int(c.offsets.size()), c.length, c.offsets, c.lengths);
}

KvView make_view(std::shared_ptr<const Rows> rows, int kv_heads, View view = View::in_order) {
  int batch = rows->batch;
  KvView kv = KvView::of(noise({batch, kv_heads, kColumns, kKeyDim}, 1),
                         noise({batch, kv_heads, kColumns, kValueDim}, 2),
                         std::move(rows));
  if (view != View::in_order)
    kv.parts[0].key_index = ring_index(batch, view == View::ring_with_holes);
  return kv;
}

KvView as(const KvView& kv, mx::Dtype dtype) {
  auto& part = kv.parts[0];
  return KvView::of(mx::astype(part.k(), dtype), mx::astype(part.v(), dtype), kv.rows);
}

array queries(const Rows& rows) { return noise({rows.batch, kHeads, rows.length, kKeyDim}, 3); }

AttentionArgs make_args(const ArgsCase& c) {
  AttentionArgs a = c.args;
  if (c.sinks) a.sinks = std::make_shared<array>(noise({kHeads}, 4));
  return a;
}

using Case = std::tuple<ArgsCase, View>;
class Attention : public testing::TestWithParam<Case> {};

std::string name_of_case(const testing::TestParamInfo<Case>& c) {
  const char* views[] = {"", "_in_ring_order", "_with_holes"};
  return std::get<0>(c.param).name + std::string(views[int(std::get<1>(c.param))]);
}

TEST_P(Attention, equals_the_loop) {
  auto& [args_case, view] = GetParam();
  for (auto& rows_case : kRows)
    for (int kv_heads : {1, 2, kHeads}) {
      auto rows = make_rows(rows_case);
      if (args_case.spans) rows->spans = span_numbers(*rows);
      KvView kv = make_view(rows, kv_heads, view);
      kv.parts[0].kept = args_case.kept;
      EXPECT_LT(error_of(queries(*rows), kv, make_args(args_case)), 1e-5)
          << rows_case.name << ", " << kv_heads << " kv heads";
    }
}

INSTANTIATE_TEST_SUITE_P(
    ,
    Attention,
    testing::Combine(testing::ValuesIn(kArgs),
                     testing::Values(View::in_order, View::ring, View::ring_with_holes)),
    name_of_case);

TEST(AttentionView, marked_recent_is_read_without_a_mask) {
  auto rows = make_rows({"", 1, {10, 10}, {1, 1}});
  KvView kv = make_view(rows, 2, View::ring);
  kv.parts[0].recent = true;
  EXPECT_LT(error_of(queries(*rows), kv, {.scale = 0.7f}), 1e-5);
  EXPECT_LT(error_of(queries(*rows), kv, {.scale = 0.7f, .window = kColumns}), 1e-5);
}

TEST(AttentionView, marked_recent_still_obeys_a_narrower_window_or_a_chunk) {
  auto rows = make_rows({"", 1, {10, 10}, {1, 1}});
  KvView kv = make_view(rows, 2, View::ring);
  kv.parts[0].recent = true;
  EXPECT_LT(error_of(queries(*rows), kv, {.scale = 0.7f, .window = 3}), 1e-5);
  EXPECT_LT(error_of(queries(*rows), kv, {.scale = 0.7f, .chunk = 4}), 1e-5);
}

TEST(AttentionView, hides_first_tokens_that_a_store_keeps_from_a_window_that_has_passed_them) {
  auto rows = make_rows({"", 1, {22}, {1}});
  KvView kv = KvView::of(noise({1, 2, 5, kKeyDim}, 1), noise({1, 2, 5, kValueDim}, 2), rows);
  kv.parts[0].key_index = ints({0, 1, 20, 21, 22}, {1, 5});
  kv.parts[0].recent = true, kv.parts[0].kept = {.first = 2, .last = 3};
  for (float cap : {0.f, 0.5f})
    EXPECT_LT(error_of(queries(*rows), kv, {.scale = 0.7f, .window = 5, .softcap = cap}), 1e-5);
}

TEST(AttentionDtype, half_queries_give_half_results_near_the_loop) {
  auto rows = make_rows({"", 4, {3, 6}, {4, 2}});
  for (mx::Dtype dtype : {mx::float16, mx::bfloat16})
    for (float cap : {0.f, 0.5f}) {
      KvView kv = make_view(rows, 2);
      kv = as(kv, dtype);
      array q = mx::astype(queries(*rows), dtype);
      AttentionArgs a{.scale = 0.7f, .softcap = cap};
      EXPECT_EQ(attention(q, kv, a).dtype(), dtype);
      EXPECT_LT(error_of(q, kv, a), dtype == mx::float16 ? 2e-3 : 2e-2);
    }
}

TEST(AttentionDtype, a_row_that_sees_nothing_stays_finite_in_float16) {
  auto rows = make_rows({"", 3, {0, 8}, {0, 3}});
  KvView kv = make_view(rows, 2);
  kv = as(kv, mx::float16);
  for (float cap : {0.f, 0.5f})
    EXPECT_LT(error_of(mx::astype(queries(*rows), mx::float16),
                       kv,
                       {.scale = 0.7f, .causal = false, .softcap = cap}),
              2e-3);
}

TEST(KvAppend, without_a_store_attention_reads_the_keys_of_this_pass) {
  auto rows = make_rows({"", 5, {0, 0}, {5, 3}});
  array k = noise({2, 2, 5, kKeyDim}, 1), v = noise({2, 2, 5, kValueDim}, 2);
  KvView kv = kv_append(Layer{rows, {nullptr}, {}}, k, v);
  EXPECT_EQ(test::difference(kv.parts[0].k(), k), 0);
  EXPECT_EQ(test::difference(kv.parts[0].v(), v), 0);
  EXPECT_FALSE(kv.parts[0].recent);
  EXPECT_LT(error_of(queries(*rows), kv, {.scale = 0.7f}), 1e-5);
}

/// Remembers who appended.
struct NotedStore : KvStore {
  int calls = 0;
  KvView append(const array& k, const array& v, std::shared_ptr<const Rows> rows) override {
    ++calls;
    return KvView::of(k, v, std::move(rows));
  }
};

TEST(KvAppend, the_slot_picks_one_of_several_stores_of_a_layer) {
  NotedStore first, second;
  Layer layer{make_rows({"", 1, {0}, {1}}), {&first, &second}, {}};
  array x = noise({1, 1, 1, 4}, 1);
  kv_append(layer, x, x, 1);
  EXPECT_EQ(first.calls, 0);
  EXPECT_EQ(second.calls, 1);
  kv_append(layer, x, x);
  EXPECT_EQ(first.calls, 1);
}

TEST(Heads, are_split_and_merged_in_the_order_of_their_columns) {
  array x = noise({2, 3, 12}, 1);
  Numbers in(x), split(split_heads(x, 4));
  ASSERT_EQ(split.shape, (mx::Shape{2, 3, 3, 4}));
  for (int b = 0; b < 2; ++b)
    for (int t = 0; t < 3; ++t)
      for (int c = 0; c < 12; ++c) EXPECT_EQ(split(b, c / 4, t, c % 4), in(b, t, c));
  EXPECT_EQ(test::difference(merge_heads(split_heads(x, 4)), in), 0);
}

}  // namespace
}  // namespace mlxcpp::ops
