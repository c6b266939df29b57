// `mlxcpp chat`, line by line from a pipe.
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "tests/apps/run.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>
#include <string>

namespace mlxcpp::test {
namespace {

class Chat : public testing::Test {
 protected:
  Ran chat(const std::string& input, const Args& more = {}) {
    Args args = {"chat", "--model", tiny_model(), "-m", "4", "--ignore-eos"};
    args.insert(args.end(), more.begin(), more.end());
    return run(args, {.input = input, .env = {{"MLXCPP_HOME", dir_.path()}}});
  }
  std::string file(const char* name) const { return (dir_.path() / name).string(); }
  std::string saved(const char* name) const {
    return io::read_text(file(name), std::size_t{1} << 20);
  }
  TempDir dir_;
};

TEST_F(Chat, answers_each_line_and_ends_with_its_input) {
  Ran one = chat("hello\n"), two = chat("hello\n\nthe world\n");
  EXPECT_EQ(one.code, 0) << one.err;
  EXPECT_EQ(one.err, "");
  EXPECT_NE(one.out, "");
  EXPECT_TRUE(two.out.starts_with(one.out)) << two.out;
  EXPECT_GT(two.out.size(), one.out.size());
  EXPECT_EQ(chat("hello").out, one.out) << "the last line may lack its end";
  EXPECT_EQ(chat("").out, "");
}

TEST_F(Chat, exits_at_the_command) {
  EXPECT_EQ(chat("hello\n/exit\nthe world\n").out, chat("hello\n").out);
}

TEST_F(Chat, joins_lines_that_end_with_a_backslash) {
  chat("hello \\\nthe world\n/save " + file("a.json") + "\n");
  EXPECT_NE(saved("a.json").find("hello \\nthe world"), std::string::npos) << saved("a.json");
}

TEST_F(Chat, resumes_a_conversation_that_was_saved) {
  std::string save = "/save " + file("a.json") + "\n";
  Ran whole =
      chat("hello\nthe world\n/save " + file("whole.json") + "\n", {"--system-prompt", "be good"});
  Ran first = chat("hello\n" + save, {"--system-prompt", "be good"});
  Ran second =
      chat("the world\n/save " + file("resumed.json") + "\n", {"--resume", file("a.json")});
  EXPECT_EQ(first.out + second.out, whole.out);
  EXPECT_EQ(saved("resumed.json"), saved("whole.json"));
  Ran loaded = chat("/load " + file("a.json") + "\nthe world\n");
  EXPECT_EQ(loaded.out, second.out);
}

TEST_F(Chat, forgets_at_reset_all_but_the_system_message) {
  chat("hello\n/reset\n/save " + file("a.json") + "\n", {"--system-prompt", "be good"});
  EXPECT_EQ(saved("a.json").find("hello"), std::string::npos);
  EXPECT_NE(saved("a.json").find("be good"), std::string::npos);
  chat("/system be better\n/save " + file("b.json") + "\n");
  EXPECT_NE(saved("b.json").find("be better"), std::string::npos);
}

TEST_F(Chat, from_a_pipe_ends_with_the_first_error) {
  EXPECT_EQ(chat("/nonsense\nhello\n").code, 2);
  EXPECT_EQ(chat("/save\n").code, 2);
  EXPECT_EQ(chat("/load " + file("missing.json") + "\n").code, 5);
  EXPECT_EQ(chat("/save " + file("no/such/folder/a.json") + "\n").code, 5);
  EXPECT_EQ(chat("\xff\n").code, 2);
  EXPECT_EQ(chat("hello\n", {"--resume", file("missing.json")}).code, 5);
  dir_.write("bad.json", "{\"messages\": 5}");
  EXPECT_EQ(chat("hello\n", {"--resume", file("bad.json")}).code, 4);
  EXPECT_EQ(chat("hello\n", {"--top-p", "2"}).code, 2);
}

TEST_F(Chat, leaves_no_history_of_what_a_pipe_said) {
  chat("hello\n");
  EXPECT_FALSE(std::filesystem::exists(file("chat_history")));
}

TEST_F(Chat, notices_that_nobody_reads) {
  Args args = {"chat", "--model", tiny_model(), "-m", "4", "--ignore-eos"};
  EXPECT_EQ(run(args, {.input = "hello\n", .reader_leaves = true}).code, 141);
}

TEST_F(Chat, an_interrupt_between_lines_ends_it) {
  Running running({"chat", "--model", tiny_model(), "-m", "4", "--ignore-eos"},
                  {.input = "hello\n"});
  ASSERT_TRUE(running.wait_for("\n"));
  running.signal(SIGINT);
  EXPECT_EQ(running.finish(5).code, 130);
}

}  // namespace
}  // namespace mlxcpp::test
