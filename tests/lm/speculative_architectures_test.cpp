// Guesses change nothing, whoever makes them, on a model of every architecture.  The reference is
// the same prompt answered alone and without guesses.
#include "mlxcpp/lm/detail/feed.h"
#include "mlxcpp/lm/draft_model.h"
#include "tests/lm/batch_support.h"
#include "tests/lm/liar.h"
#include "tests/lm/plays.h"
#include "tests/lm/small_model.h"

#include <gtest/gtest.h>

#include <random>

namespace mlxcpp::lm {
namespace {

using Tokens = std::vector<TokenId>;

/// What is to be answered, and the answer without guesses.
struct Task {
  Tokens prompt, answer;
};

/// One row that guesses, as whoever runs passes sees it.
struct GuessingRow {
  const Task& task;
  CachedPrompt cache;
  SampleRow sampling;
  detail::Guessing guessing;
  Tokens got = {};

  GuessingRow(const LanguageModel& model, const Task& t, const GenerateOptions& o, unsigned seed)
      : task(t),
        cache(model, cache_options(o)),
        sampling(o, seed, model.vocab_size()),
        guessing(
            std::make_unique<Speculation>(
                std::make_unique<test::Liar>(t.answer, t.prompt.size(), model.vocab_size(), seed),
                5,
                /*adaptive=*/false),
            seed) {
    sampling.begin(t.prompt);
  }
  int left() const { return int(task.answer.size() - got.size()); }
};

class GuessedArchitectures : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<const LanguageModel> model = test::small_model(GetParam());

  /// Beginnings of different lengths that repeat themselves, so that there is something to look up.
  std::vector<Task> tasks(const GenerateOptions& options) const {
    std::vector<Task> all;
    for (int i : {0, 1}) {
      Tokens part = test::prompt_ids(2 + 3 * i, 5 + 4 * i), prompt;
      for (int again = 0; again < 2 + i; ++again)
        prompt.insert(prompt.end(), part.begin(), part.end());
      auto o = options;
      o.max_tokens = 30 + 8 * i;
      all.push_back({prompt, test::alone(model, prompt, o).tokens});
      EXPECT_EQ(int(all.back().answer.size()), *o.max_tokens);
    }
    return all;
  }

  /// All rows in one pass after the other, until each has as many tokens as its answer.
  void run(std::vector<std::unique_ptr<GuessingRow>>& rows) const {
    PassTimes times;
    std::vector<detail::Feed> feeds;
    for (auto& r : rows)
      feeds.push_back({&r->cache, r->task.prompt, &r->sampling, {}, &r->guessing});
    auto first = detail::feed(*model, feeds);
    for (size_t i = 0; i < rows.size(); ++i) rows[i]->got = {first[i].at(0).id};
    for (int pass = 0;; ++pass) {
      ASSERT_LT(pass, 200) << "it hangs";
      std::vector<GuessingRow*> going;
      feeds.clear();
      for (auto& r : rows) {
        if (r->left() == 0) continue;
        going.push_back(r.get());
        feeds.push_back({&r->cache,
                         r->guessing.propose(r->cache.caches, r->left(), times),
                         &r->sampling,
                         {},
                         &r->guessing});
      }
      if (going.empty()) return;
      auto tokens = detail::feed(*model, feeds);
      for (size_t i = 0; i < going.size(); ++i)
        for (auto& token : tokens[i]) going[i]->got.push_back(token.id);
    }
  }

  /// What the row's cache holds is its beginning, as if nothing had ever been guessed.
  void expect_no_trace(GuessingRow& r) const {
    Tokens all = r.task.prompt;
    all.insert(all.end(), r.got.begin(), r.got.end());
    auto& ids = r.cache.ids;
    ASSERT_LE(ids.size(), all.size());
    EXPECT_TRUE(std::equal(ids.begin(), ids.end(), all.begin()));
    EXPECT_EQ(ids.size() + size_t(r.guessing.unfed()), all.size());
    EXPECT_EQ(r.cache.caches.consumed(), Ids{int(ids.size())});
    if (r.cache.options.max_kv_size) return;  // alone, all keys are seen
    Ids whole(ids.begin(), ids.end());
    for (int t : lm::ids(7, 6)) whole.push_back(t);
    EXPECT_LT(rest_difference(*model, r.cache.caches, whole, int(ids.size())), kTolerance);
  }

  void play(const std::vector<Task>& all,
            const std::vector<int>& which,
            const GenerateOptions& options,
            unsigned seed) const {
    std::vector<std::unique_ptr<GuessingRow>> rows;
    for (int i : which)
      rows.push_back(
          std::make_unique<GuessingRow>(*model, all[size_t(i)], options, 100 * seed + unsigned(i)));
    ASSERT_NO_FATAL_FAILURE(run(rows));
    for (auto& r : rows) {
      ASSERT_EQ(r->got, r->task.answer);
      EXPECT_GT(r->guessing.stats().accepted, 5);
      EXPECT_GT(r->guessing.stats().proposed, r->guessing.stats().accepted);
      expect_no_trace(*r);
    }
  }

  /// Greedy; the same without going in circles; with rings around all keys.
  static std::vector<GenerateOptions> ways() {
    GenerateOptions plain{.ignore_eos = true}, wandering = plain, ring = plain;
    wandering.penalties.repetition_penalty = 1.5f;
    ring.max_kv_size = 13, ring.keep = 2;
    return {plain, wandering, ring};
  }
};

TEST_P(GuessedArchitectures, answer_as_without_guesses_that_are_right_or_wrong_at_any_place) {
  int way = 0;
  for (auto& options : ways()) {
    SCOPED_TRACE(++way);
    auto all = tasks(options);
    for (unsigned seed : {1, 2}) {
      SCOPED_TRACE(seed);
      for (auto& which : std::vector<std::vector<int>>{{0}, {1}, {0, 1}})
        play(all, which, options, seed);
    }
  }
}

TEST_P(GuessedArchitectures, answer_as_without_guesses_that_were_looked_up) {
  int proposed = 0;
  auto repeating = ways()[0];  // five tokens only: of more than 26 some pair comes again
  for (int id = 1; id <= 5; ++id) repeating.penalties.logit_bias.emplace_back(id, 50.f);
  auto all_ways = ways();
  all_ways.push_back(repeating);
  for (auto& options : all_ways) {
    auto all = tasks(options);
    auto looking = [&](const Task& t) {
      auto o = options;
      o.max_tokens = int(t.answer.size());
      o.speculation = {.kind = DraftKind::lookup, .num_draft_tokens = 5, .adaptive = false};
      return o;
    };
    Batch batch(model, test::small_tokenizer());
    std::vector<RowId> rows;
    for (auto& t : all) {
      EXPECT_EQ(test::alone(model, t.prompt, looking(t)).tokens, t.answer) << "one row";
      rows.push_back(batch.add({t.prompt, looking(t)}));
    }
    test::Taken taken;
    taken.finish(batch);
    for (size_t i = 0; i < all.size(); ++i) {
      auto& given = taken.rows[rows[i]];
      EXPECT_FALSE(given.failure) << given.failure->message;
      EXPECT_EQ(given.answer.tokens, all[i].answer) << "beside another";
      proposed += given.answer.stats.speculation.proposed;
    }
  }
  EXPECT_GT(proposed, 0);
}

/// As a draft: what it proposes does not depend on what it proposed before.
TEST_P(GuessedArchitectures, propose_what_they_would_if_nothing_had_been_refused) {
  std::mt19937 random(5);
  ModelDraft draft(model, {});
  Tokens text = test::prompt_ids(4, 12);
  draft.consumed(text, {});
  auto next = TokenId(5);
  for (int turn = 0; turn < 8; ++turn) {
    auto guess = draft.propose(next, 4).ids;
    ASSERT_EQ(guess.size(), 4u);
    ModelDraft fresh(model, {});
    fresh.consumed(text, {});
    EXPECT_EQ(fresh.propose(next, 4).ids, guess) << "turn " << turn;
    EXPECT_LE(draft.nbytes(), draft.most_bytes(int(text.size()) + 4));
    Tokens kept = {next};
    kept.insert(kept.end(), guess.begin(), guess.begin() + long(random() % 5));
    draft.consumed(kept, {});
    text.insert(text.end(), kept.begin(), kept.end());
    next = TokenId(random() % 60 + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(,
                         GuessedArchitectures,
                         testing::ValuesIn(test::architectures()),
                         [](auto& name) { return name.param; });

}  // namespace
}  // namespace mlxcpp::lm
