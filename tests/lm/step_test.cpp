#include "mlxcpp/lm/step.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/factory.h"
#include "tests/support/golden.h"
#include "tests/support/script_model.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <set>

namespace mlxcpp::lm {
namespace {

std::shared_ptr<const LanguageModel> tiny_llama(const std::string& row) {
  static test::TempDir dir;
  auto path = dir.path() / row;
  if (std::filesystem::create_directory(path))
    test::write_model(path, test::golden_files("llama_" + row + ".").at(0));
  ModelTypeRegistry registry;
  add_models(registry);
  return load(ModelConfiguration::from_directory(path), registry).model;
}

std::vector<TokenId> golden_ids(const std::string& row, const std::string& name) {
  auto ids = test::Golden::read(test::golden_files("llama_" + row + ".").at(0)).ids(name);
  return {ids.begin(), ids.end()};
}

struct Steps {
  std::shared_ptr<CachedPrompt> cache;
  std::vector<TokenId> tokens;
};
Steps run(const std::shared_ptr<const LanguageModel>& model,
          const std::vector<TokenId>& prompt,
          const GenerateOptions& options,
          int steps,
          std::uint64_t seed = 1) {
  Steps r{std::make_shared<CachedPrompt>(
              *model, CacheOptions{.max_kv_size = options.max_kv_size, .keep = options.keep}),
          {}};
  Stepper stepper(model, r.cache, options, seed);
  stepper.prefill(prompt);
  for (int i = 0; i < steps; ++i) r.tokens.push_back(stepper.next().id);
  return r;
}

GenerateOptions with_look_ahead(bool on) {
  GenerateOptions o;
  o.step.look_ahead = on;
  return o;
}

TEST(Stepper, gives_the_reference_continuation) {
  auto want = golden_ids("plain", "tokens");
  for (bool ahead : {false, true})
    EXPECT_EQ(
        run(tiny_llama("plain"), golden_ids("plain", "ids"), with_look_ahead(ahead), 8).tokens,
        want);
}

TEST(Stepper, looking_ahead_draws_the_same_tokens) {
  GenerateOptions a = with_look_ahead(false), b = with_look_ahead(true);
  a.sample.temperature = b.sample.temperature = 1.5f;
  auto model = tiny_llama("plain");
  auto ids = golden_ids("plain", "ids");
  EXPECT_EQ(run(model, ids, a, 20, 7).tokens, run(model, ids, b, 20, 7).tokens);
  EXPECT_NE(run(model, ids, a, 20, 7).tokens, run(model, ids, a, 20, 8).tokens);
}

TEST(Stepper, leaves_in_the_cache_exactly_what_its_ids_say) {
  auto model = tiny_llama("plain");
  auto prompt = golden_ids("plain", "ids");
  for (bool ahead : {false, true}) {
    Steps r = run(model, prompt, with_look_ahead(ahead), 5);
    auto want = prompt;
    want.insert(want.end(), r.tokens.begin(), r.tokens.end() - 1);
    EXPECT_EQ(r.cache->ids, want) << ahead;
    EXPECT_EQ(r.cache->caches.consumed(), std::vector<int>{int(want.size())}) << ahead;
    // What follows is what the reference says, so the contents are right too.
    Stepper on(model, r.cache, with_look_ahead(ahead), 1);
    on.prefill(std::vector<TokenId>{r.tokens.back()});
    EXPECT_EQ(on.next().id, golden_ids("plain", "tokens")[5]);
  }
}

TEST(Stepper, says_so_where_a_token_fed_ahead_can_not_be_taken_back) {
  GenerateOptions o = with_look_ahead(true);
  o.max_kv_size = 8;
  o.keep = 2;
  Steps r = run(tiny_llama("plain"), golden_ids("plain", "ids"), o, 5);
  EXPECT_FALSE(r.cache->caches.trimmable());
  EXPECT_EQ(r.cache->ids.back(), r.tokens.back());
  EXPECT_EQ(r.cache->caches.consumed()[0], int(r.cache->ids.size()));
}

TEST(Stepper, cancelled_prefill_keeps_whole_chunks) {
  auto model = std::make_shared<test::ScriptModel>(std::vector<int>(50, 1), 8);
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  GenerateOptions o;
  o.step.prefill_step_size = 4;
  o.step.prefill_seconds = 0;
  Stepper stepper(model, cache, o, 1);
  std::vector<int> seen;
  EXPECT_FALSE(stepper.prefill(std::vector<TokenId>(10, 3), [&](int done, int total) {
    EXPECT_EQ(total, 10);
    seen.push_back(done);
    return done < 8;
  }));
  EXPECT_EQ(seen, (std::vector<int>{0, 4, 8}));
  EXPECT_EQ(cache->ids, std::vector<TokenId>(8, 3));
  EXPECT_EQ(cache->caches.consumed()[0], 8);
}

TEST(Stepper, chunks_never_pass_the_step_size) {
  auto model = std::make_shared<test::ScriptModel>(std::vector<int>(500, 1), 8);
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  GenerateOptions o;
  o.step.prefill_step_size = 64;
  Stepper stepper(model, cache, o, 1);
  ASSERT_TRUE(stepper.prefill(std::vector<TokenId>(400, 3)));
  int total = 0;
  for (int n : model->pass_lengths) {
    EXPECT_LE(n, 64);
    total += n;
  }
  EXPECT_EQ(total, 400);
  EXPECT_LT(model->pass_lengths.size(), 20u) << "chunks grow while they are fast";
}

TEST(Stepper, log_probability_is_of_the_token_given) {
  auto golden = test::Golden::read(test::golden_files("llama_plain.").at(0));
  array rows = mx::contiguous(golden.at("step_logits"));
  rows.eval();
  auto model = tiny_llama("plain");
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  GenerateOptions o;
  o.logprobs = true;
  Stepper stepper(model, cache, o, 1);
  stepper.prefill(golden_ids("plain", "ids"));
  int V = rows.shape(1);
  for (int i = 0; i < 4; ++i) {
    Token t = stepper.next();
    const float* row = rows.data<float>() + i * V;
    double sum = 0;
    for (int v = 0; v < V; ++v) sum += std::exp(double(row[v]));
    EXPECT_NEAR(t.logprob.value(), row[t.id] - std::log(sum), 1e-4);
  }
}

TEST(Stepper, penalties_see_prompt_and_answer) {
  std::vector<int> script(40, 2);
  auto model = std::make_shared<test::ScriptModel>(script, 6);
  GenerateOptions o;
  o.penalties.presence_penalty = 100.f;
  o.penalties.presence_context_size = 0;
  auto tokens = run(model, {2, 0}, o, 4).tokens;  // 2 is in the prompt
  EXPECT_EQ(std::set<TokenId>(tokens.begin(), tokens.end()), (std::set<TokenId>{1, 3, 4, 5}));
}

TEST(Stepper, a_failed_pass_leaves_a_cache_that_can_be_used_again) {
  auto model = std::make_shared<test::ScriptModel>(std::vector<int>{1, 2, 3, 4, 5, 6, 7}, 8);
  auto cache = std::make_shared<CachedPrompt>(*model, CacheOptions{});
  {
    Stepper stepper(model, cache, with_look_ahead(false), 1);
    stepper.prefill(std::vector<TokenId>{0});
    EXPECT_EQ(stepper.next().id, 1u);
    model->fail_at_pass = model->passes;
    EXPECT_THROW(stepper.next(), std::runtime_error);
    EXPECT_TRUE(cache->ids.empty());
    EXPECT_EQ(cache->caches.consumed()[0], 0);
  }
  Stepper again(model, cache, with_look_ahead(false), 1);
  again.prefill(std::vector<TokenId>{0, 1});
  EXPECT_EQ(again.next().id, 2u);
}

TEST(StepOptions, out_of_range_is_named) {
  try {
    StepOptions{.prefill_step_size = 0}.validate();
    FAIL();
  } catch (const InputError& e) {
    EXPECT_STREQ(e.what(), "prefill_step_size: out of range; expected 1 or more, found 0");
  }
}

}  // namespace
}  // namespace mlxcpp::lm
