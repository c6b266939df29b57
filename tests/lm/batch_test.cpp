// What a batch does with its rows, on a model that says what it is told.
#include "mlxcpp/lm/batch.h"

#include "mlxcpp/lm/step.h"
#include "tests/lm/batch_support.h"

#include <gtest/gtest.h>

namespace mlxcpp::lm {
namespace {

using test::alone;
using test::saying;
using test::small_tokenizer;
using test::Taken;

const std::vector<TokenId> kPrompt = {5, 6, 7};

Batch batch_of(std::shared_ptr<const LanguageModel> model, const BatchOptions& options = {}) {
  return {std::move(model), small_tokenizer(), options};
}

/// Chunks of a fixed size.
BatchOptions in_chunks_of(int n) {
  return {.step = {.prefill_step_size = n, .prefill_seconds = 0}};
}

void expect_same(const test::Given& got, const Generated& want) {
  EXPECT_EQ(got.answer.text, want.text);
  EXPECT_EQ(got.answer.tokens, want.tokens);
  EXPECT_EQ(got.stop, want.stop);
}

TEST(Batch, each_row_ends_by_its_own_stops_and_limits) {
  auto model = saying("one STONE two STOP three");
  std::vector<GenerateOptions> options(5);
  options[1].stop = {"STOP"};
  options[2].max_tokens = 4;
  options[3].max_tokens = 0;
  options[4].stop = {"two", "ONE"};
  auto batch = batch_of(model);
  std::vector<RowId> ids;
  for (auto& o : options) ids.push_back(batch.add({kPrompt, o}));
  Taken taken;
  taken.finish(batch);
  for (size_t i = 0; i < options.size(); ++i) {
    SCOPED_TRACE(i);
    expect_same(taken.rows[ids[i]], alone(model, kPrompt, options[i]));
  }
  EXPECT_EQ(taken.rows[ids[3]].answer.tokens.size(), 0u);
}

TEST(Batch, ends_rows_at_the_context) {
  auto model = saying("abcdefghijkl");
  auto batch = batch_of(model, {.context_length = 7});
  RowId id = batch.add({kPrompt, {}});
  Taken taken;
  taken.finish(batch);
  expect_same(taken.rows[id], alone(model, kPrompt, {}, 7));
  EXPECT_EQ(taken.rows[id].stop, StopReason::context);
  EXPECT_THROW(batch.add({std::vector<TokenId>(8, 1), {}}), InputError);
}

TEST(Batch, computes_all_running_rows_in_one_pass) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model);
  for (int i = 0; i < 5; ++i) batch.add({kPrompt, {}});
  Taken taken;
  taken.step(batch);
  int before = model->passes;
  taken.step(batch);
  EXPECT_EQ(model->passes, before + 1);
  for (auto& [id, row] : taken.rows) EXPECT_EQ(row.answer.tokens.size(), 2u);
}

TEST(Batch, a_short_prompt_does_not_wait_for_a_long_one_whenever_it_comes) {
  for (int chunks = 1; chunks <= 8; ++chunks) {
    SCOPED_TRACE(chunks);
    auto model = saying("abcdefgh");
    auto batch = batch_of(model, in_chunks_of(4));
    RowId long_one = batch.add({std::vector<TokenId>(400, 3), {.max_tokens = 1}});
    Taken taken;
    for (int i = 0; i < chunks; ++i) taken.step(batch);
    RowId short_one = batch.add({kPrompt, {.max_tokens = 1}});
    taken.step(batch);
    EXPECT_TRUE(taken.rows[short_one].ended());
    EXPECT_EQ(taken.rows.count(long_one), 0u);
    taken.finish(batch);
    EXPECT_TRUE(taken.rows[long_one].ended());
    for (int n : model->pass_lengths) EXPECT_LE(n, 4);
  }
}

TEST(Batch, a_long_prompt_is_not_starved_by_short_ones) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model, in_chunks_of(4));
  RowId long_one = batch.add({std::vector<TokenId>(40, 3), {.max_tokens = 1}});
  Taken taken;
  int steps = 0;
  for (; !taken.rows.count(long_one) && steps < 100; ++steps) {
    batch.add({kPrompt, {.max_tokens = 1}});
    taken.step(batch);
  }
  EXPECT_LE(steps, 44) << "ten chunks, one of four";
}

TEST(Batch, generates_while_a_prompt_is_computed) {
  auto model = saying("abcdefghijklmnop");
  auto batch = batch_of(model, in_chunks_of(4));
  RowId running = batch.add({kPrompt, {}});
  Taken taken;
  taken.step(batch);
  batch.add({std::vector<TokenId>(400, 3), {}});
  for (int i = 0; i < 6; ++i) taken.step(batch);
  EXPECT_EQ(taken.rows[running].answer.tokens.size(), 7u);
}

TEST(Batch, short_prompts_share_a_pass) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model, in_chunks_of(16));
  for (int i = 0; i < 5; ++i) batch.add({kPrompt, {.max_tokens = 1}});
  Taken taken;
  taken.finish(batch);
  EXPECT_EQ(taken.rows.size(), 5u);
  EXPECT_EQ(model->passes, 1) << "five rows of three tokens";
}

TEST(Batch, no_more_rows_than_allowed_generate) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model, {.max_rows = 2});
  for (int i = 0; i < 5; ++i) batch.add({kPrompt, {}});
  Taken taken;
  while (!batch.idle()) {
    taken.step(batch);
    EXPECT_LE(batch.stats().generating, 2);
  }
  EXPECT_EQ(taken.rows.size(), 5u);
  for (auto& [id, row] : taken.rows) EXPECT_EQ(row.answer.text, "abcdefgh");
}

TEST(Batch, cancel_ends_a_row_wherever_it_is) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model, in_chunks_of(4));
  RowId runs = batch.add({kPrompt, {}});
  RowId stays = batch.add({kPrompt, {}});
  RowId begun = batch.add({std::vector<TokenId>(40, 3), {}});
  Taken taken;
  taken.step(batch), taken.step(batch), taken.step(batch);
  RowId waits = batch.add({std::vector<TokenId>(400, 3), {}});
  batch.cancel(runs), batch.cancel(begun), batch.cancel(waits), batch.cancel(12345);
  taken.step(batch);
  for (RowId id : {runs, begun, waits}) EXPECT_EQ(taken.rows[id].stop, StopReason::cancelled);
  taken.finish(batch);
  EXPECT_EQ(taken.rows[stays].answer.text, "abcdefgh");
  EXPECT_EQ(batch.stats().cache_bytes_reserved, 0u);
}

TEST(Batch, prefill_progress_can_cancel_and_its_errors_are_the_rows_own) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model, in_chunks_of(4));
  std::vector<int> seen;
  std::vector<TokenId> prompt(10, 3);
  RowId tells = batch.add({prompt, {.max_tokens = 1, .prefill_progress = [&](int done, int total) {
                                      EXPECT_EQ(total, 10);
                                      seen.push_back(done);
                                      return true;
                                    }}});
  RowId refuses = batch.add({prompt, {.prefill_progress = [](int done, int) { return done < 4; }}});
  RowId throws = batch.add(
      {prompt, {.prefill_progress = [](int, int) -> bool { throw InputError("planted"); }}});
  Taken taken;
  taken.finish(batch);
  EXPECT_EQ(seen, (std::vector<int>{0, 4, 8, 10}));
  EXPECT_EQ(taken.rows[tells].stop, StopReason::length);
  EXPECT_EQ(taken.rows[refuses].stop, StopReason::cancelled);
  ASSERT_TRUE(taken.rows[throws].failure);
  EXPECT_EQ(taken.rows[throws].failure->kind, ErrorKind::input);
  EXPECT_EQ(taken.rows[throws].failure->message, "planted");
}

TEST(Batch, a_paused_row_waits_and_goes_on) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model, {.max_rows = 1});
  RowId paused = batch.add({kPrompt, {}});
  Taken taken;
  taken.step(batch);
  batch.pause(paused, true);
  taken.finish(batch);
  EXPECT_EQ(taken.rows[paused].answer.tokens.size(), 1u);
  RowId other = batch.add({kPrompt, {}});  // its place is free
  taken.finish(batch);
  EXPECT_EQ(taken.rows[other].answer.text, "abcdefgh");
  EXPECT_EQ(batch.stats().paused, 1);
  batch.pause(paused, false);
  taken.finish(batch);
  EXPECT_EQ(taken.rows[paused].answer.text, "abcdefgh");
}

TEST(Batch, a_failed_pass_ends_its_rows_and_no_others) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model, in_chunks_of(4));
  RowId a = batch.add({kPrompt, {}}), b = batch.add({kPrompt, {}});
  Taken taken;
  taken.step(batch), taken.step(batch);
  RowId waits = batch.add({std::vector<TokenId>(9, 3), {.max_tokens = 2}});
  model->fail_at_pass = model->passes;  // of the rows that generate
  taken.finish(batch);
  for (RowId id : {a, b}) {
    ASSERT_TRUE(taken.rows[id].failure);
    EXPECT_EQ(taken.rows[id].failure->kind, ErrorKind::internal);
    EXPECT_EQ(taken.rows[id].failure->message, "planted");
    EXPECT_FALSE(taken.rows[id].stop);
  }
  EXPECT_EQ(taken.rows[waits].stop, StopReason::length);
  EXPECT_EQ(batch.stats().cache_bytes_reserved, 0u);
}

TEST(Batch, a_prompt_that_fails_leaves_the_others) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model);
  RowId runs = batch.add({kPrompt, {}});
  Taken taken;
  taken.step(batch);
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  RowId bad = batch.add({kPrompt, {}, cache});
  model->fail_at_pass = model->passes + 1;
  taken.finish(batch);
  EXPECT_TRUE(taken.rows[bad].failure);
  EXPECT_TRUE(cache->ids.empty());
  EXPECT_EQ(cache->caches.consumed(), std::vector<int>{0});
  EXPECT_EQ(taken.rows[runs].answer.text, "abcdefgh");
}

TEST(Batch, refuses_what_it_can_not_do_and_stays_as_it_was) {
  auto model = saying("abcdefgh");
  auto batch = batch_of(model);
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  RowId good = batch.add({kPrompt, {}, cache});
  EXPECT_THROW(batch.add({{}, {}}), InputError);
  EXPECT_THROW(batch.add({{TokenId(model->vocab_size())}, {}}), InputError);
  EXPECT_THROW(batch.add({kPrompt, {.max_tokens = -1}}), InputError);
  EXPECT_THROW(batch.add({kPrompt, {}, cache}), InputError) << "another row uses the cache";
  EXPECT_EQ(batch.stats().waiting, 1);
  Taken taken;
  taken.finish(batch);
  EXPECT_EQ(taken.rows.size(), 1u);
  EXPECT_EQ(taken.rows[good].answer.text, "abcdefgh");
}

TEST(Batch, options_out_of_range_are_refused_by_name) {
  auto refused = [](const BatchOptions& o) -> std::string {
    try {
      batch_of(saying("a"), o);
    } catch (const InputError& e) {
      return std::string(e.what()).substr(0, std::string(e.what()).find(':'));
    }
    return "accepted";
  };
  EXPECT_EQ(refused({.max_rows = 0}), "max_rows");
  EXPECT_EQ(refused({.context_length = -1}), "context_length");
  EXPECT_EQ(refused({.step = {.prefill_step_size = 0}}), "prefill_step_size");
}

TEST(Batch, uses_a_cache_and_leaves_what_the_row_consumed) {
  auto model = saying("abcdefgh");
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  auto batch = batch_of(model);
  Taken taken;
  batch.add({{5, 6, 9, 9}, {.max_tokens = 1}, cache});
  taken.finish(batch);
  RowId id = batch.add({kPrompt, {.max_tokens = 3}, cache});
  taken.finish(batch);
  EXPECT_EQ(taken.rows[id].answer.stats.cached_tokens, 2);
  EXPECT_EQ(taken.rows[id].answer.stats.prompt_tokens, 3);
  auto said = taken.rows[id].answer.tokens;
  EXPECT_EQ(cache->ids, (std::vector<TokenId>{5, 6, 7, said[0], said[1]}));
  EXPECT_EQ(cache->caches.consumed(), std::vector<int>{5});
}

TEST(Batch, gives_log_probabilities_to_the_rows_that_asked) {
  auto batch = batch_of(saying("ab"));
  RowId asks = batch.add({kPrompt, {.logprobs = true}}), does_not = batch.add({kPrompt, {}});
  Taken taken;
  taken.finish(batch);
  for (auto& p : taken.rows[asks].logprobs) EXPECT_NEAR(p.value(), 0, 1e-3);
  for (auto& p : taken.rows[does_not].logprobs) EXPECT_FALSE(p);
}

TEST(Batch, counts_what_it_did) {
  auto batch = batch_of(saying("abc"));
  RowId id = batch.add({kPrompt, {}});
  EXPECT_EQ(batch.stats().waiting, 1);
  Taken taken;
  taken.step(batch);
  EXPECT_EQ(batch.stats().generating, 1);
  taken.finish(batch);
  auto s = batch.stats();
  EXPECT_EQ(s.generating + s.waiting, 0);
  EXPECT_EQ(s.prompt_tokens, 3u);
  EXPECT_EQ(s.generated_tokens, 4u) << "the eos token, too";
  EXPECT_GT(taken.rows[id].answer.stats.prompt_seconds, 0);
}

}  // namespace
}  // namespace mlxcpp::lm
