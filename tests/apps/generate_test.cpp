// `mlxcpp generate` on a tiny model, and on the default one where it is there.
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/hub.h"
#include "tests/apps/run.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace mlxcpp::test {
namespace {

struct Answer {
  std::string text, stop, finish_reason;
  std::vector<int> tokens;
  std::vector<float> logprobs;
  void fields(io::Fields& f) {
    f.need("text", &text).need("tokens", &tokens).need("stop", &stop);
    f.need("finish_reason", &finish_reason).may("logprobs", &logprobs);
    for (auto* known : {"stats", "stop_string"}) f.ignore(known);
  }
};

Args tiny(const Args& more) {
  Args args = {"generate", "--model", tiny_model(), "--prompt", "hello"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

io::Fields json(const Args& more) {
  Args args = tiny(more);
  args.push_back("--json");
  Ran ran = run(args);
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  return io::Fields::parse(ran.out, "answer");
}
Answer answer(const Args& more) { return io::read<Answer>(json(more)); }

TEST(Generate, writes_the_answer_and_nothing_else_to_standard_output) {
  Answer a = answer({"--ignore-eos", "-m", "12"});
  Ran ran = run(tiny({"--ignore-eos", "-m", "12"}));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, a.text.ends_with('\n') ? a.text : a.text + "\n");
  EXPECT_EQ(ran.err, "") << "standard error is no terminal here";
}

TEST(Generate, says_why_the_answer_ended) {
  Answer a = answer({"--ignore-eos", "-m", "12"});
  EXPECT_EQ(a.tokens.size(), 12u);
  EXPECT_EQ(a.stop, "length");
  EXPECT_EQ(a.finish_reason, "length");
  // The first token is declared to be the end.
  Answer b = answer({"--extra-eos-token", std::to_string(a.tokens.at(0))});
  EXPECT_EQ(b.tokens, std::vector<int>{a.tokens.at(0)});
  EXPECT_EQ(b.stop, "eos");
  EXPECT_EQ(b.finish_reason, "stop");
}

TEST(Generate, runs_to_the_contexts_end_and_says_so) {
  auto fields = json({"--ignore-eos"});
  Answer a = io::read<Answer>(fields);
  EXPECT_EQ(a.stop, "context");
  int prompt = 0;
  auto stats = fields.need_object("stats");
  stats.need("prompt_tokens", &prompt);
  EXPECT_GE(prompt + int(a.tokens.size()), 128);
  EXPECT_LE(prompt + int(a.tokens.size()), 129);
  EXPECT_NE(run(tiny({"--ignore-eos"})).err.find("context is full"), std::string::npos);
}

TEST(Generate, ends_before_a_stop_string) {
  Answer a = answer({"--ignore-eos", "-m", "40"});
  ASSERT_GT(a.text.size(), 8u);
  // Any two bytes of the answer will do, if they begin and end a character.
  std::size_t at = 1;
  auto plain = [&](std::size_t i) {
    return static_cast<unsigned char>(a.text[i]) < 0x80 && a.text[i] > ' ';
  };
  while (at + 2 < a.text.size() && !(plain(at) && plain(at + 1))) ++at;
  std::string stop = a.text.substr(at, 2);
  Answer b = answer({"--ignore-eos", "-m", "40", "--stop", "never so", "--stop", stop});
  EXPECT_EQ(b.text, a.text.substr(0, a.text.find(stop)));
  EXPECT_EQ(b.stop, "stop");
}

TEST(Generate, repeats_itself_with_a_seed) {
  Args with_seed = {"--temp", "1.5", "--ignore-eos", "-m", "24", "--seed", "7"};
  Answer a = answer(with_seed);
  EXPECT_EQ(a.tokens, answer(with_seed).tokens);
  with_seed.back() = "8";
  EXPECT_NE(a.tokens, answer(with_seed).tokens);
}

TEST(Generate, obeys_a_logit_bias) {
  Answer a = answer({"--logit-bias", "119=1000", "-m", "3"});
  EXPECT_EQ(a.tokens, (std::vector<int>{119, 119, 119}));
  EXPECT_EQ(a.text, "ttt");
}

TEST(Generate, gives_log_probabilities_where_asked) {
  Answer a = answer({"--logprobs", "-m", "5", "--ignore-eos"});
  ASSERT_EQ(a.logprobs.size(), 5u);
  for (float p : a.logprobs) EXPECT_LE(p, 0);
  EXPECT_EQ(run(tiny({"--logprobs"})).code, 2);
}

TEST(Generate, gives_the_most_likely_tokens_where_asked) {
  Answer plain = answer({"--logprobs", "-m", "4", "--ignore-eos"});
  std::string out = run(tiny({"--top-logprobs", "3", "-m", "4", "--ignore-eos", "--json"})).out;
  auto at = out.find("\"top_logprobs\": [[{\"token\": " + std::to_string(plain.tokens[0]));
  EXPECT_NE(at, out.npos) << "the greedy token comes first: " << out;
  auto count = [&](const std::string& part) {
    int n = 0;
    for (auto i = out.find(part); i != out.npos; i = out.find(part, i + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("{\"token\": "), 12);
  EXPECT_EQ(count("\"logprobs\": ["), 1) << "of the tokens, too";
  EXPECT_EQ(run(tiny({"--top-logprobs", "3"})).code, 2);
}

TEST(Generate, goes_on_past_an_end_that_comes_too_early) {
  Answer a = answer({"--ignore-eos", "-m", "3"});
  std::string end = std::to_string(a.tokens.at(0));
  Answer b = answer({"--extra-eos-token", end, "--min-tokens", "5", "-m", "20"});
  ASSERT_GE(b.tokens.size(), 6u);
  for (int i = 0; i < 5; ++i) EXPECT_NE(b.tokens[i], a.tokens[0]);
}

TEST(Generate, repeats_no_pair_of_tokens_under_a_strict_dry) {
  Args args = {"--ignore-eos", "-m", "60", "--dry-multiplier", "1000", "--dry-allowed-length", "1"};
  std::set<std::pair<int, int>> pairs;
  auto repeats = [&](const Args& more) {
    Args all = args;
    all.insert(all.end(), more.begin(), more.end());
    auto tokens = answer(all).tokens;
    pairs.clear();
    for (std::size_t i = 1; i < tokens.size(); ++i) pairs.insert({tokens[i - 1], tokens[i]});
    return tokens.size() - 1 - pairs.size();
  };
  EXPECT_EQ(repeats({"--dry-sequence-breaker", "none"}), 0u);
  EXPECT_GT(repeats({"--dry-penalty-last-n", "0"}), 0u) << "the model does repeat itself";
}

TEST(Generate, takes_every_filter_and_the_penalties_contexts) {
  Args seeded = {"--temp", "1.5", "--ignore-eos", "-m", "30", "--seed", "7"};
  auto with = [&](const Args& more) {
    Args all = seeded;
    all.insert(all.end(), more.begin(), more.end());
    return answer(all).tokens;
  };
  auto plain = with({});
  for (const Args& more : {Args{"--top-nsigma", "0.3"},
                           Args{"--typical", "0.1"},
                           Args{"--mirostat", "2", "--mirostat-ent", "0.5", "--mirostat-lr", "1"},
                           Args{"--presence-penalty", "9", "--presence-context-size", "0"},
                           Args{"--frequency-penalty", "9", "--frequency-context-size", "0"},
                           Args{"--repetition-penalty", "9", "--penalty-context", "3"}})
    EXPECT_NE(with(more), plain) << more[0];
  Args presence = {"--presence-penalty", "1000", "--presence-context-size", "0"};
  Args none = presence;
  none.push_back("--no-penalties-see-prompt");
  EXPECT_NE(with(presence), with(none)) << "the prompt's tokens count";
  EXPECT_EQ(with({"--presence-penalty", "0", "--penalty-context", "5"}), plain);
}

int prompt_tokens(const Args& args, const std::string& input = {}) {
  Ran ran = run(args, {.input = input});
  EXPECT_EQ(ran.code, 0) << ran.err;
  auto stats = io::Fields::parse(ran.out).need_object("stats");
  int n = 0;
  stats.need("prompt_tokens", &n);
  return n;
}

TEST(Generate, renders_the_chat_template_unless_told_not_to) {
  auto count =
      [](const Args& more, const std::string& prompt = "the world", const std::string& input = {}) {
        Args args = {"generate", "--model", tiny_model(), "-p", prompt, "-m", "1", "--json"};
        args.insert(args.end(), more.begin(), more.end());
        return prompt_tokens(args, input);
      };
  EXPECT_EQ(count({"--ignore-chat-template"}), 3);
  EXPECT_EQ(count({"--ignore-chat-template"}, "-", "the world"), 3);
  EXPECT_EQ(count({"--ignore-chat-template"}, "\\n\\n"), 1) << "two new lines are one token";
  EXPECT_EQ(count({"--ignore-chat-template"}, "-", "\\n"), 2) << "standard input is taken as it is";
  int plain = count({});
  EXPECT_GT(plain, 3);
  EXPECT_GT(count({"--system-prompt", "be good"}), plain);
  EXPECT_GT(count({"--prefill-response", "the world"}), 3);
  EXPECT_EQ(run(tiny({"--ignore-chat-template", "--system-prompt", "x"})).code, 2);
}

TEST(Generate, splits_the_time_to_the_first_token) {
  auto time = json({"-m", "2"}).need_object("stats").need_object("time_to_first_token");
  double start = -1, load = -1, prefill = -1, total = -1;
  time.need("start", &start).need("load", &load).need("prefill", &prefill).need("total", &total);
  EXPECT_GE(start, 0);
  EXPECT_GT(load, 0);
  EXPECT_GT(prefill, 0);
  EXPECT_NEAR(total, start + load + prefill, 1e-9);
}

TEST(Generate, tells_its_figures_on_standard_error_when_asked) {
  Ran ran = run(tiny({"-m", "2", "--verbose"}));
  for (auto* part : {"prompt: ", "answer: 2 tokens", "first token: ", "peak memory: "})
    EXPECT_NE(ran.err.find(part), std::string::npos) << part << "\n" << ran.err;
}

TEST(Generate, answers_the_same_with_guesses) {
  Args plain = {"--ignore-eos", "-m", "40", "--always-draft"};
  auto want = answer(plain).tokens;
  for (Args how : {Args{"--prompt-lookup"}, Args{"--draft-model", tiny_model().string()}}) {
    how.insert(how.end(), plain.begin(), plain.end());
    EXPECT_EQ(answer(how).tokens, want) << how[0];
    how.push_back("--verbose");
    Ran ran = run(tiny(how));
    EXPECT_NE(ran.err.find("drafts: "), std::string::npos) << ran.err;
  }
}

TEST(Generate, counts_what_was_guessed) {
  auto figures = json({"--ignore-eos",
                       "-m",
                       "21",
                       "--always-draft",
                       "--num-draft-tokens",
                       "4",
                       "--draft-model",
                       tiny_model().string()});
  auto stats = figures.object("stats");
  ASSERT_TRUE(stats);
  auto counts = stats->object("speculation");
  ASSERT_TRUE(counts);
  int passes = 0, proposed = 0, accepted = 0;
  counts->need("passes", &passes).need("proposed", &proposed).need("accepted", &accepted);
  EXPECT_EQ(passes, 4);  // after the first token: twenty, five a pass
  EXPECT_EQ(proposed, 16);
  EXPECT_EQ(accepted, 16);
}

TEST(DefaultModel, names_paris) {
  if (!std::filesystem::exists(io::default_model_path()))
    GTEST_SKIP() << "the default model is not at " << io::default_model_path();
  Ran ran = run({"generate", "--prompt", "What is the capital of France?"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.out.find("Paris"), std::string::npos) << ran.out;
}

}  // namespace
}  // namespace mlxcpp::test
