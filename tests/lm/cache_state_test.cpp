// Prompt caches that mlx-lm saved (tests/data/cache), taken over and gone on with; and our own
// state against theirs.
//
// Keys and values are compared in the order of time, as our state has them.  mlx-lm saves its
// buffers: zeros after the offset, a full ring beginning anywhere.  So its `_idx` (where in the
// buffer it writes next) differs from ours (how many tokens we give): both mean the same.  mlx-lm
// masks a long prompt by max_size alone; what a ring with `keep` then holds of such a prompt is the
// same as ours only because the last tokens came one by one.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/lm/caches.h"
#include "mlxcpp/lm/factory.h"
#include "tests/lm/tiny_llama.h"
#include "tests/support/golden.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace mlxcpp::lm {
namespace {

using test::Golden;
constexpr float kLogits = 1e-4f, kStates = 1e-5f;

Golden read_cache(const std::string& name) {
  return Golden::read(std::string(MLXCPP_TEST_DATA "/cache/") + name + ".safetensors");
}

bool is_none(const Golden& g, const std::string& path) {
  for (auto& [key, value] : g.metadata)
    if (key.starts_with("2.") && key.ends_with(".0") && value == path)
      return g.metadata.at(key.substr(0, key.size() - 1) + "1") == "none";
  return false;
}

std::optional<array> maybe(const Golden& g, const std::string& path) {
  if (is_none(g, path)) return {};
  return g.at(path);
}

/// A cache of keys and values at `path`, of the class given.
CacheState kv_state(const Golden& g, const std::string& path, const std::string& class_name) {
  CacheState s{.class_name = class_name,
               .arrays = {maybe(g, path + ".0"), maybe(g, path + ".1")},
               .numbers = {},
               .parts = {}};
  for (int i = 2; g.tensors.count(path + "." + std::to_string(i)); ++i)
    s.numbers.push_back(g.ids(path + "." + std::to_string(i)).at(0));
  return s;
}

std::vector<CacheState> kv_states(const Golden& g) {
  std::vector<CacheState> all;
  for (int i = 0; g.metadata.count("1." + std::to_string(i)); ++i)
    all.push_back(kv_state(g, std::to_string(i), g.metadata.at("1." + std::to_string(i))));
  return all;
}

using test::make_tiny_llama;

struct Saved {
  std::string name;
  CacheOptions options = {};
};

void PrintTo(const Saved& saved, std::ostream* out) { *out << saved.name; }

class SavedCache : public testing::TestWithParam<Saved> {
 protected:
  Golden saved = read_cache(GetParam().name);
  Golden expected = read_cache(GetParam().name + "_expected");
  std::unique_ptr<LanguageModel> model = make_tiny_llama(expected.metadata.at("config"));
};

TEST_P(SavedCache, goes_on_as_mlx_lm_does) {
  auto caches = model->make_caches(GetParam().options);
  caches.set_state(kv_states(saved));
  auto ids = expected.ids("ids");
  EXPECT_EQ(caches.consumed(), std::vector<int>{int(ids.size())});
  std::vector<array> rows;
  for (int token : expected.ids("tokens")) rows.push_back(test::forward(*model, caches, {token}));
  EXPECT_LT(test::relative_difference(mx::concatenate(rows, 0), expected.at("step_logits")),
            kLogits);
}

TEST_P(SavedCache, gives_back_what_it_was_given) {
  auto caches = model->make_caches(GetParam().options);
  caches.set_state(kv_states(saved));
  auto again = model->make_caches(GetParam().options);
  again.set_state(caches.state());
  std::vector<array> rows;
  for (int token : expected.ids("tokens")) rows.push_back(test::forward(*model, again, {token}));
  EXPECT_LT(test::relative_difference(mx::concatenate(rows, 0), expected.at("step_logits")),
            kLogits);
}

/// The tokens that a saved buffer holds, oldest first.
array by_time(const array& x, const CacheState& s) {
  int offset = s.numbers[0], columns = x.shape(2);
  auto cut = [&](int from, int to) {
    return mx::slice(x, {0, 0, from, 0}, {1, x.shape(1), to, x.shape(3)});
  };
  if (s.class_name == "KVCache" || offset <= columns) return cut(0, std::min(offset, columns));
  int keep = s.numbers[1], at = s.numbers[3];
  return mx::concatenate({cut(0, keep), cut(at, columns), cut(keep, at)}, 2);
}

TEST_P(SavedCache, holds_the_same_keys_and_values_after_the_same_tokens) {
  auto caches = model->make_caches(GetParam().options);
  auto ids = expected.ids("ids");
  std::vector<int> prefill;
  auto note = io::Fields::parse("{\"prefill\": " + expected.metadata.at("prefill") + "}");
  note.need("prefill", &prefill);
  size_t done = 0;
  for (int n : prefill) {
    test::forward(*model, caches, {ids.begin() + done, ids.begin() + done + n});
    done += n;
  }
  for (; done < ids.size(); ++done) test::forward(*model, caches, {ids[done]});
  auto ours = caches.state(), theirs = kv_states(saved);
  ASSERT_EQ(ours.size(), theirs.size());
  for (size_t i = 0; i < ours.size(); ++i) {
    SCOPED_TRACE("layer " + std::to_string(i));
    EXPECT_EQ(ours[i].class_name, theirs[i].class_name);
    auto numbers = ours[i].numbers, want = theirs[i].numbers;
    if (want.size() == 4) {  // _idx is where a buffer goes on, and ours ends there
      EXPECT_EQ(numbers[3], std::min(want[0], want[2]));
      numbers.pop_back(), want.pop_back();
    }
    EXPECT_EQ(numbers, want);
    for (int part : {0, 1})
      EXPECT_LT(test::relative_difference(*ours[i].arrays[part],
                                          by_time(*theirs[i].arrays[part], theirs[i])),
                kStates);
  }
}

TEST_P(SavedCache, that_does_not_fit_changes_nothing) {
  auto caches = model->make_caches(GetParam().options);
  auto good = kv_states(saved);
  caches.set_state(good);
  auto fork = caches.fork();
  int token = expected.ids("tokens")[0];
  array want = test::forward(*model, fork, {token});
  std::vector<std::pair<const char*, std::function<void(std::vector<CacheState>&)>>> faults = {
      {"a layer too few", [](auto& s) { s.pop_back(); }},
      {"a layer too many", [](auto& s) { s.push_back(s[0]); }},
      {"another class", [](auto& s) { s[1].class_name = "QuantizedKVCache"; }},
      {"a part too few", [](auto& s) { s[1].arrays.pop_back(); }},
      {"a number too few", [](auto& s) { s[1].numbers.pop_back(); }},
      {"a number too many", [](auto& s) { s[1].numbers.push_back(0); }},
      {"a negative offset", [](auto& s) { s[0].numbers[0] = s[1].numbers[0] = -1; }},
      {"layers that disagree", [](auto& s) { --s[1].numbers[0]; }},
      {"more tokens than keys", [](auto& s) { s[0].numbers[0] = s[1].numbers[0] = 257; }},
      {"no keys",
       [](auto& s) {
         s[1].arrays = {{}, {}};
       }},
      {"keys without values", [](auto& s) { s[1].arrays[1].reset(); }},
      {"wrong heads",
       [](auto& s) {
         for (auto& a : s[1].arrays) a = mx::concatenate({*a, *a}, 1);
       }},
      {"wrong head size",
       [](auto& s) {
         for (auto& a : s[1].arrays) a = mx::concatenate({*a, *a}, 3);
       }},
      {"two rows",
       [](auto& s) {
         for (auto& a : s[1].arrays) a = mx::concatenate({*a, *a}, 0);
       }},
      {"values shorter than keys",
       [](auto& s) {
         s[1].arrays[1] = mx::concatenate({*s[1].arrays[1], *s[1].arrays[1]}, 2);
       }},
      {"three dimensions", [](auto& s) { s[1].arrays[0] = mx::squeeze(*s[1].arrays[0], 0); }},
  };
  if (good[1].class_name == "RotatingKVCache") {
    faults.pop_back();
    faults.emplace_back("another max_size", [](auto& s) { s[1].numbers[2] = 9; });
    faults.emplace_back("another keep", [](auto& s) { s[1].numbers[1] = 3; });
    faults.emplace_back("an index beyond the keys", [](auto& s) { s[1].numbers[3] = 65; });
    if (good[1].numbers[1] && good[1].numbers[0] > good[1].numbers[2])
      faults.emplace_back("an index among the kept", [](auto& s) { s[1].numbers[3] = 1; });
    std::erase_if(faults, [](auto& f) { return f.first == std::string("more tokens than keys"); });
  }
  for (auto& [what, damage] : faults) {
    auto bad = good;
    damage(bad);
    EXPECT_THROW(caches.set_state(bad), InputError) << what;
    EXPECT_EQ(caches.consumed(), std::vector<int>{int(expected.ids("ids").size())}) << what;
  }
  EXPECT_EQ(test::relative_difference(test::forward(*model, caches, {token}), want), 0);
}

INSTANTIATE_TEST_SUITE_P(MlxLm,
                         SavedCache,
                         testing::Values(Saved{"kv"},
                                         Saved{"kv_chunked"},
                                         Saved{"sliding"},
                                         Saved{"rotating_keep0", {.max_kv_size = 8, .keep = 0}},
                                         Saved{"rotating_keep4", {.max_kv_size = 8, .keep = 4}},
                                         Saved{"rotating_keep4_chunked",
                                               {.max_kv_size = 8, .keep = 4}},
                                         Saved{"rotating_partial", {.max_kv_size = 64, .keep = 4}}),
                         [](auto& saved) { return saved.param.name; });

TEST(CacheState, of_other_kinds_of_rows_is_refused) {
  auto expected = read_cache("kv_expected");
  auto model = make_tiny_llama(expected.metadata.at("config"));
  auto saved = kv_states(read_cache("kv"));
  auto two = model->make_caches({.rows = 2});
  EXPECT_THROW(two.state(), InputError);
  EXPECT_THROW(two.set_state(saved), InputError);
  auto rotating = model->make_caches({.max_kv_size = 8});
  EXPECT_THROW(rotating.set_state(saved), InputError);
  auto quantized = kv_states(read_cache("kv"));
  for (auto& s : quantized) s.class_name = "QuantizedKVCache";
  EXPECT_THROW(model->make_caches().set_state(quantized), InputError);
}

TEST(CacheState, right_after_a_long_prompt_may_hold_more_than_the_ring) {
  // mlx-lm cuts such a buffer in the next step: of ten in order, the first and the last three stay.
  CacheLayout layout = {{.kv = {{.heads = 1, .k_dim = 1, .v_dim = 1}}, .states = {}}};
  Caches c(layout, {.max_kv_size = 4, .keep = 1});
  array x = mx::reshape(mx::arange(0, 10, mx::float32), {1, 1, 10, 1});
  CacheState s{
      .class_name = "RotatingKVCache", .arrays = {x, x}, .numbers = {10, 1, 4, 10}, .parts = {}};
  c.set_state({s});
  EXPECT_EQ(c.consumed(), std::vector<int>{10});
  array held = mx::contiguous(*c.state()[0].arrays[0]);
  held.eval();
  EXPECT_EQ(std::vector<float>(held.data<float>(), held.data<float>() + held.size()),
            (std::vector<float>{0, 7, 8, 9}));
}

/// What the oracle calls value(name): the seeded weights without their scale.
array seeded(const std::string& name, const mx::Shape& shape) {
  return mx::multiply(test::seeded_tensor(name, shape), array(4.f));
}

class HandMade : public testing::Test {
 protected:
  Golden g = read_cache("hand_made");
};

TEST_F(HandMade, empty_cache_of_keys_is_taken_over) {
  CacheLayout layout = {{.kv = {{.heads = 1, .k_dim = 4, .v_dim = 4}}, .states = {}}};
  Caches c(layout, {});
  c.set_state({kv_state(g, "2", "KVCache")});
  EXPECT_EQ(c.consumed(), std::vector<int>{0});
  EXPECT_TRUE(c.arrays().empty());
  auto s = c.state();
  EXPECT_EQ(s[0].class_name, "KVCache");
  for (auto& a : s[0].arrays) EXPECT_FALSE(a.has_value());
  EXPECT_EQ(s[0].numbers, std::vector<int>{0});
}

TEST_F(HandMade, list_of_a_state_and_a_ring_is_taken_over_and_given_back) {
  CacheLayout layout = {{.kv = {{.heads = 1, .k_dim = 4, .v_dim = 4}}, .states = {{1, 2, 4}}}};
  Caches c(layout, {.max_kv_size = 4, .keep = 1});
  CacheState states{
      .class_name = "ArraysCache", .arrays = {maybe(g, "4.0.0.0.0")}, .numbers = {}, .parts = {}};
  CacheState ring = kv_state(g, "4.1.0", "RotatingKVCache");
  CacheState list{.class_name = "CacheList", .arrays = {}, .numbers = {}, .parts = {states, ring}};
  c.set_state({list});
  EXPECT_EQ(c.consumed(), std::vector<int>{3});
  auto s = c.state();
  ASSERT_EQ(s.size(), 1u);
  EXPECT_EQ(s[0].class_name, "CacheList");
  ASSERT_EQ(s[0].parts.size(), 2u);
  EXPECT_EQ(s[0].parts[0].class_name, "ArraysCache");
  EXPECT_EQ(s[0].parts[1].class_name, "RotatingKVCache");
  EXPECT_EQ(s[0].parts[1].numbers, (std::vector<int>{3, 1, 4, 3}));
  auto same = [](const array& a, const array& b) { return mx::array_equal(a, b).item<bool>(); };
  EXPECT_TRUE(same(*s[0].parts[0].arrays[0], seeded("cache.pair", {1, 1, 2, 4})));
  EXPECT_TRUE(same(*s[0].parts[1].arrays[0], seeded("cache.pk", {1, 1, 3, 4})));
  EXPECT_TRUE(same(*s[0].parts[1].arrays[1], seeded("cache.pv", {1, 1, 3, 4})));
}

TEST_F(HandMade, states_that_do_not_fit_change_nothing) {
  CacheLayout layout = {{.kv = {}, .states = {{3, 4}, {1}, {2, 5}}}};
  Caches c(layout, {});
  CacheState one{.class_name = "ArraysCache",
                 .arrays = {mx::ones({1, 3, 4}), {}, mx::ones({1, 2, 5})},
                 .numbers = {},
                 .parts = {}};
  c.set_state({one});
  auto refused = [&](CacheState bad) { EXPECT_THROW(c.set_state({bad}), InputError); };
  CacheState two_rows = one, few = one, other = one, list = one;
  two_rows.arrays = {maybe(g, "0.0.0"), maybe(g, "0.0.1"), maybe(g, "0.0.2")};
  few.arrays.pop_back();
  other.class_name = "ChunkedKVCache";
  list = {.class_name = "CacheList", .arrays = {}, .numbers = {}, .parts = {one, one}};
  for (auto& bad : {two_rows, few, other, list}) refused(bad);
  auto s = c.state();
  EXPECT_EQ(s[0].class_name, "ArraysCache");
  EXPECT_TRUE(mx::array_equal(*s[0].arrays[0], mx::ones({1, 3, 4})).item<bool>());
  EXPECT_FALSE(s[0].arrays[1].has_value());
}

TEST_F(HandMade, classes_without_a_place_are_refused) {
  CacheLayout layout = {{.kv = {{.heads = 1, .k_dim = 4, .v_dim = 4}}, .states = {}}};
  Caches c(layout, {});
  EXPECT_THROW(c.set_state({kv_state(g, "3", "ChunkedKVCache")}), InputError);
  EXPECT_THROW(c.set_state({kv_state(g, "5", "ConcatenateKVCache")}), InputError);
  EXPECT_EQ(c.consumed(), std::vector<int>{0});
}

}  // namespace
}  // namespace mlxcpp::lm
