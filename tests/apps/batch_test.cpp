// `mlxcpp batch` on a tiny model.
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "tests/apps/run.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace mlxcpp::test {
namespace {

struct Line {
  int number = 0, prompt_tokens = 0, cached_tokens = 0, generation_tokens = 0;
  std::string id, text, stop, error_kind, error;
  std::vector<int> tokens;
  std::vector<float> logprobs;
  void fields(io::Fields& f) {
    f.need("line", &number).may("text", &text).may("stop", &stop);
    f.may("prompt_tokens", &prompt_tokens).may("cached_tokens", &cached_tokens);
    f.may("generation_tokens", &generation_tokens);
    f.may("tokens", &tokens).may("logprobs", &logprobs);
    id = f.json_text("id").value_or("");
    if (auto e = f.object("error")) e->need("kind", &error_kind).need("message", &error);
  }
};

std::vector<Line> lines_of(const std::string& text) {
  std::vector<Line> lines;
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1)
    lines.push_back(io::read<Line>(io::Fields::parse(text.substr(at, end - at), "answer")));
  EXPECT_TRUE(text.empty() || text.ends_with('\n'));
  return lines;
}

/// What was found of a prompt depends on what was answered just before.
std::string without_cached(const std::string& text) {
  static const std::regex cached("\"cached_tokens\": *[0-9]+, *");
  return std::regex_replace(text, cached, "");
}

class BatchVerb : public testing::Test {
 protected:
  TempDir dir;
  std::string input = dir.path() / "in.jsonl", output = dir.path() / "out.jsonl";

  void write(const std::string& path, const std::string& text) {
    std::ofstream(path, std::ios::binary) << text;
  }
  std::string read(const std::string& path) { return io::read_text(path, 1 << 20); }
  std::string length = "8";
  Args batch(const Args& more = {}) {
    Args args = {"batch", input, "--model", tiny_model(), "-m", length, "--ignore-eos"};
    args.insert(args.end(), more.begin(), more.end());
    return args;
  }
};

constexpr const char* kThree = R"({"prompt": "hello", "id": "a"}

{"messages": [{"role": "user", "content": "the world"}], "max_tokens": 3, "id": 7}
{"prompt": "one more", "temp": 1.5, "seed": 7}
)";

TEST_F(BatchVerb, answers_each_line_as_generate_does_in_their_order) {
  write(input, kThree);
  Ran ran = run(batch({"--max-rows", "2"}));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.err, "");
  auto lines = lines_of(ran.out);
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].number, 1);
  EXPECT_EQ(lines[1].number, 3) << "the blank line counts, but asks nothing";
  EXPECT_EQ(lines[0].id, "\"a\"");
  EXPECT_EQ(lines[1].id, "7");
  EXPECT_EQ(lines[2].id, "");
  auto alone = [](const Args& more) {
    Args args = {"generate", "--model", tiny_model(), "--ignore-eos", "--json"};
    args.insert(args.end(), more.begin(), more.end());
    std::string text;
    io::Fields::parse(run(args).out).need("text", &text);
    return text;
  };
  EXPECT_EQ(lines[0].text, alone({"-p", "hello", "-m", "8"}));
  EXPECT_EQ(lines[1].text, alone({"-p", "the world", "-m", "3"}));
  EXPECT_EQ(lines[2].text, alone({"-p", "one more", "-m", "8", "--temp", "1.5", "--seed", "7"}));
  EXPECT_EQ(lines[1].generation_tokens, 3);
  EXPECT_EQ(lines[1].stop, "length");
}

TEST_F(BatchVerb, gives_tokens_and_log_probabilities_where_asked) {
  write(input, "{\"prompt\": \"hello\"}\n");
  auto line = lines_of(run(batch({"--logprobs"})).out).at(0);
  EXPECT_EQ(line.tokens.size(), 8u);
  ASSERT_EQ(line.logprobs.size(), 8u);
  for (float p : line.logprobs) EXPECT_LE(p, 0);
}

TEST_F(BatchVerb, answers_the_same_with_guesses) {
  write(input, kThree);
  length = "30";
  auto want = run(batch()).out;
  EXPECT_EQ(lines_of(want).size(), 3u);
  for (Args how : {Args{"--prompt-lookup"}, Args{"--draft-model", tiny_model().string()}}) {
    how.push_back("--always-draft");
    auto got = lines_of(run(batch(how)).out), plain = lines_of(want);
    ASSERT_EQ(got.size(), plain.size());
    for (size_t i = 0; i < got.size(); ++i)
      if (i != 2 || how[0] == "--prompt-lookup") EXPECT_EQ(got[i].text, plain[i].text) << how[0];
  }
}

TEST_F(BatchVerb, computes_once_what_lines_begin_with_and_answers_the_same) {
  std::string text;
  for (char c = 'a'; c < 'i'; ++c)
    text += std::string("{\"prompt\": \"") + c + " question\"}\n" +
            R"({"messages": [{"role": "system", "content": "Say as little as you can."}, )" +
            R"({"role": "user", "content": ")" + c + " thing\"}]}\n";
  write(input, text);
  auto answers = [&](Args more, int cached_at_least) {
    for (auto flag : {"--max-rows", "3", "--system-prompt", "Say as little as you can.", "-v"})
      more.emplace_back(flag);
    Ran ran = run(batch(more));
    EXPECT_EQ(ran.code, 0) << ran.err;
    auto lines = lines_of(ran.out);
    EXPECT_EQ(lines.size(), 16u);
    int cached = 0, all = 0, fresh = 0;
    for (auto& line : lines) {
      if (line.cached_tokens) EXPECT_GE(line.cached_tokens, cached_at_least) << line.number;
      fresh += line.cached_tokens == 0;
      EXPECT_LT(line.cached_tokens, line.prompt_tokens);
      cached += line.cached_tokens, all += line.prompt_tokens;
    }
    EXPECT_EQ(fresh, cached_at_least ? 1 : 16) << "whichever comes first";
    EXPECT_NE(ran.err.find("prompts: " + std::to_string(all) + " tokens, " +
                           std::to_string(cached) + " of them from earlier prompts\n"),
              std::string::npos)
        << ran.err;
    return without_cached(ran.out);
  };
  std::vector<int> words;
  io::Fields::parse(
      run({"tokenize", "--model", tiny_model(), "--json", "Say as little as you can."}).out)
      .need("tokens", &words);
  int system = int(words.size()) - 1;  // the last may be joined with what follows
  auto want = answers({"--prompt-cache-size", "0"}, 0);
  EXPECT_EQ(answers({}, system), want);
  EXPECT_EQ(answers({"--prompt-cache-size", "2"}, system), want);
  EXPECT_EQ(answers({"--prompt-cache-bytes", "1"}, 0), want) << "no room for any";
}

TEST_F(BatchVerb, reads_standard_input) {
  input = "-";
  Ran ran = run(batch(), {.input = kThree});
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(lines_of(ran.out).size(), 3u);
}

TEST_F(BatchVerb, a_line_that_is_wrong_gets_an_error_and_the_others_an_answer) {
  write(input,
        "{\"prompt\": \"hello\"}\n"
        "not json\n"
        "{\"prompt\": \"x\", \"messages\": [], \"id\": \"both\"}\n"
        "{\"id\": 1}\n"
        "{\"prompt\": \"x\", \"top_p\": 7}\n"
        "{\"prompt\": \"x\", \"tpo_p\": 0.5}\n"
        "{\"prompt\": \"x\", \"max_tokens\": \"many\"}\n"
        "{\"prompt\": \"\"}\n"
        "{\"prompt\": \"\xff\"}\n"
        "{\"prompt\": \"last\"}");
  Ran ran = run(batch());
  EXPECT_EQ(ran.code, 2) << ran.err;
  auto lines = lines_of(ran.out);
  ASSERT_EQ(lines.size(), 10u);
  const char* said[] = {"",
                        "line 2: ",
                        "line 3: what to answer; expected prompt or messages, found both",
                        "line 4: what to answer; expected prompt or messages, found neither",
                        "line 5: --top-p: ",
                        "line 6.tpo_p: no such option",
                        "line 7.max_tokens: expected ",
                        "line 8.prompt: empty",
                        "line 9: not UTF-8"};
  for (std::size_t i = 1; i < 9; ++i) {
    EXPECT_EQ(lines[i].error_kind, "input") << i;
    EXPECT_EQ(lines[i].error.find(said[i]), 0u) << lines[i].error;
  }
  EXPECT_EQ(lines[2].id, "\"both\"");
  for (std::size_t i : {0, 9}) EXPECT_EQ(lines[i].stop, "length");
}

TEST_F(BatchVerb, a_prompt_longer_than_the_context_is_its_lines_error) {
  std::string words;
  for (int i = 0; i < 200; ++i) words += "word ";
  write(input, "{\"prompt\": \"" + words + "\"}\n{\"prompt\": \"hello\"}\n");
  auto lines = lines_of(run(batch()).out);
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_NE(lines[0].error.find("longer than the model's context"), std::string::npos);
  EXPECT_EQ(lines[1].stop, "length");
}

TEST_F(BatchVerb, goes_on_where_an_earlier_run_ended) {
  write(input, kThree);
  Ran whole = run(batch({"-o", output}));
  EXPECT_EQ(whole.code, 0) << whole.err;
  EXPECT_EQ(whole.out, "");
  std::string text = read(output);
  auto second = text.find('\n') + 1;
  for (std::size_t cut : {std::size_t{0},
                          std::size_t{5},
                          second - 1,
                          second,
                          second + 1,
                          text.size() - 1,
                          text.size()}) {
    write(output, text.substr(0, cut));
    EXPECT_EQ(run(batch({"-o", output})).code, 0) << cut;
    EXPECT_EQ(without_cached(read(output)), without_cached(text)) << "cut at " << cut;
  }
}

TEST_F(BatchVerb, does_not_add_to_what_is_not_its_own) {
  write(input, kThree);
  for (std::string foreign : {"important notes",
                              "important\nnotes\n",
                              "{\"a\": 1}\n",
                              "{\"line\": 1, \"id\": \"b\", \"text\": \"\"}\n",
                              "{\"line\": 2, \"text\": \"\"}\n",
                              "{\"line\": 1, \"id\": \"a\", \"text\": \"\"}\n{\"other"}) {
    write(output, foreign);
    Ran ran = run(batch({"-o", output}));
    EXPECT_EQ(ran.code, 2) << foreign << ran.err;
    EXPECT_EQ(read(output), foreign);
  }
  EXPECT_EQ(run(batch({"-o", dir.path()})).code, 5);
  EXPECT_EQ(run(batch({"-o", dir.path() / "no" / "file"})).code, 5);
}

TEST_F(BatchVerb, refuses_what_can_not_be_before_the_model_is_loaded) {
  Ran ran = run(batch());
  EXPECT_EQ(ran.code, 5) << "no such file";
  write(input, kThree);
  EXPECT_EQ(run(batch({"--max-rows", "0"})).code, 2);
  EXPECT_EQ(run(batch({"--top-p", "7"})).code, 2);
  EXPECT_EQ(run(batch({"--memory-limit", "many"})).code, 2);
  EXPECT_EQ(run(batch({"--prompt-cache-size", "-1"})).code, 2);
  EXPECT_EQ(run(batch({"--prompt-cache-bytes", "many"})).code, 2);
  EXPECT_EQ(run(batch({"--memory-limit", "10kB"})).code, 6);
}

TEST_F(BatchVerb, ctrl_c_leaves_whole_lines_to_go_on_from) {
  std::string text;
  for (int i = 0; i < 4000; ++i) text += "{\"prompt\": \"hello " + std::to_string(i) + "\"}\n";
  write(input, text);
  length = "100";
  Running running(batch({"-o", output}));
  for (int i = 0; i < 20000; ++i) {
    if (std::filesystem::exists(output) && std::filesystem::file_size(output) > 0) break;
    running.wait_for("never", 0.01);
  }
  running.signal(SIGINT);
  Ran ran = running.finish();
  EXPECT_EQ(ran.code, 130) << ran.err;
  auto lines = lines_of(read(output));
  EXPECT_GT(lines.size(), 0u);
  EXPECT_LT(lines.size(), 4000u);
  for (std::size_t i = 0; i < lines.size(); ++i) EXPECT_EQ(lines[i].number, int(i) + 1);
}

TEST_F(BatchVerb, tells_its_figures_when_asked) {
  write(input, kThree);
  Ran ran = run(batch({"--verbose"}));
  EXPECT_NE(ran.err.find("3 lines, 19 tokens in "), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace mlxcpp::test
