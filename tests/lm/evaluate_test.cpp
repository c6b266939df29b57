// Log-likelihoods against plain sums over the logits that mlx-lm and transformers give.
#include "mlxcpp/lm/evaluate.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/factory.h"
#include "tests/support/errors.h"
#include "tests/support/golden.h"
#include "tests/support/script_model.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

namespace mlxcpp::lm {
namespace {

using Ids = std::vector<TokenId>;
using test::message_of;

struct Expected {
  double logprob = 0;
  bool is_greedy = true;

  /// Adds what a row of logits says of the token that follows.
  void add(const float* logits, int vocab, TokenId token) {
    double sum = 0;
    int best = 0;
    for (int v = 0; v < vocab; ++v) {
      sum += std::exp(double(logits[v]));
      if (logits[v] > logits[best]) best = v;
    }
    logprob += double(logits[token]) - std::log(sum);
    is_greedy &= TokenId(best) == token;
  }
};

/// A golden model and the numbers of the reference for its prompt and the greedy answer to that.
class Evaluate : public testing::TestWithParam<const char*> {
 protected:
  Evaluate()
      : golden(test::Golden::read(
            test::golden_files(std::string(GetParam()) + ".safetensors").at(0))) {
    test::TempDir dir;
    test::write_model(dir.path(),
                      test::golden_files(std::string(GetParam()) + ".safetensors").at(0));
    ModelTypeRegistry registry;
    add_models(registry);
    model = load_model(ModelConfiguration::from_directory(dir.path()), registry);
    for (auto name : {"ids", "tokens"})
      for (int id : golden.ids(name)) all.push_back(TokenId(id));
    prompt = golden.ids("ids").size();
    array rows = mx::concatenate(
        {golden.at("logits"), mx::slice(golden.at("step_logits"), {1, 0}, {8, vocab()})}, 0);
    logits = mx::contiguous(rows);
    logits.eval();
  }

  int vocab() const { return golden.at("logits").shape(-1); }
  Ids part(std::size_t from, std::size_t to) const {
    return {all.begin() + std::ptrdiff_t(from), all.begin() + std::ptrdiff_t(to)};
  }
  /// Of tokens [from, to), with all before them as context.
  Expected expected(std::size_t from, std::size_t to) const {
    Expected e;
    for (std::size_t t = from; t < to; ++t)
      e.add(logits.data<float>() + (t - 1) * std::size_t(vocab()), vocab(), all[t]);
    return e;
  }

  test::Golden golden;
  std::shared_ptr<const LanguageModel> model;
  Ids all;
  std::size_t prompt = 0;
  array logits = array(0.f);
};

void expect_near(const LogLikelihood& found, const Expected& e, std::size_t tokens) {
  EXPECT_NEAR(found.logprob, e.logprob, 2e-3);
  EXPECT_EQ(found.is_greedy, e.is_greedy);
  EXPECT_EQ(found.tokens, tokens);
}

TEST_P(Evaluate, continuation_has_the_reference_likelihood) {
  auto found = loglikelihood(*model,
                             {{part(0, 1), part(1, 3)},
                              {part(0, prompt), part(prompt, all.size())},
                              {part(0, 9), part(9, 20)}},
                             {.batch_size = 2});
  expect_near(found[0], expected(1, 3), 2);
  expect_near(found[1], expected(prompt, all.size()), all.size() - prompt);
  EXPECT_TRUE(found[1].is_greedy);
  expect_near(found[2], expected(9, 20), 11);
}

TEST_P(Evaluate, continuations_of_one_context_are_as_each_alone) {
  Ids other = part(9, 14);
  other[2] = (other[2] + 1) % TokenId(vocab());
  std::vector<Continuation> requests{{part(0, 9), part(9, 10)},
                                     {part(0, 9), other},
                                     {part(0, 4), part(4, 5)},
                                     {part(0, 9), part(9, 20)},
                                     {part(0, 9), part(9, 13)}};
  auto found = loglikelihood(*model, requests, {.batch_size = 2, .prefill_step_size = 4});
  expect_near(found[0], expected(9, 10), 1);
  expect_near(found[2], expected(4, 5), 1);
  expect_near(found[3], expected(9, 20), 11);
  expect_near(found[4], expected(9, 13), 4);
  auto alone = loglikelihood(*model, {requests[1]});
  EXPECT_NEAR(found[1].logprob, alone[0].logprob, 2e-3);
  EXPECT_EQ(found[1].is_greedy, alone[0].is_greedy);
}

TEST_P(Evaluate, pieces_of_a_long_text_are_as_the_whole) {
  auto found = loglikelihood_rolling(
      *model, {part(1, all.size()), part(1, 6)}, all[0], {.batch_size = 2, .prefill_step_size = 5});
  expect_near(found[0], expected(1, all.size()), all.size() - 1);
  expect_near(found[1], expected(1, 6), 5);
}

TEST_P(Evaluate, perplexity_is_the_exponential_of_the_mean_loss) {
  // Two rows: their losses one by one give mean and deviation.
  std::vector<double> losses;
  for (std::size_t t = 1; t < all.size(); ++t) losses.push_back(-expected(t, t + 1).logprob);
  for (std::size_t t = 1; t < 7; ++t) losses.push_back(-expected(t, t + 1).logprob);
  double mean = 0, squares = 0;
  for (double x : losses) mean += x / double(losses.size());
  for (double x : losses) squares += (x - mean) * (x - mean);
  double deviation = std::sqrt(squares / double(losses.size() - 1));
  auto found = perplexity(*model, {all, part(0, 7)}, {.batch_size = 3});
  EXPECT_EQ(found.tokens, losses.size());
  EXPECT_NEAR(found.mean_loss, mean, 1e-3);
  EXPECT_NEAR(found.value / std::exp(mean), 1, 1e-3);
  double error = std::exp(mean) * deviation / std::sqrt(double(losses.size()));
  EXPECT_NEAR(found.standard_error.value() / error, 1, 1e-3);
}

INSTANTIATE_TEST_SUITE_P(Model,
                         Evaluate,
                         testing::Values("llama_plain",
                                         "gemma3_text_plain",
                                         "falcon_h1_plain",
                                         "qwen3_next_plain",
                                         "deepseek_v3_plain"),
                         [](auto& row) { return std::string(row.param); });

/// After n tokens it says n (for certain), whatever they are.
test::ScriptModel counter() { return {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, 16}; }

TEST(LogLikelihoods, compute_a_shared_context_once) {
  auto model = counter();
  auto found = loglikelihood(
      model, {{{0, 1, 2}, {3}}, {{0, 1, 2}, {3, 4}}, {{0, 1, 2}, {9}}, {{0, 1, 2}, {3, 9, 5}}});
  EXPECT_EQ(model.pass_lengths, (std::vector<int>{3, 2}));
  std::vector<bool> greedy;
  for (auto& f : found) greedy.push_back(f.is_greedy);
  EXPECT_EQ(greedy, (std::vector<bool>{true, true, false, false}));
  EXPECT_NEAR(found[1].logprob, 0, 1e-5);
  EXPECT_NEAR(found[2].logprob, -50, 1e-3);
  EXPECT_NEAR(found[3].logprob, -50, 1e-3);
}

TEST(LogLikelihoods, batch_requests_with_other_contexts) {
  auto model = counter();
  loglikelihood(model, {{{0}, {1}}, {{0, 1, 2}, {3}}, {{0, 1}, {2, 3, 4}}}, {.batch_size = 2});
  EXPECT_EQ(model.pass_lengths, (std::vector<int>{4, 1}));
}

TEST(LogLikelihoods, lose_the_start_of_a_context_beyond_the_longest_length) {
  // What is left of the context counts from one again: the model is wrong at all but its own count.
  auto model = counter();
  auto found = loglikelihood(model, {{{5, 6, 7, 8}, {3, 4}}}, {.max_length = 3});
  EXPECT_EQ(model.pass_lengths, (std::vector<int>{3}));
  EXPECT_NEAR(found[0].logprob, -100, 1e-3);  // it says 2, 3
  found = loglikelihood(model, {{{5, 6, 7, 8}, {2, 3}}}, {.max_length = 3});
  EXPECT_NEAR(found[0].logprob, 0, 1e-5);
}

TEST(LogLikelihoods, roll_over_windows_as_the_harness_cuts_them) {
  // lm-evaluation-harness, loglikelihood_rolling: ten tokens behind EOT, windows of 4:
  //   EOT 0 1 2 -> 0 1 2 3 | 3 4 5 6 -> 4 5 6 7 | 5 6 7 8 -> 8 9
  // The model says 1 2 3 4 in each window.
  auto model = counter();
  auto sum = [&](Ids document) {
    return loglikelihood_rolling(model, {document}, TokenId{15}, {.max_length = 4})[0];
  };
  Ids document{1, 2, 3, 4, 1, 2, 3, 4, 3, 4};
  auto found = sum(document);
  EXPECT_NEAR(found.logprob, 0, 1e-5);
  EXPECT_EQ(found.tokens, 10u);
  EXPECT_TRUE(found.is_greedy);
  for (std::size_t i = 0; i < document.size(); ++i) {
    Ids wrong = document;
    wrong[i] = 14;
    EXPECT_NEAR(sum(wrong).logprob, -50, 1e-3) << i;
  }
}

TEST(LogLikelihoods, without_a_prefix_leave_out_the_first_token) {
  auto model = counter();
  auto found = loglikelihood_rolling(model, {{9, 1, 2}, {}, {9}}, {});
  EXPECT_EQ(found[0].tokens, 2u);
  EXPECT_NEAR(found[0].logprob, 0, 1e-5);
  EXPECT_EQ(found[1].tokens, 0u);
  EXPECT_EQ(found[2].tokens, 0u);
}

TEST(LogLikelihoods, tell_of_progress_and_end_where_that_throws) {
  auto model = counter();
  std::vector<std::size_t> done;
  auto tell = [&](std::size_t n, std::size_t total) {
    EXPECT_EQ(total, 4u);
    done.push_back(n);
  };
  loglikelihood(model, {{{0, 1}, {2, 3}}, {{0}, {1, 2}}}, {.batch_size = 1, .progress = tell});
  EXPECT_EQ(done, (std::vector<std::size_t>{0, 2, 4}));
  int passes = model.passes;
  auto stop = [](std::size_t n, std::size_t) {
    if (n > 0) throw std::runtime_error("stop");
  };
  EXPECT_THROW(
      loglikelihood(model, {{{0, 1}, {2, 3}}, {{0}, {1, 2}}}, {.batch_size = 1, .progress = stop}),
      std::runtime_error);
  EXPECT_EQ(model.passes, passes + 1);
}

TEST(LogLikelihoods, refuse_what_they_can_not_score) {
  auto model = counter();
  auto refusal = [&](std::vector<Continuation> requests, EvaluateOptions options = {}) {
    return message_of<InputError>([&] { loglikelihood(model, requests, options); });
  };
  EXPECT_EQ(refusal({{{0}, {1}}, {{}, {1}}}),
            "request 1.context: empty; expected at least one token");
  EXPECT_EQ(refusal({{{0}, {}}}), "request 0.continuation: empty; expected at least one token");
  EXPECT_EQ(refusal({{{0}, {1, 16}}}),
            "request 0.continuation: beyond the vocabulary; expected ids below 16, found 16");
  EXPECT_EQ(refusal({{{0}, {1, 2, 3}}}, {.max_length = 2}),
            "request 0.continuation: too long; expected at most 2 tokens (max_length), found 3");
  EXPECT_EQ(refusal({}, {.batch_size = 0}),
            "batch_size: bad value; expected a number of at least 1, found 0");
  EXPECT_EQ(message_of<InputError>([&] {
              perplexity(model, {{1, 2}, {1}});
            }),
            "row 1: too short; expected at least 2 tokens, found 1");
  EXPECT_EQ(message_of<InputError>([&] { perplexity(model, {}); }),
            "rows: empty; expected at least one row");
  EXPECT_EQ(model.passes, 0);
}

TEST(Perplexities, of_one_token_have_no_standard_error) {
  auto model = counter();
  EXPECT_EQ(perplexity(model, {{0, 1}}).standard_error, std::nullopt);
}

}  // namespace
}  // namespace mlxcpp::lm
