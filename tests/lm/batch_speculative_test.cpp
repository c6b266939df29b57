// Rows that guess in a batch, beside rows that do not: each gives what it gives alone and plain.
#include "mlxcpp/lm/batch.h"
#include "mlxcpp/lm/step.h"
#include "tests/lm/batch_support.h"

#include <gtest/gtest.h>

#include <random>

namespace mlxcpp::lm {
namespace {

using test::Ids;
using test::prompt_ids;
using test::small_model;
using test::small_tokenizer;
using test::Taken;

std::shared_ptr<const LanguageModel> with_head(const std::string& name) {
  test::TempDir dir;
  test::write_model(dir.path(), MLXCPP_TEST_DATA "/mtp/" + name + ".safetensors");
  ModelTypeRegistry registry;
  add_models(registry);
  auto model = load(ModelConfiguration::from_directory(dir.path()), registry, {.mtp = true}).model;
  for (auto& [path, p] : model->manifest().params) mx::eval(*p);
  return model;
}

/// Prompts that repeat themselves, so that there is something to look up.
Ids prompt_of(int i) {
  Ids p = prompt_ids(i + 1, 3 + 4 * i);
  Ids twice = p;
  twice.insert(twice.end(), p.begin(), p.end());
  return twice;
}

struct Wanted {
  Ids prompt;
  GenerateOptions options;
  Ids tokens;  // alone, without guesses
};

class BatchSpeculative : public testing::TestWithParam<std::string> {
 protected:
  bool has_head = GetParam().starts_with("mtp/");
  std::shared_ptr<const LanguageModel> model =
      has_head ? with_head(GetParam().substr(4)) : small_model(GetParam());

  std::vector<Wanted> rows(bool drawn) const {
    std::vector<DraftKind> kinds = {
        DraftKind::lookup, DraftKind::none, DraftKind::model, DraftKind::lookup};
    if (has_head) kinds.push_back(DraftKind::mtp);
    std::vector<Wanted> all;
    for (int i = 0; i < 6; ++i) {
      Wanted w{prompt_of(i), {}, {}};
      w.options.max_tokens = 10 + 6 * i;
      w.options.ignore_eos = true;
      if (drawn) {
        w.options.seed = 40 + i;
        w.options.sample.temperature = 0.5f;
        w.options.sample.top_k = 4;
        if (i % 2) w.options.penalties.repetition_penalty = 1.2f;
      }
      w.tokens = test::alone(model, w.prompt, w.options).tokens;
      auto& s = w.options.speculation;
      s = {.kind = kinds[i % kinds.size()], .num_draft_tokens = 1 + i, .adaptive = false};
      if (drawn && s.kind != DraftKind::none) s.kind = DraftKind::lookup;  // what the seed repeats
      if (s.kind == DraftKind::model) s.draft = model;
      all.push_back(std::move(w));
    }
    return all;
  }

  void play(const std::vector<Wanted>& all, unsigned seed) const {
    std::mt19937 random(seed);
    BatchOptions o{.max_rows = 2 + int(random() % 4)};
    o.step = {.prefill_step_size = 3 + int(random() % 20), .prefill_seconds = 0};
    Batch batch(model, small_tokenizer(), o);
    Taken taken;
    std::map<RowId, const Wanted*> running;
    for (int joined = 0; joined < 8;) {
      if (random() % 2) {
        auto& w = all[random() % all.size()];
        running[batch.add({w.prompt, w.options})] = &w;
        ++joined;
      }
      if (!running.empty() && random() % 12 == 0)
        batch.cancel(std::next(running.begin(), long(random() % running.size()))->first);
      for (unsigned n = random() % 4; n-- > 0;) taken.step(batch);
    }
    taken.finish(batch);
    for (auto& [id, w] : running) {
      auto& given = taken.rows[id];
      ASSERT_FALSE(given.failure) << given.failure->message;
      SCOPED_TRACE(int(w->options.speculation.kind));
      if (w->options.sample.temperature == 0) {
        test::expect_as_alone(*model, w->prompt, given.answer.tokens, w->tokens);
        if (given.stop == StopReason::length)
          EXPECT_EQ(given.answer.tokens.size(), w->tokens.size());
        continue;
      }
      Ids want = w->tokens;
      if (given.stop == StopReason::cancelled) want.resize(given.answer.tokens.size());
      EXPECT_EQ(given.answer.tokens, want);
    }
  }
};

TEST_P(BatchSpeculative, greedy_rows_give_what_they_give_alone_without_guesses) {
  auto all = rows(false);
  for (unsigned seed = 0; seed < 5; ++seed) play(all, seed);
}

TEST_P(BatchSpeculative, drawn_rows_give_what_they_give_alone_without_guesses) {
  auto all = rows(true);
  for (unsigned seed = 0; seed < 5; ++seed) play(all, seed);
}

INSTANTIATE_TEST_SUITE_P(Model,
                         BatchSpeculative,
                         testing::Values("llama_plain",
                                         "gemma3_text_plain",
                                         "falcon_h1_plain",
                                         "mtp/qwen3_next",
                                         "mtp/deepseek_v3"),
                         [](auto& of) {
                           std::string name = of.param;
                           std::ranges::replace(name, '/', '_');
                           return name;
                         });

TEST(BatchSpeculation, counts_guesses_and_leaves_in_the_cache_what_was_given) {
  auto model = small_model("llama_plain");
  GenerateOptions o;
  o.max_tokens = 21;
  o.ignore_eos = true;
  o.speculation = {.kind = DraftKind::model, .num_draft_tokens = 4, .adaptive = false};
  o.speculation.draft = model;
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  Batch batch(model, small_tokenizer());
  auto prompt = prompt_of(2);
  RowId id = batch.add({prompt, o, cache});
  Taken taken;
  int steps = 0;
  for (; !batch.idle(); ++steps) taken.step(batch);
  auto& answer = taken.rows[id].answer;
  EXPECT_EQ(answer.tokens.size(), 21u);
  EXPECT_EQ(answer.stats.speculation.passes, 4);  // after the first token: twenty, five a pass
  EXPECT_EQ(answer.stats.speculation.accepted, 16);
  EXPECT_EQ(answer.stats.speculation.proposed, 16);
  Ids all = prompt;
  all.insert(all.end(), answer.tokens.begin(), answer.tokens.end() - 1);
  EXPECT_EQ(cache->ids, all);
  EXPECT_EQ(cache->caches.consumed()[0], int(all.size()));
}

TEST(BatchSpeculation, what_was_said_without_a_guess_is_guessed_when_it_is_said_again) {
  std::vector<int> script;
  for (int i = 0; i < 100; ++i) script.push_back(20 + (i + 18) % 20);  // behind three tokens: 20
  Batch batch(std::make_shared<test::ScriptModel>(script, 288), small_tokenizer());
  GenerateOptions o;
  o.max_tokens = 40;
  o.ignore_eos = true;
  o.speculation = {.kind = DraftKind::lookup, .num_draft_tokens = 4, .adaptive = false};
  RowId id = batch.add({{1, 2, 3}, o});
  Taken taken;
  taken.finish(batch);
  auto& answer = taken.rows[id].answer;
  ASSERT_EQ(answer.tokens.size(), 40u);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(answer.tokens[size_t(i)], TokenId(20 + i % 20));
  EXPECT_EQ(answer.stats.speculation.passes, 4);
  EXPECT_EQ(answer.stats.speculation.accepted, 14);
}

TEST(BatchSpeculation, tokens_behind_the_end_are_nobody_s) {
  auto model = small_model("llama_plain");
  GenerateOptions o;
  o.max_tokens = 30;
  auto prompt = prompt_of(1);
  Ids plain = test::alone(model, prompt, o).tokens;
  o.stop = {small_tokenizer().decode(std::vector<TokenId>{plain.at(6)})};
  auto want = test::alone(model, prompt, o);
  o.speculation = {.kind = DraftKind::model, .num_draft_tokens = 8, .adaptive = false};
  o.speculation.draft = model;
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  Batch batch(model, small_tokenizer());
  RowId id = batch.add({prompt, o, cache});
  Taken taken;
  taken.finish(batch);
  EXPECT_EQ(taken.rows[id].answer.tokens, want.tokens);
  EXPECT_EQ(taken.rows[id].answer.text, want.text);
  Ids all = prompt;
  all.insert(all.end(), want.tokens.begin(), want.tokens.end());
  ASSERT_LE(cache->ids.size(), all.size());
  EXPECT_TRUE(std::equal(cache->ids.begin(), cache->ids.end(), all.begin()));
}

TEST(BatchSpeculation, a_draft_that_can_not_be_is_refused_and_nothing_changes) {
  Batch batch(small_model("llama_plain"), small_tokenizer());
  GenerateOptions o;
  o.speculation.kind = DraftKind::mtp;
  EXPECT_THROW(batch.add({prompt_of(1), o}), UnsupportedError);
  o.speculation.kind = DraftKind::model;
  o.speculation.draft = std::make_shared<test::ScriptModel>(std::vector<int>(9, 1), 9);
  EXPECT_THROW(batch.add({prompt_of(1), o}), InputError);
  EXPECT_TRUE(batch.idle());
}

}  // namespace
}  // namespace mlxcpp::lm
