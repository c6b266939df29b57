// Any row in any batch gives what it gives alone, on small models of several kinds.
#include "mlxcpp/lm/batch.h"
#include "mlxcpp/lm/step.h"
#include "tests/lm/batch_support.h"

#include <mlx/memory.h>

#include <gtest/gtest.h>

#include <random>

namespace mlxcpp::lm {
namespace {

using test::expect_as_alone;
using test::Ids;
using test::prompt_ids;
using test::small_model;
using test::small_tokenizer;
using test::Taken;

constexpr int kPrompts = 6, kAnswer = 24;

struct Reference {
  Ids prompt;
  GenerateOptions options;
  Generated answer;
};

class BatchRows : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const LanguageModel> model = small_model(GetParam());

  /// Prompts of several lengths, each with its own options, and what they give alone.
  std::vector<Reference> references(bool sampled) const {
    std::vector<Reference> all;
    for (int i = 0; i < kPrompts; ++i) {
      Reference r{prompt_ids(i + 1, 1 + i * i * 2), {}, {}};
      r.options.max_tokens = 4 + (kAnswer * (i + 1)) / kPrompts;
      r.options.ignore_eos = true;
      if (sampled) {
        r.options.seed = std::uint64_t(i + 7);
        r.options.sample.temperature = 0.4f + 0.2f * float(i);
        r.options.sample.top_p = i % 2 ? 0.9f : 1;
        if (i % 3 == 1) r.options.penalties.repetition_penalty = 1.3f;
      }
      r.answer = test::alone(model, r.prompt, r.options);
      all.push_back(std::move(r));
    }
    return all;
  }

  /// Rows join at random steps, some are cancelled, chunks are of random size.
  void play(const std::vector<Reference>& all, unsigned seed, bool exact) const {
    std::mt19937 random(seed);
    BatchOptions o{.max_rows = 1 + int(random() % 5)};
    o.step = {.prefill_step_size = 1 + int(random() % 40), .prefill_seconds = 0};
    Batch batch(model, small_tokenizer(), o);
    Taken taken;
    std::map<RowId, const Reference*> running;
    for (int joined = 0; joined < 8;) {
      if (random() % 2) {
        auto& r = all[random() % all.size()];
        running[batch.add({r.prompt, r.options})] = &r;
        ++joined;
      }
      if (!running.empty() && random() % 12 == 0)
        batch.cancel(std::next(running.begin(), long(random() % running.size()))->first);
      for (unsigned n = random() % 4; n-- > 0;) taken.step(batch);
    }
    taken.finish(batch);
    ASSERT_EQ(taken.rows.size(), running.size());
    for (auto& [id, r] : running) {
      auto& given = taken.rows[id];
      ASSERT_FALSE(given.failure) << given.failure->message;
      if (exact) {
        Ids want = r->answer.tokens;
        if (given.stop == StopReason::cancelled) want.resize(given.answer.tokens.size());
        EXPECT_EQ(given.answer.tokens, want);
      } else {
        expect_as_alone(*model, r->prompt, given.answer.tokens, r->answer.tokens);
      }
      if (given.stop != StopReason::cancelled) {
        EXPECT_EQ(given.answer.tokens.size(), r->answer.tokens.size());
      }
    }
    EXPECT_EQ(batch.stats().cache_bytes_reserved, 0u);
  }
};

TEST_P(BatchRows, give_what_they_give_alone_whoever_joins_and_leaves) {
  auto all = references(false);
  for (unsigned seed = 0; seed < 40 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    play(all, seed, false);
  }
}

TEST_P(BatchRows, repeat_their_seeds_in_any_batch) {
  auto all = references(true);
  for (unsigned seed = 100; seed < 110 && !HasFailure(); ++seed) {
    SCOPED_TRACE(seed);
    play(all, seed, true);
  }
}

TEST_P(BatchRows, with_rings_and_without_stand_beside_each_other) {
  std::vector<Reference> all;
  for (int i = 0; i < 4; ++i) {
    Reference r{prompt_ids(i + 3, 5 + 6 * i), {}, {}};
    r.options.max_tokens = 20;
    r.options.ignore_eos = true;
    r.options.max_kv_size = i % 2 ? 12 : 0;
    r.answer = test::alone(model, r.prompt, r.options);
    all.push_back(std::move(r));
  }
  Batch batch(model, small_tokenizer());
  std::vector<RowId> ids;
  for (auto& r : all) ids.push_back(batch.add({r.prompt, r.options}));
  Taken taken;
  taken.finish(batch);
  for (size_t i = 0; i < all.size(); ++i) {
    ASSERT_EQ(taken.rows[ids[i]].answer.tokens.size(), 20u);
    if (all[i].options.max_kv_size)
      EXPECT_EQ(taken.rows[ids[i]].answer.tokens, all[i].answer.tokens);
    else
      expect_as_alone(
          *model, all[i].prompt, taken.rows[ids[i]].answer.tokens, all[i].answer.tokens);
  }
}

TEST_P(BatchRows, begin_with_what_earlier_ones_left_in_a_store) {
  auto prompts = std::make_shared<PromptCache>();
  Batch batch(model, small_tokenizer(), {.prompts = prompts, .prompts_name = "m"});
  GenerateOptions o{.max_tokens = 6, .ignore_eos = true};
  Ids turn = prompt_ids(3, 40);
  Taken taken;
  auto answer = [&](const Ids& prompt, std::vector<PromptCut> cuts) -> test::Given& {
    RowId id = batch.add({.prompt = prompt, .options = o, .cuts = std::move(cuts)});
    taken.finish(batch);
    expect_as_alone(
        *model, prompt, taken.rows[id].answer.tokens, test::alone(model, prompt, o).tokens);
    return taken.rows[id];
  };
  auto& first = answer(turn, {{11, PromptKind::system}, {30, PromptKind::user}});
  EXPECT_EQ(first.answer.stats.cached_tokens, 0);
  Ids next = turn;  // the next turn: all that was said, and more
  auto& said = first.answer.tokens;
  next.insert(next.end(), said.begin(), said.end());
  next.push_back(5);
  EXPECT_EQ(answer(next, {}).answer.stats.cached_tokens, 45) << "the last token was not consumed";
  Ids other(turn.begin(), turn.begin() + 30);  // another question
  other.insert(other.end(), {9, 9, 9});
  EXPECT_EQ(answer(other, {}).answer.stats.cached_tokens, 30);
  Ids system(turn.begin(), turn.begin() + 11);
  system.insert(system.end(), {8, 8});
  EXPECT_EQ(answer(system, {}).answer.stats.cached_tokens, 11);
  EXPECT_GT(prompts->nbytes(), 0u);
}

TEST_P(BatchRows, that_come_at_once_compute_what_they_begin_with_once) {
  constexpr int kRows = 6, kShared = 30, kOwn = 5;
  Batch batch(model,
              small_tokenizer(),
              {.step = {.prefill_step_size = 16, .prefill_seconds = 0},
               .prompts = std::make_shared<PromptCache>(),
               .prompts_name = "m"});
  GenerateOptions o{.max_tokens = 6, .ignore_eos = true};
  std::map<RowId, Ids> prompts;
  for (int i = 0; i < kRows; ++i) {
    Ids prompt = prompt_ids(3, kShared);
    prompt.push_back(TokenId(70 + i));  // from here on they differ
    for (auto id : prompt_ids(i, kOwn - 1)) prompt.push_back(id);
    Request request{.prompt = prompt, .options = o, .cuts = {{kShared, PromptKind::system}}};
    prompts[batch.add(std::move(request))] = prompt;
  }
  Taken taken;
  taken.finish(batch);
  EXPECT_EQ(batch.stats().prompt_tokens, std::uint64_t(kShared + kRows * kOwn));
  int fresh = 0;
  for (auto& [id, prompt] : prompts) {
    auto& row = taken.rows[id];
    EXPECT_EQ(row.answer.tokens, test::alone(model, prompt, o).tokens);
    int cached = row.answer.stats.cached_tokens;
    EXPECT_TRUE(cached == 0 || cached == kShared) << cached;
    fresh += cached == 0;
  }
  EXPECT_EQ(fresh, 1);
}

TEST_P(BatchRows, do_not_wait_for_one_that_is_gone_or_has_another_beginning) {
  auto prompts = std::make_shared<PromptCache>();
  Batch batch(model,
              small_tokenizer(),
              {.step = {.prefill_step_size = 4, .prefill_seconds = 0},
               .prompts = prompts,
               .prompts_name = "m"});
  auto add = [&](int seed, int kv_size = 0) {
    GenerateOptions o{.max_tokens = 2, .ignore_eos = true};
    o.max_kv_size = kv_size;
    Ids prompt = prompt_ids(seed, 20);
    prompt.push_back(TokenId(batch.stats().waiting));
    return batch.add({.prompt = prompt, .options = o, .cuts = {{20, PromptKind::system}}});
  };
  RowId first = add(3), same = add(3), other = add(4), another_kind = add(3, 12);
  Taken taken;
  for (int i = 0; i < 3; ++i) taken.step(batch);
  batch.cancel(first);
  taken.finish(batch);
  EXPECT_EQ(taken.rows[first].stop, StopReason::cancelled);
  for (RowId id : {same, other, another_kind}) {
    EXPECT_EQ(taken.rows[id].stop, StopReason::length);
    EXPECT_EQ(taken.rows[id].answer.tokens.size(), 2u);
  }
  EXPECT_EQ(taken.rows[other].answer.stats.cached_tokens, 0);
  EXPECT_EQ(taken.rows[another_kind].answer.stats.cached_tokens, 0);
}

INSTANTIATE_TEST_SUITE_P(OfEveryKind,
                         BatchRows,
                         testing::Values("llama_plain",
                                         "llama_sliding",
                                         "gemma3_text_plain",
                                         "deepseek_v3_plain",
                                         "qwen3_next_plain"),
                         [](auto& param) { return param.param; });

class BatchMemory : public testing::Test {
 protected:
  std::shared_ptr<const LanguageModel> model = small_model("llama_plain");
  /// A limit that leaves room for this many rows of up to 256 tokens.
  std::uint64_t room_for(int rows) const {
    Batch small(model, small_tokenizer(), {.memory_limit = std::uint64_t(1) << 30});
    small.add({prompt_ids(1, 3), {.max_tokens = 20}});
    auto fixed = (std::uint64_t(1) << 30) - small.stats().cache_bytes_limit;
    small.step();
    return fixed + std::uint64_t(rows) * small.stats().cache_bytes_reserved;
  }
  Batch batch(int rows) const {
    return {model, small_tokenizer(), {.memory_limit = room_for(rows)}};
  }
};

TEST_F(BatchMemory, that_does_not_even_hold_the_model_is_refused) {
  try {
    Batch(model, small_tokenizer(), {.memory_limit = model->nbytes()});
    FAIL();
  } catch (const CapacityError& e) {
    EXPECT_EQ(std::string(e.what()).find("memory_limit: leaves nothing for caches"), 0u);
  }
}

TEST_F(BatchMemory, rows_wait_for_it) {
  auto b = batch(2);
  std::vector<RowId> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(b.add({prompt_ids(i, 3), {.max_tokens = 20}}));
  Taken taken;
  while (!b.idle()) {
    taken.step(b);
    EXPECT_LE(b.stats().generating, 2);
    EXPECT_LE(b.stats().cache_bytes_reserved, b.stats().cache_bytes_limit);
  }
  for (RowId id : ids) EXPECT_EQ(taken.rows[id].stop, StopReason::length);
  EXPECT_EQ(b.stats().cache_bytes_reserved, 0u);
}

TEST_F(BatchMemory, of_earlier_prompts_gives_way_to_rows) {
  auto prompts = std::make_shared<PromptCache>();
  Batch b(model,
          small_tokenizer(),
          {.memory_limit = room_for(2), .prompts = prompts, .prompts_name = "m"});
  Taken taken;
  for (int i = 0; i < 8; ++i) {
    b.add({prompt_ids(i, 3), {.max_tokens = 20, .ignore_eos = true}});
    while (!b.idle()) {
      taken.step(b);
      auto s = b.stats();
      if (s.generating) EXPECT_LE(prompts->nbytes(), s.cache_bytes_limit - s.cache_bytes_reserved);
    }
  }
  for (auto& [id, row] : taken.rows) EXPECT_EQ(row.stop, StopReason::length);
}

/// MLX's own count of what lives is the bytes of the tokens that entries hold, and nothing else:
/// not what answers without a limit announced, nor long prompts for the few tokens that others
/// begin with.
TEST_F(BatchMemory, of_many_answers_is_that_of_the_tokens_which_the_store_holds) {
  constexpr int kEntries = 4, kSystem = 11, kAnswers = 200;
  std::uint64_t token = 0;  // bytes of one
  for (auto& layer : model->layout())
    for (auto& kv : layer.kv) token += 4 * std::uint64_t(kv.heads * (kv.k_dim + kv.v_dim));
  auto prompts = std::make_shared<PromptCache>(PromptCacheOptions{.max_entries = kEntries});
  Batch b(model, small_tokenizer(), {.prompts = prompts, .prompts_name = "m"});
  auto before = mx::get_active_memory();
  std::vector<std::uint64_t> own;  // tokens of each answer behind the system prompt
  for (int i = 0; i < kAnswers; ++i) {
    Ids prompt = prompt_ids(1, kSystem);
    prompt.push_back(TokenId(i % 100 + 20));  // from here on they differ
    for (auto id : prompt_ids(i, i == 3 ? 700 : 20 + i % 40)) prompt.push_back(id);
    GenerateOptions o{.ignore_eos = true};
    if (i % 3) o.max_tokens = 3 + i % 5;
    RowId id = b.add({.prompt = prompt, .options = o, .cuts = {{kSystem, PromptKind::system}}});
    Taken taken;
    for (int step = 0; !b.idle(); ++step) {
      taken.step(b);
      if (step == 8) b.cancel(id);
    }
    ASSERT_TRUE(taken.rows[id].stop);
    own.push_back(prompt.size() - kSystem + taken.rows[id].answer.tokens.size() - 1);
    std::uint64_t held = kSystem;
    for (int k = 0; k < kEntries - 1 && k <= i; ++k) held += own[std::size_t(i - k)];
    ASSERT_EQ(mx::get_active_memory() - before, held * token) << "after answer " << i;
    ASSERT_EQ(prompts->nbytes(), held * token);
  }
}

TEST_F(BatchMemory, a_request_that_never_fits_is_refused_at_once_with_the_numbers) {
  auto b = batch(2);
  try {
    b.add({prompt_ids(1, 3), {.max_tokens = 1000}});
    FAIL();
  } catch (const CapacityError& e) {
    std::string message = e.what();
    EXPECT_NE(message.find("more memory than there is for caches"), message.npos);
    EXPECT_NE(message.find("for 1003 tokens"), message.npos) << message;
  }
  EXPECT_TRUE(b.idle());
}

TEST_F(BatchMemory, a_large_request_is_not_overtaken_for_ever) {
  auto b = batch(4);
  for (int i = 0; i < 4; ++i) b.add({prompt_ids(i, 3), {.max_tokens = 5 + i}});
  RowId large = b.add({prompt_ids(9, 3), {.max_tokens = 800}});  // all four places
  Taken taken;
  int added = 0;
  for (; !taken.rows.count(large) && added < 200; ++added) {
    b.add({prompt_ids(added, 2), {.max_tokens = 6}});
    taken.step(b);
  }
  EXPECT_LT(added, 100);
  taken.finish(b);
  for (auto& [id, row] : taken.rows) EXPECT_TRUE(row.stop);
}

TEST_F(BatchMemory, an_answer_without_a_limit_gets_it_in_parts_and_ends_when_there_is_none) {
  auto b = batch(4);
  GenerateOptions endless{.ignore_eos = true};
  RowId id = b.add({prompt_ids(1, 3), endless});
  Taken taken;
  taken.finish(b);
  ASSERT_TRUE(taken.rows[id].failure);
  EXPECT_EQ(taken.rows[id].failure->kind, ErrorKind::capacity);
  // All four places: 1024 columns, a fifth of which may be what storage grows by.
  EXPECT_EQ(taken.rows[id].answer.tokens.size(), 819u - 2);
  EXPECT_EQ(b.stats().cache_bytes_reserved, 0u);
}

}  // namespace
}  // namespace mlxcpp::lm
