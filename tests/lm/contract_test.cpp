// What every model must be, whatever its layers are: one test for each property, run on several
// models.  The reference is a row alone, in one pass, without a cache.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/ops/device.h"
#include "tests/lm/mixed_model.h"
#include "tests/lm/plays.h"
#include "tests/lm/small_model.h"

#include <mlx/ops.h>
#include <mlx/random.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

namespace mlxcpp::lm {
namespace {

struct Subject {
  std::string name;
  std::function<std::shared_ptr<const LanguageModel>()> make;
  bool dense = true;
};
void PrintTo(const Subject& s, std::ostream* out) { *out << s.name; }

class Contract : public testing::TestWithParam<Subject> {
 protected:
  std::shared_ptr<const LanguageModel> model = GetParam().make();
  const LanguageModel& m = *model;
  float difference(Caches& c, const Ids& whole, int from) const {
    return rest_difference(m, c, whole, from);
  }
};

TEST_P(Contract, prompt_chunks_and_steps_are_what_no_cache_gives) {
  EXPECT_LT(worst_in_chunks_and_steps(m), kTolerance);
}

TEST_P(Contract, rows_of_a_batch_are_as_alone) {
  for (bool rotate : {true, false}) {
    Play p(m, {.rows = 3, .rotate = rotate}, {ids(1, 40), ids(2, 44), ids(3, 50)});
    p.pass({5, 13, 19});
    for (int i = 0; i < 4; ++i) p.pass({1, 1, 1});
    p.pass({4, 9, 2});
    p.pass({1, 0, 3});  // one rests
    p.pass({1, 0, 1});
    p.pass({1, 1, 1});
    p.caches.keep_rows({0, 2}), p.live = {0, 2};
    for (int i = 0; i < 9; ++i) p.pass({1, 1});
    p.caches.keep_rows({1, 0}), p.live = {2, 0};
    p.pass({3, 5});
    EXPECT_LT(p.worst, kTolerance) << "rotate " << rotate;
  }
}

TEST_P(Contract, rows_that_begin_empty_are_as_alone) {
  Play p(m, {.rows = 2}, {ids(4, 20), ids(5, 20)});
  p.pass({0, 3});
  p.pass({0, 1});
  p.pass({9, 0});
  for (int i = 0; i < 5; ++i) p.pass({1, 1});
  EXPECT_LT(p.worst, kTolerance);
}

TEST_P(Contract, chunks_through_a_small_cache_are_what_steps_are) {
  // Without the forgotten tokens the result is another one, but the same for every cut.
  CacheOptions small{.max_kv_size = 7, .keep = 2};
  Ids r = ids(6, 30);
  auto run = [&](const Ids& cuts) {
    auto c = m.make_caches(small);
    std::vector<array> y;
    int at = 0;
    for (int n : cuts) y.push_back(logits(m, input({part(r, at, at + n)}), c)), at += n;
    return mx::concatenate(y, 1);
  };
  array want = run(Ids(30, 1));
  EXPECT_LT(relative_difference(run({30}), want), kTolerance);
  EXPECT_LT(relative_difference(run({5, 1, 1, 1, 9, 3, 1, 1, 8}), want), kTolerance);
  small.rows = 2;
  auto c = m.make_caches(small);
  array y = logits(m, input({part(r, 0, 11), part(r, 0, 4)}), c);
  EXPECT_LT(relative_difference(row(y, 0, 0, 11), row(want, 0, 0, 11)), kTolerance);
  y = logits(m, input({part(r, 11, 12), part(r, 4, 5)}), c);
  EXPECT_LT(relative_difference(row(y, 1, 0, 1), row(want, 0, 4, 5)), kTolerance);
  y = logits(m, input({part(r, 12, 16), part(r, 5, 17)}), c);
  EXPECT_LT(relative_difference(row(y, 0, 0, 4), row(want, 0, 12, 16)), kTolerance);
  EXPECT_LT(relative_difference(row(y, 1, 0, 12), row(want, 0, 5, 17)), kTolerance);
}

TEST_P(Contract, fork_is_untouched_by_what_the_other_reads) {
  Ids r = ids(4, 26);
  auto c = m.make_caches();
  logits(m, input({part(r, 0, 12)}), c);
  auto saved = c.fork();
  logits(m, input({ids(9, 9)}), c);
  EXPECT_LT(difference(saved, r, 12), kTolerance);
}

TEST_P(Contract, rollback_is_as_if_nothing_had_been_read) {
  Ids r = ids(4, 26);
  for (int before : {3, 12}) {
    auto c = m.make_caches();
    logits(m, input({part(r, 0, before)}), c);
    auto mark = c.mark();
    for (int again : {0, 1}) {
      logits(m, input({ids(9, 9)}), c);
      logits(m, input({ids(8 + again, 1)}), c);
      c.rollback(*mark);
    }
    EXPECT_EQ(c.consumed(), Ids{before});
    EXPECT_LT(difference(c, r, before), kTolerance);
  }
}

TEST_P(Contract, row_joins_a_running_batch) {
  Ids r = ids(4, 26);
  for (int before : {0, 2, 12}) {
    auto batch = m.make_caches({.rows = 2}), late = m.make_caches();
    logits(m, input({ids(1, 30), ids(2, 17)}), batch);
    if (before) logits(m, input({part(r, 0, before)}), late);
    batch.join(late);
    array y = logits(m, input({ids(3, 3), ids(3, 5), part(r, before, 26)}), batch);
    EXPECT_LT(relative_difference(row(y, 2, 0, 26 - before), tokens_of(alone(m, r), before, 26)),
              kTolerance);
  }
}

TEST_P(Contract, rows_may_be_repeated) {
  Ids r = ids(4, 26);
  auto c = m.make_caches();
  logits(m, input({part(r, 0, 12)}), c);
  c.keep_rows({0, 0, 0});
  array y = logits(m, input({ids(1, 3), part(r, 12, 26), ids(2, 2)}), c);
  EXPECT_LT(relative_difference(row(y, 1, 0, 14), tokens_of(alone(m, r), 12, 26)), kTolerance);
}

TEST_P(Contract, trimmed_rows_are_as_if_they_had_never_read_the_end) {
  Ids r = ids(4, 26);
  auto c = m.make_caches({.rows = 2, .rotate = false});
  logits(m, input({part(r, 0, 15), part(r, 0, 12)}), c);
  logits(m, input({ids(9, 4), ids(9, 9)}), c);
  if (!c.trimmable()) {
    EXPECT_THROW(c.trim({7, 9}), InputError);
    return;
  }
  c.trim({7, 9});  // both rows back to 12
  array y = logits(m, input({part(r, 12, 26), part(r, 12, 26)}), c);
  for (int b : {0, 1})
    EXPECT_LT(relative_difference(row(y, b, 0, 14), tokens_of(alone(m, r), 12, 26)), kTolerance);
}

TEST_P(Contract, positions_given_are_as_positions_counted) {
  Ids r = ids(5, 11), count;
  for (int i = 0; i < 11; ++i) count.push_back(i);
  array want = alone(m, r);
  auto in = input({r});
  in.positions = array(count.data(), {1, 11}, mx::int32);
  EXPECT_LT(relative_difference(row(logits(m, in), 0, 0, 11), want), kTolerance);
  in.positions = mx::stack({*in.positions, *in.positions, *in.positions}, 0);
  EXPECT_LT(relative_difference(row(logits(m, in), 0, 0, 11), want), kTolerance);
}

TEST_P(Contract, shift_of_positions_stays_until_another_is_given) {
  // Row 0 counts on from 4 after its first five tokens and from 9 after eight; row 1 never shifts.
  Ids r = ids(5, 11), place = {0, 1, 2, 3, 4, 9, 10, 11, 17, 18, 19};
  auto in = input({r});
  in.positions = array(place.data(), {1, 11}, mx::int32);
  array want = row(logits(m, in), 0, 0, 11), plain = alone(m, r);
  EXPECT_GT(relative_difference(want, plain), 10 * kTolerance);
  auto c = m.make_caches({.rows = 2});
  auto piece = [&](int from, int to, Ids shift) {
    auto p = input({part(r, from, to), part(r, from, to)});
    p.rope_shift = std::move(shift);
    array y = logits(m, p, c);
    EXPECT_LT(relative_difference(row(y, 0, 0, to - from), tokens_of(want, from, to)), kTolerance);
    EXPECT_LT(relative_difference(row(y, 1, 0, to - from), tokens_of(plain, from, to)), kTolerance);
  };
  piece(0, 5, {});
  piece(5, 7, {4, 0});
  piece(7, 8, {});
  piece(8, 9, {9, 0});
  c.keep_rows({0, 1});
  c = c.fork();
  piece(9, 10, {});
  auto mark = c.mark();
  auto stray = input({ids(1, 2), ids(1, 2)});
  stray.rope_shift = {3, 3};
  logits(m, stray, c);
  c.rollback(*mark);
  piece(10, 11, {});
}

TEST_P(Contract, shift_of_positions_holds_without_a_cache) {
  // Turning all positions alike changes nothing that counts, so give each row its own stretch.
  Ids r = ids(5, 8), place;
  for (int i = 0; i < 8; ++i) place.push_back(i + 900);
  auto in = input({r}), same = in;
  in.rope_shift = {900};
  same.positions = array(place.data(), {1, 8}, mx::int32);
  Caches none;
  array shifted = logits(m, in, none);
  EXPECT_EQ(relative_difference(shifted, logits(m, same)), 0);  // the same sums, bit for bit
  EXPECT_GT(relative_difference(shifted, logits(m, input({r}))), 0);
}

TEST_P(Contract, tokens_of_one_span_see_each_other_and_no_one_else_looks_ahead) {
  Ids a = ids(6, 9), b = a, spans = {0, 0, 0, 2, 2, 2, 2, 2, 0, 0, 0, 0, 2, 2, 2, 2, 2, 0};
  b[7] = b[7] % 63 + 1;
  auto run = [&](const Ids& r, bool joined, bool cached) {
    auto in = input({r, r});
    if (joined) in.spans = array(spans.data(), {2, 9}, mx::int32);
    auto c = cached ? m.make_caches({.rows = 2}) : Caches();
    return logits(m, in, c);
  };
  for (bool cached : {false, true}) {
    array with_a = run(a, true, cached), with_b = run(b, true, cached);
    EXPECT_EQ(relative_difference(row(run(a, false, cached), 0, 0, 7),
                                  row(run(b, false, cached), 0, 0, 7)),
              0);
    EXPECT_EQ(relative_difference(row(with_a, 0, 0, 3), row(with_b, 0, 0, 3)), 0);
    for (int token = 3; token < 7; ++token)
      EXPECT_GT(
          relative_difference(row(with_a, 1, token, token + 1), row(with_b, 1, token, token + 1)),
          kTolerance);
  }
}

TEST_P(Contract, spans_of_a_batch_are_as_alone) {
  Ids first = ids(6, 5), r = ids(7, 9), spans = {0, 1, 1, 1, 0, 2, 2, 0, 0};
  auto one = [&](std::vector<Ids> rows, Ids s) {
    auto in = input(rows);
    in.spans = array(s.data(), {int(rows.size()), 9}, mx::int32);
    return in;
  };
  auto single = m.make_caches();
  logits(m, input({first}), single);
  array want = row(logits(m, one({r}, spans), single), 0, 0, 9);
  auto c = m.make_caches({.rows = 2});
  logits(m, input({ids(8, 11), first}), c);
  Ids both(9);
  both.insert(both.end(), spans.begin(), spans.end());
  array y = logits(m, one({ids(9, 4), r}, both), c);
  EXPECT_LT(relative_difference(row(y, 1, 0, 9), want), kTolerance);
}

TEST_P(Contract, embeddings_may_stand_for_the_tokens) {
  auto in = input({ids(1, 9)});
  array want = logits(m, in);
  ops::Weight table;
  for (auto& [path, w] : m.manifest().linears)
    if (path.ends_with("embed_tokens") || path == "embed") table = w;
  in.embeddings = ops::embed(in.tokens, table);
  EXPECT_EQ(relative_difference(logits(m, in), want), 0);
  in.embeddings = mx::multiply(*in.embeddings, array(2.f));
  in.embeddings = mx::add(*in.embeddings, array(0.1f));
  EXPECT_GT(relative_difference(logits(m, in), want), kTolerance);
}

TEST_P(Contract, every_row_has_its_own_adapter) {
  mx::random::seed(3);
  for (auto& [path, w] : m.manifest().linears) {
    if (!path.ends_with("_proj")) continue;
    int out = w->value->shape(0);
    int in = w->dense() ? w->value->shape(1) : (*w->scales)->shape(1) * w->quant.group_size;
    auto noise = [](mx::Shape s) { return mx::multiply(mx::random::normal(s), array(0.2f)); };
    w->adapters = ops::Adapters{noise({2, 4, in}), noise({2, out, 4}), m.adapter_rows()};
  }
  m.adapter_use().count = 2;
  std::vector<Ids> rows{ids(1, 5), ids(2, 13), ids(3, 19)};
  auto in = input(rows);
  array plain = logits(m, in);
  in.adapters = {0, 1, 2};
  array mixed = logits(m, in);
  EXPECT_LT(relative_difference(row(mixed, 0, 0, 5), row(plain, 0, 0, 5)), kTolerance);
  for (int b : {1, 2})
    EXPECT_GT(relative_difference(row(mixed, b, 0, 5), row(plain, b, 0, 5)), 10 * kTolerance);
  for (int b = 0; b < 3; ++b) {
    auto one = input({rows[b]});
    one.adapters = {b};
    int n = int(rows[b].size());
    EXPECT_LT(relative_difference(row(mixed, b, 0, n), row(logits(m, one), 0, 0, n)), kTolerance);
  }
  EXPECT_EQ(relative_difference(logits(m, input(rows)), plain), 0);  // the map does not stay
}

TEST_P(Contract, activations_have_the_dtype_that_the_device_computes_in) {
  array want = logits(m, input({ids(1, 9)}));
  for (auto& [path, p] : m.manifest().params)
    if (mx::issubdtype(p->dtype(), mx::floating)) *p = mx::astype(*p, mx::bfloat16);
  auto c = m.make_caches();
  array h = m.hidden(input({ids(1, 9)}), c);
  EXPECT_EQ(h.dtype(), ops::activation_dtype(mx::bfloat16));
  EXPECT_TRUE(!ops::on_cpu() || h.dtype() == mx::float32);
  EXPECT_EQ(m.logits(h).dtype(), h.dtype());
  for (auto& a : c.arrays()) EXPECT_EQ(a.dtype(), h.dtype());
  EXPECT_LT(relative_difference(m.logits(h), want), 0.05f);
}

TEST_P(Contract, pass_that_throws_leaves_the_caches_as_they_were) {
  Ids r = ids(4, 20);
  auto c = m.make_caches();
  logits(m, input({part(r, 0, 10)}), c);
  auto bytes = c.nbytes();
  auto bad = input({ids(9, 4)});
  bad.rope_shift = {5};
  if (GetParam().name == "mixed")
    bad.per_layer = mx::zeros({1, 4, 3, 5});  // one too wide: fails when layer 0 has kept already
  else
    bad.embeddings = mx::zeros({1, 4, 3});
  EXPECT_ANY_THROW(m.hidden(bad, c));
  bad.lengths = {4, 4};
  EXPECT_THROW(m.hidden(bad, c), InputError);
  bad = input({ids(9, 4)});
  for (const Ids& needed : {Ids{5}, Ids{-1}, Ids{1, 1}}) {
    bad.needed = needed;
    EXPECT_THROW(m.hidden(bad, c), InputError);
  }
  EXPECT_EQ(c.consumed(), Ids{10});
  EXPECT_EQ(c.nbytes(), bytes);
  EXPECT_LT(difference(c, r, 10), kTolerance);
}

/// d loss / d parameter along a direction, against finite differences.
TEST_P(Contract, gradients_are_finite_differences) {
  if (!GetParam().dense) GTEST_SKIP() << "packed weights have no gradient";
  auto in = input({ids(1, 9), ids(2, 4)});
  std::vector<std::string> names;
  std::vector<ops::Param> params;
  std::vector<array> values;
  std::vector<int> all;
  for (auto& [name, p] : m.manifest().params)
    all.push_back(int(all.size())), names.push_back(name), params.push_back(p),
        values.push_back(*p);
  auto loss = [&](const std::vector<array>& v) {
    for (size_t i = 0; i < v.size(); ++i) *params[i] = v[i];
    Caches none;
    return mx::mean(mx::square(row(m.logits(m.hidden(in, none)), 0, 0, 9)));
  };
  auto [size, grads] =
      mx::value_and_grad(std::function<array(const std::vector<array>&)>(loss), all)(values);
  mx::eval(grads);
  for (size_t i = 0; i < values.size(); ++i) {
    array along = mx::multiply(
        values[i], mx::random::normal(values[i].shape(), mx::float32, 0, 1, mx::random::key(i)));
    float expect = mx::sum(mx::multiply(grads[i], along)).item<float>(), best = 1;
    auto at = [&](float t) {
      auto v = values;
      v[i] = mx::add(v[i], mx::multiply(along, array(t)));
      return loss(v).item<float>();
    };
    for (float h : {3e-2f, 1e-2f, 3e-3f}) {  // a large step bends, a small one drowns in rounding
      float found = (8 * (at(h) - at(-h)) - (at(2 * h) - at(-2 * h))) / (12 * h);
      float error = std::abs(found - expect) /
                    (std::abs(found) + std::abs(expect) + 1e-2f * size.item<float>());
      best = std::min(best, error);
      if (best < 0.005f) break;
    }
    EXPECT_LT(best, 0.01f) << names[i];
    EXPECT_GT(mx::max(mx::abs(grads[i])).item<float>(), 0) << names[i];
  }
  loss(values);
}

INSTANTIATE_TEST_SUITE_P(
    Model,
    Contract,
    testing::Values(
        Subject{"llama", [] { return test::small_model("llama_plain"); }},
        Subject{"llama_sliding", [] { return test::small_model("llama_sliding"); }},
        Subject{"llama_packed", [] { return test::small_model("llama_quant_affine_4_64"); }, false},
        Subject{"mixed", [] { return std::shared_ptr(test::make_mixed_model()); }}),
    [](auto& subject) { return subject.param.name; });

TEST(MixedModel, reads_additions_given_for_each_layer) {
  auto m = test::make_mixed_model();
  auto in = input({ids(1, 9), ids(2, 6)});
  array want = logits(*m, in);
  const ops::Weight& table = m->manifest().linears.at("extra");
  in.per_layer = mx::unflatten(ops::embed(in.tokens, table), -1, {3, 4});
  EXPECT_EQ(relative_difference(logits(*m, in), want), 0);
  in.per_layer = mx::zeros({2, 9, 3, 4});
  EXPECT_GT(relative_difference(logits(*m, in), want), kTolerance);
}

}  // namespace
}  // namespace mlxcpp::lm
