// Answers with guesses are the answers without them: each way of guessing, each kind of memory.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/detail/feed.h"
#include "mlxcpp/lm/detail/guessing.h"
#include "mlxcpp/lm/draft_model.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/step.h"
#include "tests/lm/liar.h"
#include "tests/lm/mixed_model.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/script_model.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <cmath>
#include <map>

namespace mlxcpp::lm {
namespace {

using Model = std::shared_ptr<const LanguageModel>;

Model tiny(const std::string& row) {
  static test::TempDir dir;
  static std::map<std::string, Model> made;
  if (auto it = made.find(row); it != made.end()) return it->second;
  auto path = dir.path() / row;
  std::filesystem::create_directory(path);
  test::write_model(path, test::golden_files(row + ".").at(0));
  ModelTypeRegistry registry;
  add_models(registry);
  return made[row] = load(ModelConfiguration::from_directory(path), registry).model;
}

/// One of each kind of memory: keys and values, windows, states, latents, all at once.
Model named(const std::string& name) {
  static Model mixed = test::make_mixed_model();
  return name == "mixed" ? mixed : tiny(name);
}

struct Course {
  std::vector<TokenId> tokens;
  std::vector<float> logprobs;
  std::shared_ptr<CachedPrompt> cache;
  SpeculationStats stats;
};

Course run(const Model& model, const GenerateOptions& o, int steps, std::uint64_t seed = 5) {
  Course r;
  r.cache = std::make_shared<CachedPrompt>(
      *model, CacheOptions{.max_kv_size = o.max_kv_size, .keep = o.keep});
  Stepper stepper(model, r.cache, o, seed);
  std::vector<TokenId> prompt = {3, 7, 11, 3, 7, 5, 3, 7, 11, 3, 7};
  stepper.prefill(prompt);
  for (int i = 0; i < steps; ++i) {
    Token t = stepper.next(steps - i);
    r.tokens.push_back(t.id);
    if (t.logprob) r.logprobs.push_back(*t.logprob);
  }
  stepper.finish();
  r.stats = stepper.speculation();
  return r;
}

GenerateOptions guessing(DraftKind kind, GenerateOptions o = {}) {
  o.step.look_ahead = false;
  o.speculation = {.kind = kind, .num_draft_tokens = 4, .adaptive = false, .draft = {}};
  return o;
}

class EveryMemory : public testing::TestWithParam<std::string> {};

TEST_P(EveryMemory, greedy_answers_are_the_same_with_guesses_from_the_text) {
  Model model = named(GetParam());
  Course plain = run(model, {}, 40), guessed = run(model, guessing(DraftKind::lookup), 40);
  EXPECT_EQ(guessed.tokens, plain.tokens);
  EXPECT_EQ(guessed.cache->caches.consumed()[0], int(guessed.cache->ids.size()));
}

TEST_P(EveryMemory, greedy_answers_are_the_same_with_guesses_of_itself_which_are_all_right) {
  Model model = named(GetParam());
  GenerateOptions o = guessing(DraftKind::model);
  o.speculation.draft = model;
  Course plain = run(model, {}, 40), guessed = run(model, o, 40);
  EXPECT_EQ(guessed.tokens, plain.tokens);
  EXPECT_EQ(guessed.stats.accepted, guessed.stats.proposed);
  EXPECT_LE(guessed.stats.passes, 8);
}

TEST_P(EveryMemory, drawn_answers_are_the_same_with_guesses_from_the_text) {
  Model model = named(GetParam());
  GenerateOptions o;
  o.sample = {.temperature = 0.3f, .top_k = 3};
  o.penalties.repetition_penalty = 1.1f;
  Course plain = run(model, o, 40), guessed = run(model, guessing(DraftKind::lookup, o), 40);
  EXPECT_EQ(guessed.tokens, plain.tokens);
}

TEST_P(EveryMemory, wrong_guesses_at_any_place_leave_no_trace) {
  Model model = named(GetParam());
  auto want = run(model, {}, 60).tokens;
  std::vector<TokenId> prompt = {3, 7, 11, 3, 7, 5, 3, 7, 11, 3, 7};
  for (std::uint64_t seed : {1, 2, 3}) {
    CachedPrompt cache(*model, {});
    detail::Guessing guessing(
        std::make_unique<Speculation>(
            std::make_unique<test::Liar>(want, prompt.size(), model->vocab_size(), seed),
            5,
            /*adaptive=*/false),
        1);
    SampleRow greedy({}, 1, model->vocab_size());
    auto pass = [&](std::span<const TokenId> ids) {
      array h = model->hidden(
          {.tokens = mx::astype(array(ids.data(), {1, int(ids.size())}, mx::uint32), mx::int32)},
          cache.caches);
      auto all = cache.caches.arrays();
      all.push_back(h);
      mx::eval(all);
      return h;
    };
    auto last = [](const array& x, int n) {
      return mx::slice(x, {0, x.shape(1) - n, 0}, x.shape());
    };
    array h = pass(prompt);
    cache.ids = prompt;
    guessing.consumed(prompt, h);
    std::vector<TokenId> got = {want[0]};
    guessing.chosen(want[0]);
    PassTimes times;
    while (got.size() < want.size()) {
      auto fed = guessing.propose(cache.caches, int(want.size() - got.size()), times);
      h = pass(fed);
      array logits = mx::squeeze(model->logits(last(h, guessing.asked())), 0);
      for (auto& token : guessing.accept(logits, greedy)) got.push_back(token.id);
      guessing.settle(cache, h);
      ASSERT_EQ(cache.caches.consumed()[0], int(cache.ids.size()));
      ASSERT_EQ(cache.ids.size() + guessing.unfed(), prompt.size() + got.size());
    }
    EXPECT_EQ(got, want) << seed;
    EXPECT_GT(guessing.stats().accepted, 10);
    EXPECT_GT(guessing.stats().proposed, guessing.stats().accepted);
  }
}

/// Guesses nothing, and keeps what it is told of.
class Listener : public Drafter {
 public:
  Listener(bool wants, std::optional<array>* heard) : wants_(wants), heard_(heard) {}
  void consumed(std::span<const TokenId>, const std::optional<array>& hidden) override {
    *heard_ = hidden;
  }
  bool wants_states() const override { return wants_; }
  std::optional<int> sort_of(TokenId) override { return {}; }
  Proposal propose(TokenId, int) override { return {}; }

 private:
  bool wants_;
  std::optional<array>* heard_;
};

TEST(Guessing, is_given_states_where_it_wants_them) {
  std::vector<TokenId> prompt = {3, 7, 11, 3, 7, 5, 3, 7};
  for (bool wants : {true, false}) {
    test::ScriptModel model({1, 2, 3}, 16);
    std::optional<array> heard;
    CachedPrompt cache(model, {});
    detail::Guessing guessing(
        std::make_unique<Speculation>(std::make_unique<Listener>(wants, &heard), 5, false), 1);
    SampleRow row({}, 1, model.vocab_size());
    detail::Feed feed{&cache, prompt, &row, {}, &guessing};
    detail::feed(model, {&feed, 1});
    ASSERT_EQ(model.needed.size(), 1u);
    EXPECT_EQ(model.needed[0], std::vector<int>{wants ? int(prompt.size()) : 1});
    ASSERT_EQ(heard.has_value(), wants);
    if (heard) EXPECT_EQ(heard->shape(), (mx::Shape{1, int(prompt.size()), 16}));
  }
}

TEST(Guessing, from_the_text_has_no_states_computed_of_a_prompt) {
  auto model = std::make_shared<test::ScriptModel>(std::vector<int>{1, 2, 3}, 16);
  GenerateOptions o = guessing(DraftKind::lookup);
  o.step.prefill_step_size = 5;
  run(model, o, 2);
  ASSERT_GE(model->needed.size(), 3u);
  EXPECT_EQ(model->needed[0], std::vector<int>{0});
  EXPECT_EQ(model->needed[1], std::vector<int>{0});
  EXPECT_EQ(model->needed[2], std::vector<int>{1});
}

INSTANTIATE_TEST_SUITE_P(Model,
                         EveryMemory,
                         testing::Values("llama_plain",
                                         "gemma3_text_plain",
                                         "qwen3_next_plain",
                                         "deepseek_v3_plain",
                                         "falcon_h1_plain",
                                         "mamba2_plain",
                                         "mixed"),
                         [](auto& of) { return of.param; });

TEST(Guessing, a_worse_draft_model_changes_nothing_but_the_time) {
  Model model = tiny("llama_plain"), draft = tiny("llama_rope_theta");
  for (auto& other : {draft, tiny("qwen3_next_plain")}) {
    if (other->vocab_size() != model->vocab_size()) continue;
    GenerateOptions o = guessing(DraftKind::model);
    o.speculation.draft = other;
    Course plain = run(model, {}, 60), guessed = run(model, o, 60);
    EXPECT_EQ(guessed.tokens, plain.tokens);
    EXPECT_LT(guessed.stats.accepted, guessed.stats.proposed);
  }
}

TEST(Guessing, rings_that_have_forgotten_are_wound_back) {
  Model model = tiny("llama_plain");
  GenerateOptions o;
  o.max_kv_size = 12;
  Course plain = run(model, o, 60), guessed = run(model, guessing(DraftKind::lookup, o), 60);
  EXPECT_EQ(guessed.tokens, plain.tokens);
  EXPECT_LT(guessed.stats.accepted, guessed.stats.proposed);
}

TEST(Guessing, gives_the_log_probabilities_of_what_it_gives) {
  GenerateOptions o;
  o.logprobs = true;
  Course plain = run(tiny("llama_plain"), o, 30),
         guessed = run(tiny("llama_plain"), guessing(DraftKind::lookup, o), 30);
  ASSERT_EQ(guessed.logprobs.size(), plain.logprobs.size());
  for (std::size_t i = 0; i < plain.logprobs.size(); ++i)
    EXPECT_NEAR(guessed.logprobs[i], plain.logprobs[i], 1e-4);
}

TEST(Guessing, the_cache_holds_what_was_given_out) {
  Model model = tiny("llama_plain");
  for (int steps : {1, 2, 3, 5, 8}) {
    Course r = run(model, guessing(DraftKind::lookup), steps);
    auto& ids = r.cache->ids;
    EXPECT_EQ(r.cache->caches.consumed()[0], int(ids.size()));
    std::vector<TokenId> all = {3, 7, 11, 3, 7, 5, 3, 7, 11, 3, 7};
    all.insert(all.end(), r.tokens.begin(), r.tokens.end());
    ASSERT_LE(ids.size(), all.size());
    EXPECT_TRUE(std::equal(ids.begin(), ids.end(), all.begin()));
    EXPECT_GE(ids.size() + 1, all.size());
  }
}

TEST(Guessing, drawn_answers_are_distributed_as_without_a_draft_model) {
  Model model = tiny("llama_plain");
  GenerateOptions plain, o;
  plain.sample = {.temperature = 0.7f, .top_k = 3};
  o = guessing(DraftKind::model, plain);
  o.speculation.draft = tiny("llama_rope_theta");
  o.speculation.num_draft_tokens = 2;
  std::map<std::vector<TokenId>, int> a, b;
  constexpr int kTrials = 500;
  for (int seed = 0; seed < kTrials; ++seed) {
    ++a[run(model, plain, 3, seed).tokens];
    ++b[run(model, o, 3, seed).tokens];
  }
  double sum = 0;
  int cells = 0;
  for (auto& [what, n] : a) {
    int m = b.count(what) ? b[what] : 0;
    if (n + m < 10) continue;
    sum += double(n - m) * (n - m) / (n + m);
    ++cells;
  }
  EXPECT_GT(cells, 8);
  EXPECT_LT(sum, cells + 4 * std::sqrt(2.0 * cells));
}

TEST(Guessing, a_draft_model_of_another_vocabulary_is_refused) {
  auto model = std::make_shared<test::ScriptModel>(std::vector<int>(10, 1), 8);
  GenerateOptions o = guessing(DraftKind::model);
  o.speculation.draft = std::make_shared<test::ScriptModel>(std::vector<int>(10, 1), 9);
  EXPECT_EQ(test::message_of<InputError>([&] { run(model, o, 1); }),
            "draft: another vocabulary than the model's; expected 8 tokens, found 9");
}

TEST(Guessing, a_guess_of_no_or_too_many_tokens_is_refused) {
  GenerateOptions o = guessing(DraftKind::lookup);
  for (int n : {0, -1, 33}) {
    o.speculation.num_draft_tokens = n;
    EXPECT_EQ(test::message_of<InputError>([&] { o.validate(100); }),
              "num_draft_tokens: out of range; expected 1 to 32, found " + std::to_string(n));
  }
}

TEST(Guessing, what_was_said_by_steps_without_a_guess_is_guessed_when_it_is_said_again) {
  std::vector<int> script;
  for (int i = 0; i < 100; ++i) script.push_back(20 + (i + 10) % 20);  // behind eleven tokens: 20
  Course r = run(
      std::make_shared<test::ScriptModel>(script, 50), guessing(DraftKind::lookup), /*steps=*/40);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(r.tokens[size_t(i)], TokenId(20 + i % 20));
  // Two of the second twenty show that it is the same; then there are 4 and one more in each pass.
  EXPECT_EQ(r.stats.passes, 4);
  EXPECT_EQ(r.stats.accepted, 14);
  EXPECT_EQ(r.cache->ids.size(), 11u + 39u);
}

TEST(Guessing, a_pass_that_fails_leaves_an_empty_cache) {
  auto model = std::make_shared<test::ScriptModel>(std::vector<int>(100, 1), 8);
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  Stepper stepper(model, cache, guessing(DraftKind::lookup), 1);
  stepper.prefill(std::vector<TokenId>{1, 1, 1, 1});
  stepper.next();
  model->fail_at_pass = model->passes;
  EXPECT_THROW(stepper.next(), std::runtime_error);
  EXPECT_TRUE(cache->ids.empty());
  EXPECT_EQ(cache->caches.consumed()[0], 0);
}

}  // namespace
}  // namespace mlxcpp::lm
