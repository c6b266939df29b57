// `mlxcpp perplexity`, and the samples that it takes.
#include "apps/common/samples.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/lm/gguf.h"
#include "tests/apps/run.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

#include <mlx/io.h>

#include <gtest/gtest.h>

#include <cmath>
#include <csignal>
#include <string>

namespace mlxcpp::test {
namespace {

using apps::load_samples;
using apps::numpy_permutation;
using Ids = std::vector<text::TokenId>;
using Rows = std::vector<Ids>;

text::Tokenizer tokenizer() { return lm::tokenizer_from_gguf(io::Gguf::open(tiny_model())); }

// --- Samples ------------------------------------------------------------------------------------

TEST(Permutation, is_numpys) {
  // numpy 2.4.6: random.seed(123); random.permutation(20), and random.seed(0); permutation(300)
  EXPECT_EQ(numpy_permutation(20, 123),
            (std::vector<std::size_t>{14, 5, 4,  17, 8, 7, 19, 12, 0, 15,
                                      16, 9, 11, 10, 3, 1, 6,  18, 2, 13}));
  auto many = numpy_permutation(300, 0);
  many.resize(10);
  EXPECT_EQ(many, (std::vector<std::size_t>{208, 188, 12, 221, 239, 136, 230, 206, 52, 108}));
  EXPECT_TRUE(numpy_permutation(0, 1).empty());
}

TEST(Samples, of_plain_text_are_its_tokens_and_the_end_token_in_pieces) {
  TempDir dir;
  auto t = tokenizer();
  auto file = dir.write("a.txt", "one two three four five six seven");
  Ids all = t.encode("one two three four five six seven");
  all.push_back(t.eos().value());
  Rows rows = load_samples(file, t, {.sequence_length = 4, .num_samples = -1});
  ASSERT_EQ(rows.size(), all.size() / 4);
  for (std::size_t i = 0; i < rows.size() * 4; ++i) EXPECT_EQ(rows[i / 4][i % 4], all[i]);
  EXPECT_EQ(load_samples(file, t, {.sequence_length = 4, .num_samples = 2}).size(), 2u);
}

TEST(Samples, of_lines_follow_each_other_in_a_random_order) {
  TempDir dir;
  auto t = tokenizer();
  dir.write("train.jsonl",
            "{\"text\": \"first line\"}\n\n{\"text\": \"second\", \"other\": 1}\n"
            "{\"text\": \"the third\"}");
  std::vector<std::string> texts{"first line", "second", "the third"};
  Ids all;
  for (auto i : numpy_permutation(3, 5)) {
    Ids ids = t.encode(texts[i]);
    all.insert(all.end(), ids.begin(), ids.end());
    all.push_back(t.eos().value());
  }
  auto rows = load_samples(dir.path(), t, {.sequence_length = 3, .num_samples = -1, .seed = 5});
  ASSERT_EQ(rows.size(), all.size() / 3);
  for (std::size_t i = 0; i < rows.size() * 3; ++i) EXPECT_EQ(rows[i / 3][i % 3], all[i]);
}

TEST(Samples, of_conversations_are_rendered_by_the_template) {
  TempDir dir;
  auto t = tokenizer();
  Ids expected = t.apply_chat_template_ids(
      R"([{"role": "user", "content": "Hi \"you\""}, {"role": "assistant", "content": "Hello"}])",
      {.add_generation_prompt = false});
  SCOPED_TRACE(t.decode(expected));
  int n = int(expected.size());
  for (std::string line : {R"({"prompt": "Hi \"you\"", "completion": "Hello"})",
                           R"({"messages": [{"role": "user", "content": "Hi \"you\""},)"
                           R"( {"role": "assistant", "content": "Hello"}]})"}) {
    auto file = dir.write("a.jsonl", line + "\n");
    EXPECT_EQ(load_samples(file, t, {.sequence_length = n}), Rows{expected});
  }
}

TEST(Samples, name_the_line_that_is_no_sample) {
  TempDir dir;
  auto t = tokenizer();
  auto refusal = [&](const std::string& text) {
    auto file = dir.write("a.jsonl", text);
    auto message = message_of<InputError>([&] { load_samples(file, t, {.num_samples = -1}); });
    return message.substr(message.find_last_of('/') + 1);
  };
  EXPECT_EQ(refusal("{\"text\": \"a\"}\n{\"words\": \"b\"}\n").substr(0, 27),
            "a.jsonl, line 2: no sample;");
  EXPECT_EQ(refusal("{\"text\": 3}"), "a.jsonl, line 1.text: expected string, found integer 3");
  EXPECT_EQ(refusal("{\"text\": \"a\"}\n{nonsense").substr(0, 17), "a.jsonl, line 2: ");
  EXPECT_EQ(refusal("{\"text\": \"a\"}").substr(0, 30), "a.jsonl: too short; expected a");
  EXPECT_EQ(refusal("").substr(0, 18), "a.jsonl: too short");
}

// --- The verb -----------------------------------------------------------------------------------

double number(io::Fields& f, const char* key) {
  double value = 0;
  f.need(key, &value);
  return value;
}

TEST(Perplexity, of_the_command_is_the_exponential_of_the_mean_loss_of_its_logits) {
  TempDir dir;
  auto t = tokenizer();
  auto file = dir.write("a.txt", "one two three four five six seven eight nine ten");
  Rows rows = load_samples(file, t, {.sequence_length = 6, .num_samples = -1});
  std::vector<double> losses;
  for (auto& row : rows) {
    std::string ids;
    for (auto id : row) ids += (ids.empty() ? "" : ",") + std::to_string(id);
    auto out = (dir.path() / "out.safetensors").string();
    ASSERT_EQ(run({"logits", "--model", tiny_model(), "--tokens", ids, "--out", out}).code, 0);
    array logits = mx::load_safetensors(out).first.at("logits");
    logits.eval();
    for (std::size_t p = 0; p + 1 < row.size(); ++p) {
      const float* x = logits.data<float>() + p * std::size_t(logits.shape(1));
      double sum = 0;
      for (int v = 0; v < logits.shape(1); ++v) sum += std::exp(double(x[v]));
      losses.push_back(std::log(sum) - double(x[row[p + 1]]));
    }
  }
  double mean = 0, squares = 0, n = double(losses.size());
  for (double x : losses) mean += x / n;
  for (double x : losses) squares += (x - mean) * (x - mean);
  Args args = {"perplexity",
               "--model",
               tiny_model(),
               "--data-path",
               file,
               "--sequence-length",
               "6",
               "--num-samples",
               "-1",
               "--batch-size",
               "2"};
  Ran people = run(args);
  args.push_back("--json");
  Ran ran = run(args);
  ASSERT_EQ(ran.code, 0) << ran.err;
  auto f = io::Fields::parse(ran.out);
  EXPECT_NEAR(number(f, "perplexity") / std::exp(mean), 1, 1e-4);
  EXPECT_NEAR(
      number(f, "standard_error") / (std::exp(mean) * std::sqrt(squares / (n - 1) / n)), 1, 1e-4);
  EXPECT_EQ(number(f, "tokens"), n);
  EXPECT_EQ(number(f, "samples"), double(rows.size()));
  EXPECT_GT(number(f, "tokens_per_second"), 0);
  EXPECT_GT(number(f, "peak_process_memory"), 1e6);
  EXPECT_TRUE(people.out.starts_with("Perplexity: ")) << people.out;
  EXPECT_NE(people.out.find(" \u00b1 "), std::string::npos) << people.out;
}

TEST(Perplexity, refuses_what_it_can_not_measure) {
  TempDir dir;
  auto file = dir.write("a.txt", "one two").string();
  auto code = [&](Args more) {
    Args args = {"perplexity", "--model", tiny_model()};
    args.insert(args.end(), more.begin(), more.end());
    return run(args).code;
  };
  EXPECT_EQ(code({}), 2);
  EXPECT_EQ(code({"--data-path", file, "--sequence-length", "1"}), 2);
  EXPECT_EQ(code({"--data-path", file, "--num-samples", "0"}), 2);
  EXPECT_EQ(code({"--data-path", file, "--batch-size", "0"}), 2);
  EXPECT_EQ(code({"--data-path", file, "--seed", "-1"}), 2);
  EXPECT_EQ(code({"--data-path", file}), 2);  // shorter than one sample
  EXPECT_EQ(code({"--data-path", file + "x"}), 5);
}

TEST(Perplexity, ends_on_an_interrupt) {
  TempDir dir;
  std::string text;
  for (int i = 0; i < 40000; ++i) text += "many words " + std::to_string(i) + " ";
  auto file = dir.write("a.txt", text).string();
  Running running({"perplexity",
                   "--model",
                   tiny_model(),
                   "--data-path",
                   file,
                   "--sequence-length",
                   "100",
                   "--num-samples",
                   "-1",
                   "-v"});
  EXPECT_FALSE(running.wait_for("Perplexity", 1));
  running.signal(SIGINT);
  EXPECT_EQ(running.finish(30).code, 130);
}

}  // namespace
}  // namespace mlxcpp::test
