// The store of earlier prompts, against plain loops over what was put in, and mlx-lm's order of
// eviction (tools/oracle/caches.py lru).
#include "mlxcpp/lm/prompt_cache.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "tests/lm/small_caches.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <utility>

namespace mlxcpp::lm {
namespace {

using test::first;
using test::held;
using test::Ids;
using test::joined;
using test::kv_caches;
using test::state_caches;

Ids run_of(TokenId from, int n) {
  Ids ids;
  for (int i = 0; i < n; ++i) ids.push_back(from + TokenId(i));
  return ids;
}

TEST(PromptCache, gives_all_but_the_last_token_of_the_same_prompt) {
  PromptCache store;
  auto ids = run_of(10, 20);
  EXPECT_TRUE(store.insert("m", ids, kv_caches(ids)));
  auto hit = store.lookup("m", ids);
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->tokens, 19);
  EXPECT_EQ(held(hit->caches), first(ids, 19));
}

TEST(PromptCache, trims_longer_entries_to_what_is_common) {
  PromptCache store;
  auto ids = run_of(10, 20), other = joined(first(ids, 12), {90, 91, 92});
  store.insert("m", ids, kv_caches(ids));
  auto hit = store.lookup("m", other);
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->tokens, 12);
  EXPECT_EQ(held(hit->caches), first(ids, 12));
  hit = store.lookup("m", first(ids, 5));
  ASSERT_TRUE(hit);
  EXPECT_EQ(hit->tokens, 4);
  EXPECT_EQ(held(store.lookup("m", ids)->caches), first(ids, 19));  // the entry is as it was
}

TEST(PromptCache, gives_the_longest_shorter_entry_where_states_can_not_be_trimmed) {
  PromptCache store;
  auto ids = run_of(10, 20);
  for (size_t n : {5, 10, 20}) store.insert("m", first(ids, n), state_caches(first(ids, n)));
  EXPECT_EQ(store.size(), 3u);
  EXPECT_EQ(store.lookup("m", ids)->tokens, 10);
  EXPECT_EQ(store.lookup("m", joined(ids, {1}))->tokens, 20);
  EXPECT_EQ(store.lookup("m", joined(first(ids, 9), {1, 2, 3}))->tokens, 5);
  EXPECT_FALSE(store.lookup("m", first(ids, 5)));
}

TEST(PromptCache, gives_single_tokens_too_and_nothing_for_nothing) {
  PromptCache store;
  store.insert("m", Ids{7}, kv_caches({7}));
  EXPECT_EQ(store.lookup("m", Ids{7, 8})->tokens, 1);
  EXPECT_FALSE(store.lookup("m", Ids{7}));
  EXPECT_FALSE(store.lookup("m", Ids{}));
  EXPECT_FALSE(store.lookup("m", Ids{8, 9}));
  EXPECT_FALSE(store.lookup("other", Ids{7, 8}));
}

TEST(PromptCache, keeps_models_apart_and_forgets_one_of_them) {
  PromptCache store;
  auto ids = run_of(1, 8);
  store.insert("a", ids, kv_caches(ids));
  store.insert("b", ids, kv_caches(ids));
  EXPECT_EQ(store.size(), 2u);
  store.erase("a");
  EXPECT_FALSE(store.lookup("a", ids));
  EXPECT_TRUE(store.lookup("b", ids));
}

TEST(PromptCache, an_entry_makes_those_it_begins_with_needless_but_for_system_prompts) {
  PromptCache store;
  auto ids = run_of(1, 30);
  store.insert("m", first(ids, 5), kv_caches(first(ids, 5)), PromptKind::system);
  store.insert("m", first(ids, 10), kv_caches(first(ids, 10)), PromptKind::user);
  store.insert("m", first(ids, 20), kv_caches(first(ids, 20)));
  store.insert("m", ids, kv_caches(ids));
  auto stats = store.stats();
  EXPECT_EQ(stats.entries[int(PromptKind::system)], 1u);
  EXPECT_EQ(stats.entries[int(PromptKind::user)], 0u);
  EXPECT_EQ(stats.entries[int(PromptKind::assistant)], 1u);
}

TEST(PromptCache, counts_storage_that_entries_share_once) {
  PromptCache store;
  auto ids = run_of(1, 64);
  auto caches = kv_caches(ids);
  store.insert("a", ids, caches);
  auto once = store.nbytes();
  EXPECT_GE(once, 2u * 64 * 4);
  store.insert("b", ids, caches);
  EXPECT_EQ(store.nbytes(), once);
  store.insert("c", ids, kv_caches(ids));
  EXPECT_EQ(store.nbytes(), 2 * once);
  store.erase("a");
  EXPECT_EQ(store.nbytes(), 2 * once);
  store.erase("b");
  EXPECT_EQ(store.nbytes(), once);
}

/// What the caches of one row add to a fork of what was there.
Caches going_on(const Caches& from, int announced, int tokens) {
  CacheLayout layout{{.kv = {{1, 1, 1}}, .states = {}}};
  Caches caches = from.fork();
  caches.reserve(announced);
  auto pass = caches.begin(layout, {.tokens = mx::zeros({1, tokens}, mx::int32)});
  array fresh = mx::ones({1, 1, tokens, 1});
  ops::kv_append(pass.layers[0], fresh, fresh);
  caches.end(pass);
  mx::eval(caches.arrays());
  return caches;
}

/// 8 bytes a token; the limit is of what is there, whatever it was made of.
TEST(PromptCache, counts_all_that_a_conversation_keeps_alive_and_no_room_that_it_left) {
  PromptCache store({.max_entries = 5, .max_bytes = 8 * 2000});
  auto ids = run_of(1, 2500);
  store.insert("m", first(ids, 100), going_on(test::blank_kv(), 612, 100));
  EXPECT_EQ(store.nbytes(), 8u * 100);
  for (int n = 200; n <= 2000; n += 100) {
    auto hit = store.lookup("m", first(ids, size_t(n)));
    ASSERT_EQ(hit->tokens, n - 100);
    auto all = going_on(hit->caches, n + 512, 100);
    hit.reset();
    EXPECT_TRUE(store.insert("m", first(ids, size_t(n)), std::move(all)));
    EXPECT_EQ(store.size(), 1u);
    EXPECT_EQ(store.nbytes(), 8u * unsigned(n));
  }
  auto all = going_on(store.lookup("m", ids)->caches, 2100, 100);
  EXPECT_FALSE(store.insert("m", first(ids, 2100), std::move(all))) << "beyond the limit";
  EXPECT_EQ(store.nbytes(), 8u * 2000);
}

TEST(PromptCache, does_not_keep_a_long_prompt_for_the_few_tokens_that_another_shares_with_it) {
  PromptCache store({.max_entries = 2});
  auto ids = run_of(1, 5000);
  store.insert("m", ids, kv_caches(ids));
  for (int i = 0; i < 20; ++i) {
    auto other = joined(first(ids, 50), run_of(10000 * (i + 1), 30));
    auto hit = store.lookup("m", other);
    ASSERT_EQ(hit->tokens, 50);
    auto all = going_on(hit->caches, 80, 30);
    hit.reset();
    store.insert("m", other, std::move(all));
  }
  EXPECT_EQ(store.size(), 2u);
  EXPECT_EQ(store.nbytes(), 8u * (50 + 30 + 30)) << "what both begin with is there once";
}

TEST(PromptCache, a_hit_copies_nothing) {
  PromptCache store;
  auto ids = run_of(1, 64);
  store.insert("m", ids, kv_caches(ids));
  auto hit = store.lookup("m", joined(ids, {99}));
  ASSERT_TRUE(hit);
  auto once = store.nbytes();
  store.insert("of the hit", ids, hit->caches);
  EXPECT_EQ(store.nbytes(), once);
}

TEST(PromptCache, stays_within_its_limits_and_gives_all_bytes_back) {
  auto one = kv_caches(run_of(1, 64)).nbytes();
  PromptCache store({.max_entries = 5, .max_bytes = 3 * one});
  for (TokenId i = 0; i < 200; ++i) {
    auto ids = run_of(1000 * i + 1, 64);
    EXPECT_TRUE(store.insert("m", ids, kv_caches(ids)));
    EXPECT_LE(store.nbytes(), 3 * one);
    EXPECT_LE(store.size(), 5u);
  }
  EXPECT_EQ(store.size(), 3u);
  EXPECT_EQ(store.stats().evictions, 197u);
  store.shrink(0);
  EXPECT_EQ(store.nbytes(), 0u);
  EXPECT_EQ(store.size(), 0u);
}

TEST(PromptCache, does_not_keep_what_is_larger_than_all_it_may_have) {
  auto ids = run_of(1, 64);
  PromptCache store({.max_entries = 5, .max_bytes = kv_caches(ids).nbytes() - 1});
  store.insert("m", Ids{1, 2}, state_caches({1, 2}));
  EXPECT_FALSE(store.insert("m", ids, kv_caches(ids)));
  EXPECT_EQ(store.size(), 1u);
}

TEST(PromptCache, refuses_caches_of_other_tokens_and_is_as_it_was) {
  PromptCache store;
  EXPECT_THROW(store.insert("m", Ids{1, 2, 3}, kv_caches({1, 2})), InputError);
  EXPECT_THROW(store.insert("m", Ids{}, test::blank_kv()), InputError);
  EXPECT_EQ(store.size(), 0u);
}

TEST(PromptCache, gives_up_what_was_used_longest_ago) {
  PromptCache store({.max_entries = 2});
  auto a = run_of(100, 9), b = run_of(200, 9), c = run_of(300, 9);
  store.insert("m", a, kv_caches(a));
  store.insert("m", b, kv_caches(b));
  EXPECT_TRUE(store.lookup("m", a));
  store.insert("m", c, kv_caches(c));
  EXPECT_TRUE(store.lookup("m", a));
  EXPECT_FALSE(store.lookup("m", b));
}

/// tests/data/cache/lru.json: what mlx-lm's LRUPromptCache holds after each insertion.
TEST(PromptCache, gives_entries_up_in_mlx_lms_order) {
  auto text = io::read_text(MLXCPP_TEST_DATA "/cache/lru.json", 1 << 20);
  auto golden = io::Fields::parse(text, "lru");
  int max_size = 0;
  golden.need("max_size", &max_size);
  PromptCache store({.max_entries = size_t(max_size)});
  std::vector<Ids> put;
  for (auto& step : golden.objects("steps")) {
    std::string kind;
    std::vector<int> there;
    step.need("kind", &kind).need("there", &there);
    TokenId id = TokenId(put.size());
    put.push_back({id, id, id});
    store.insert("m",
                 put.back(),
                 state_caches(put.back()),
                 kind == "system" ? PromptKind::system
                 : kind == "user" ? PromptKind::user
                                  : PromptKind::assistant);
    auto stats = store.stats();
    EXPECT_EQ(stats.entries[0] + stats.entries[1] + stats.entries[2], there.size());
  }
  std::vector<int> last, ours;
  golden.need("last", &last);
  for (auto& ids : put)
    if (store.lookup("m", joined(ids, {5000}))) ours.push_back(int(ids[0]));
  EXPECT_EQ(ours, last);
}

TEST(PromptCache, finds_what_a_plain_loop_finds) {
  std::mt19937 random(7);
  auto draw = [&](int n) { return int(random() % unsigned(n)); };
  PromptCache store({.max_entries = 100000});
  std::vector<Ids> put;
  for (int round = 0; round < 600; ++round) {
    Ids ids;
    for (int n = 1 + draw(12); n > 0; --n) ids.push_back(TokenId(draw(2)));
    if (!put.empty() && draw(3) == 0) ids = joined(put[size_t(draw(int(put.size())))], ids);
    if (draw(3) == 0) {
      store.insert("m", ids, kv_caches(ids));
      put.push_back(ids);
      continue;
    }
    size_t best = 0;
    for (auto& there : put) {
      size_t common = size_t(
          std::mismatch(ids.begin(), ids.end(), there.begin(), there.end()).first - ids.begin());
      best = std::max(best, std::min(common, ids.size() - 1));
    }
    auto hit = store.lookup("m", ids);
    ASSERT_EQ(hit ? size_t(hit->tokens) : 0, best) << round;
    if (hit) ASSERT_EQ(held(hit->caches), first(ids, best));
  }
}

TEST(PromptCache, finds_what_a_plain_loop_finds_among_states) {
  std::mt19937 random(8);
  auto draw = [&](int n) { return int(random() % unsigned(n)); };
  PromptCache store({.max_entries = 100000});
  std::vector<Ids> put;
  for (int round = 0; round < 600; ++round) {
    Ids ids;
    for (int n = 1 + draw(7); n > 0; --n) ids.push_back(TokenId(draw(2)));
    if (draw(3) == 0) {
      store.insert("m", ids, state_caches(ids));
      put.push_back(ids);
      continue;
    }
    size_t best = 0;
    for (auto& there : put)
      if (there.size() < ids.size() && std::equal(there.begin(), there.end(), ids.begin()))
        best = std::max(best, there.size());
    auto hit = store.lookup("m", ids);
    ASSERT_EQ(hit ? size_t(hit->tokens) : 0, best) << round;
  }
}

}  // namespace
}  // namespace mlxcpp::lm
