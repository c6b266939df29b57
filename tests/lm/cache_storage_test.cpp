// What caches take of memory, what they share, what they refuse.
#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/device.h"
#include "tests/lm/cache_batch.h"

#include <gtest/gtest.h>

namespace mlxcpp::lm {
namespace {

TEST(Cache, grows_by_256_tokens_at_a_time) {
  if (!ops::own_kernels()) GTEST_SKIP() << "MLX's kernels want all columns in one piece";
  std::mt19937 random(1);
  Batch b(kPlain, 2);
  std::uint64_t token = kHeads * (1 + kNames) * sizeof(float);
  EXPECT_EQ(b.caches.nbytes(), 0u);
  b.add({some(random, 1), some(random, 1)});
  EXPECT_EQ(b.caches.nbytes(), 2 * 256 * token);
  b.add({some(random, 255), some(random, 250)});
  EXPECT_EQ(b.caches.nbytes(), 2 * 256 * token);
  b.add({some(random, 1), some(random, 1)});
  EXPECT_EQ(b.caches.nbytes(), 3 * 256 * token);
  b.add({some(random, 1), some(random, 300)});
  EXPECT_EQ(b.caches.nbytes(), (512 + 768) * token);
}

TEST(Cache, takes_at_once_what_was_announced) {
  std::mt19937 random(1);
  Batch b(kPlain, 1);
  std::uint64_t token = kHeads * (1 + kNames) * sizeof(float);
  b.caches.reserve(1000);
  b.add({some(random, 10)});
  EXPECT_EQ(b.caches.nbytes(), 1024 * token);
  for (int i = 0; i < 3; ++i) b.add({some(random, 330)});
  EXPECT_EQ(b.caches.nbytes(), 1024 * token);
}

TEST(Cache, that_rounds_takes_half) {
  std::mt19937 random(1);
  for (int window : {0, 300}) {
    Batch b(Kind{"rounded", window, {.quant = {.k_bits = 16, .v_bits = 16}}}, 1);
    b.add({some(random, 200)});
    b.add({some(random, 1)});
    EXPECT_EQ(b.caches.nbytes(), 256u * kHeads * (1 + kNames) * 2);
  }
}

/// Who compares numbers, or asks for it, has none rounded.
TEST(Cache, rounds_unless_asked_not_to) {
  auto settings = cpu::Settings::read();
  for (bool deterministic : {false, true}) {
    settings.deterministic = deterministic;
    cpu::use(settings);
    bool rounds = ops::own_kernels() && !deterministic;
    for (auto [bits, bytes] : {std::pair{0, rounds ? 2u : 4u}, {16, 2u}, {32, 4u}}) {
      Batch b(Kind{"plain", 0, {.quant = {.k_bits = bits, .v_bits = bits}}}, 1);
      b.add({{1, 2}});
      EXPECT_EQ(b.caches.nbytes(), 256 * kHeads * (1 + kNames) * bytes) << bits;
    }
  }
  cpu::use(cpu::Settings::read());
}

TEST(Cache, that_took_over_packed_numbers_rounds_none_before_it_packs_them) {
  auto settings = cpu::Settings::read();
  settings.deterministic = false;
  cpu::use(settings);
  std::mt19937 random(1);
  Batch saved(Kind{"packed", 0, {.quant = {.v_bits = 8, .group_size = 64}}}, 1);
  saved.add({some(random, 300)});
  Batch b(kPlain, 1);
  b.caches.set_state(saved.caches.state());
  b.rows = saved.rows;
  b.add({some(random, 3)});
  for (auto& a : b.caches.arrays()) EXPECT_NE(a.dtype(), mx::float16);
  cpu::use(cpu::Settings::read());
}

TEST(Cache, that_packs_sees_a_long_row_whole_and_takes_less) {
  std::mt19937 random(1);
  for (int start : {0, 400}) {
    Kind kind{"packed", 0, {.quant = {.v_bits = 8, .group_size = 64, .start = start}}};
    Batch b(kind, 1);
    for (int n : {300, 1, 1, 250, 1, 256, 3, 200, 90, 1}) b.add({some(random, n)});
    auto fork = b.fork();
    b.add({some(random, 2)});
    fork.add({some(random, 5)});
    b.trim({260});
    b.add({some(random, 30)});
    b.add({some(random, 300)});
    std::uint64_t dense = b.rows[0].size() * kHeads * (1 + kNames) * sizeof(float);
    EXPECT_LT(b.caches.nbytes(), dense * 6 / 10);
  }
}

TEST(Cache, fork_shares_what_it_holds_and_takes_only_what_it_adds) {
  if (!ops::own_kernels()) GTEST_SKIP() << "MLX's kernels want all columns in one piece";
  std::mt19937 random(1);
  std::uint64_t block = 256 * kHeads * (1 + kNames) * sizeof(float);
  Batch b(kPlain, 1);
  b.add({some(random, 1000)});
  EXPECT_EQ(b.caches.nbytes(), 4 * block);
  Batch other = b.fork(), third = b.fork();
  std::vector<const Caches*> all{&b.caches, &other.caches, &third.caches};
  EXPECT_EQ(Caches::nbytes(all), 4 * block);
  other.add({some(random, 3)});
  b.add({some(random, 3)});
  b.add({some(random, 2)});
  EXPECT_EQ(Caches::nbytes(all), 6 * block);
  third.trim({700});
  third.add({some(random, 5)});
  other.add({some(random, 1)});
  EXPECT_EQ(Caches::nbytes(all), 7 * block);
  EXPECT_EQ(third.caches.nbytes(), 5 * block);
}

TEST(Cache, that_was_announced_or_trimmed_takes_what_it_uses_once_tightened) {
  std::mt19937 random(1);
  std::uint64_t token = kHeads * (1 + kNames) * sizeof(float);
  Batch b(kPlain, 1);
  b.caches.reserve(1000);
  b.add({some(random, 300)});
  EXPECT_EQ(b.caches.nbytes(), 1024 * token);
  Batch fork = b.fork(), third = b.fork();
  fork.trim({100});
  std::vector<Caches*> two = {&b.caches, &fork.caches};
  EXPECT_FALSE(Caches::tighten(two)) << "the third one has it, too";
  EXPECT_EQ(b.caches.nbytes(), 1024 * token);
  third.caches = Caches();
  EXPECT_TRUE(Caches::tighten(two));
  EXPECT_FALSE(Caches::tighten(two));
  EXPECT_EQ(Caches::nbytes({&b.caches, &fork.caches}), 300 * token) << "they share it as before";
  EXPECT_EQ(fork.caches.nbytes(), 300 * token);
  b.caches = Caches();
  EXPECT_TRUE(Caches::tighten({&fork.caches}));
  EXPECT_EQ(fork.caches.nbytes(), 200 * token);
  for (int n : {1, 30, 300}) fork.add({some(random, n)});
}

TEST(Cache, that_uses_nearly_all_is_not_copied) {
  std::mt19937 random(1);
  Batch b(kPlain, 1);
  b.add({some(random, 460)});
  EXPECT_FALSE(Caches::tighten({&b.caches}));
  b.trim({10});
  EXPECT_TRUE(Caches::tighten({&b.caches}));
  b.add({some(random, 3)});
}

TEST(Cache, that_packs_and_that_rotates_are_as_they_were_once_tightened) {
  std::mt19937 random(1);
  Kind kind{"packed", 0, {.quant = {.v_bits = 8, .group_size = 64, .start = 100}}};
  Batch b(kind, 1), ring(kRing, 1);
  for (int n : {300, 1, 250, 3}) b.add({some(random, n)});
  b.trim({200});
  auto before = b.caches.nbytes();
  EXPECT_TRUE(Caches::tighten({&b.caches}));
  EXPECT_LT(b.caches.nbytes(), before * 3 / 4);
  for (int n : {1, 30, 300}) b.add({some(random, n)});
  for (int n : {3, 1, 40}) {
    ring.add({some(random, n)});
    EXPECT_FALSE(Caches::tighten({&ring.caches}));
  }
}

/// A conversation: each turn goes on with a fork of what the last one left.
TEST(Cache, that_is_forked_again_and_again_takes_what_its_turns_announce) {
  if (!ops::own_kernels()) GTEST_SKIP() << "MLX's kernels want all columns in one piece";
  std::mt19937 random(1);
  std::uint64_t token = kHeads * (1 + kNames) * sizeof(float);
  Batch b(kPlain, 1);
  for (unsigned turn = 1; turn <= 40; ++turn) {
    Batch next = b.fork();
    next.caches.reserve(int(turn) * 100);
    next.add({some(random, 100)});
    b = std::move(next);
    EXPECT_EQ(b.caches.nbytes(), turn * 256 * token);
  }
  EXPECT_TRUE(Caches::tighten({&b.caches}));
  EXPECT_EQ(b.caches.nbytes(), 40 * 100 * token);
  b.add({some(random, 2)});
}

TEST(Cache, batch_of_several_caches_is_their_very_rows) {
  std::mt19937 random(1);
  for (auto* kind : {&kPlain, &kRing}) {
    Batch a(*kind, 1), b(*kind, 1), c(*kind, 1);
    a.add({some(random, 12)});
    b.add({some(random, 3)});
    c.add({some(random, 1)});
    Batch two = Batch::together({&a, &b}), others = Batch::together({&c, &a});
    two.add({some(random, 1), some(random, 1)});
    two.add({some(random, 4), some(random, 7)});
    Batch::share(two, {&a, &b});
    b.add({some(random, 2)});
    Batch::share(two, {&a, &b}, true);
    others.rows = {c.rows[0], a.rows[0]};
    others.add({some(random, 1), some(random, 9)});
  }
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
  auto pass = c.begin(kPlain.layout(), {.tokens = mx::zeros({1, 3}, mx::int32)});
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

TEST(Cache, fork_of_one_row_of_a_batch_keeps_no_states_of_the_others) {
  CacheLayout layout{{.kv = {}, .states = {{100}}}};
  std::vector<Caches> rows;
  for (int b = 0; b < 4; ++b) rows.emplace_back(layout, CacheOptions{});
  Caches batch = Caches::together({&rows[0], &rows[1], &rows[2], &rows[3]});
  auto pass = batch.begin(layout, {.tokens = mx::zeros({4, 1}, mx::int32)});
  *pass.layers[0].states[0] = mx::reshape(mx::arange(0, 400, mx::float32), {4, 100});
  batch.end(pass);
  mx::eval(batch.arrays());
  EXPECT_EQ(batch.nbytes(), 4 * 400u);
  EXPECT_EQ(rows[2].nbytes(), 4 * 400u) << "it is one array";
  auto kept = rows[2].fork();
  mx::eval(kept.arrays());
  EXPECT_EQ(kept.nbytes(), 400u);
  EXPECT_EQ(floats(*kept.state()[0].arrays[0])[5], 205);
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
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_THROW(b.caches.begin(kRing.layout(), bad[i]), InputError) << i;
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
  for (int rows : {1, 2})
    EXPECT_THROW(b.caches.begin(kRing.layout(), {.tokens = mx::zeros({rows, 4}, mx::int32)}),
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
  EXPECT_TRUE(message({.quant = {.k_bits = 7}}).starts_with("kv_bits:"));
  EXPECT_TRUE(message({.quant = {.k_bits = 16}}).starts_with("kv_bits:"));
  EXPECT_TRUE(message({.quant = {.k_bits = 8, .v_bits = 32}}).starts_with("kv_bits:"));
  EXPECT_EQ(message({.quant = {.k_bits = 16, .v_bits = 16}}), "");
  EXPECT_TRUE(message({.quant = {.v_bits = -1}}).starts_with("kv_bits:"));
  EXPECT_TRUE(message({.quant = {.v_bits = 8, .group_size = 48}}).starts_with("kv_group_size:"));
  EXPECT_TRUE(message({.quant = {.v_bits = 8, .start = -1}}).starts_with("quantized_kv_start:"));
  EXPECT_TRUE(message({.quant = {.k_bits = 8}}).starts_with("kv_group_size: does not divide"));
  EXPECT_EQ(message({.quant = {.v_bits = 8}}), "");
}

}  // namespace
}  // namespace mlxcpp::lm
