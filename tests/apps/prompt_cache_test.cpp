// `mlxcpp cache-prompt`, and answers and conversations that go on from its files.
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "tests/apps/run.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

namespace mlxcpp::test {
namespace {

class PromptCacheFile : public testing::Test {
 protected:
  std::string file(const char* name) const { return (dir_.path() / name).string(); }
  Ran cache(const Args& more = {}) {
    Args args = {"cache-prompt", "--prompt-cache-file", file("c.safetensors"), "--quiet"};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }
  Ran go_on(const Args& more = {}) {
    Args args = {
        "generate", "--prompt-cache-file", file("c.safetensors"), "-m", "8", "--ignore-eos"};
    args.insert(args.end(), more.begin(), more.end());
    return run(args);
  }
  std::vector<int> tokens_of(const Ran& ran) {
    EXPECT_EQ(ran.code, 0) << ran.err;
    std::vector<int> tokens;
    io::Fields::parse(ran.out, "answer").need("tokens", &tokens);
    return tokens;
  }
  TempDir dir_;
  const Args model_ = {"--model", tiny_model()}, text_ = {"--ignore-chat-template"};
};

Args operator+(Args a, const Args& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

TEST_F(PromptCacheFile, is_gone_on_with_as_if_the_whole_had_been_given) {
  Ran ran = cache(model_ + text_ + Args{"--prompt", "one two"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  auto whole = tokens_of(run(Args{"generate", "-m", "8", "--ignore-eos", "--json"} + model_ +
                             text_ + Args{"--prompt", "one two three"}));
  EXPECT_EQ(tokens_of(go_on(text_ + Args{"--prompt", " three", "--json"} + model_)), whole);
  // The file names its model, and may be used again.
  EXPECT_EQ(tokens_of(go_on(text_ + Args{"--prompt", " three", "--json"})), whole);
}

TEST_F(PromptCacheFile, begins_the_users_message) {
  ASSERT_EQ(cache(model_ + Args{"--prompt", "one"}).code, 0);
  auto whole = tokens_of(
      run(Args{"generate", "-m", "8", "--ignore-eos", "--json", "--prompt", "one; two"} + model_));
  EXPECT_EQ(tokens_of(go_on(Args{"--prompt", "; two", "--json"})), whole);
}

TEST_F(PromptCacheFile, is_described_in_json_and_gets_the_ending_that_mlx_gives) {
  Ran ran = run(
      Args{"cache-prompt", "--prompt", "-", "--prompt-cache-file", file("bare"), "--json"} + model_,
      {.input = "one two"});
  ASSERT_EQ(ran.code, 0) << ran.err;
  auto f = io::Fields::parse(ran.out, "output");
  std::string path;
  int tokens = 0, bytes = 0;
  f.need("prompt_cache_file", &path).need("prompt_tokens", &tokens).need("bytes", &bytes);
  EXPECT_EQ(path, file("bare.safetensors"));
  EXPECT_EQ(std::uintmax_t(bytes), std::filesystem::file_size(path));
  EXPECT_GT(tokens, 3);
}

TEST_F(PromptCacheFile, may_hold_a_ring_or_be_of_an_older_form) {
  for (const Args& more : std::vector<Args>{{"--max-kv-size", "16"}, {"--mlx-lm", "0.31"}}) {
    Ran ran = cache(model_ + more + Args{"--prompt", "one two three four five six seven"});
    ASSERT_EQ(ran.code, 0) << ran.err;
    ran = go_on({"--prompt", " eight"});
    EXPECT_EQ(ran.code, 0) << ran.err;
  }
}

TEST_F(PromptCacheFile, of_another_model_is_refused) {
  ASSERT_EQ(cache(model_ + Args{"--prompt", "one"}).code, 0);
  auto other = dir_.path() / "other.gguf";
  write_tiny_model(other, 64);
  Ran ran = go_on({"--prompt", "two", "--model", other.string()});
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("prompt cache: of another model"), std::string::npos) << ran.err;
}

TEST_F(PromptCacheFile, is_no_place_for_flags_that_it_decides) {
  ASSERT_EQ(cache(model_ + Args{"--prompt", "one"}).code, 0);
  for (const Args& flags : std::vector<Args>{{"--max-kv-size", "16"},
                                             {"--kv-bits", "4"},
                                             {"--adapter-path", "/nowhere"},
                                             {"--system-prompt", "x"},
                                             {"--prefill-response", "x"}}) {
    Ran ran = go_on(Args{"--prompt", "two"} + flags);
    EXPECT_EQ(ran.code, 2) << flags[0];
    EXPECT_NE(ran.err.find(flags[0]), std::string::npos) << ran.err;
  }
}

TEST_F(PromptCacheFile, that_is_missing_or_none_is_refused_before_a_model_is_loaded) {
  Ran ran = go_on({"--prompt", "two", "--model", "/nowhere"});
  EXPECT_NE(ran.err.find("c.safetensors: no such file"), std::string::npos) << ran.err;
  dir_.write("c.safetensors", "no header");
  EXPECT_NE(go_on({"--prompt", "two"}).code, 0);
  ran = cache(model_ + Args{"--prompt", "one", "--mlx-lm", "0.2"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(cache(model_ + Args{"--prompt", ""}).code, 2);
}

TEST_F(PromptCacheFile, spares_a_conversation_that_goes_on) {
  Args chat = Args{"chat", "-m", "4", "--ignore-eos", "--verbose"} + model_;
  Around home{
      .input = "hi\n/save " + file("chat.json") + "\n/cache " + file("chat.safetensors") + "\n",
      .env = {{"MLXCPP_HOME", dir_.path()}}};
  Ran ran = run(chat, home);
  ASSERT_EQ(ran.code, 0) << ran.err;
  home.input = "more\n";
  ran = run(
      chat + Args{"--resume", file("chat.json"), "--prompt-cache-file", file("chat.safetensors")},
      home);
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_NE(ran.err.find("of them from the cache"), std::string::npos) << ran.err;
  EXPECT_EQ(ran.err.find(", 0 of them from the cache"), std::string::npos) << ran.err;
}

}  // namespace
}  // namespace mlxcpp::test
