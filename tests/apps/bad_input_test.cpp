// What bad input gets from the command: one line that names it, and the exit code of its kind.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "tests/apps/run.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <csignal>
#include <cstdint>
#include <cstring>
#include <string>

namespace mlxcpp::test {
namespace {

namespace fs = std::filesystem;

Args generate(const std::string& model, const std::string& prompt, const Args& more = {}) {
  Args args = {"generate", "--model", model, "--prompt", prompt};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

std::string tiny() { return tiny_model().string(); }

/// One line, of the one form, that holds each of `parts`.
void expect_error(const Ran& ran, int code, const std::vector<std::string>& parts) {
  EXPECT_EQ(ran.code, code) << ran.err;
  EXPECT_EQ(ran.out, "");
  EXPECT_TRUE(ran.err.starts_with("mlxcpp: error: ")) << ran.err;
  EXPECT_EQ(ran.err.find('\n'), ran.err.size() - 1) << ran.err;
  for (auto& part : parts)
    EXPECT_NE(ran.err.find(part), std::string::npos) << part << "\n" << ran.err;
}

std::string tiny_bytes() { return io::read_bytes(tiny_model(), std::size_t{1} << 20); }

template <class T>
void set_at(std::string& bytes, std::size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

// --- Where the model is -------------------------------------------------------------------------

TEST(BadModel, a_missing_path_is_an_io_error) {
  expect_error(run(generate("no/such/place/model", "hi")), 5, {"no/such/place/model"});
}

TEST(BadModel, an_id_that_is_not_on_this_machine_says_how_to_fetch_it) {
  TempDir home;
  Around around{.env = {{"MLXCPP_HOME", home.path()}, {"HF_HUB_CACHE", home.path()}}};
  expect_error(run(generate("some-org/some-model", "hi"), around),
               5,
               {"some-org/some-model", home.path(), "hf download some-org/some-model"});
}

TEST(BadModel, a_missing_default_model_says_how_to_fetch_it) {
  TempDir home;
  expect_error(run({"generate", "--prompt", "hi"}, {.env = {{"MLXCPP_HOME", home.path()}}}),
               5,
               {home.path(), "tools/fetch-model"});
}

TEST(BadModel, a_file_that_is_no_model_is_an_io_error) {
  TempDir dir;
  auto file = dir.write("notes.txt", "nothing");
  expect_error(run(generate(file, "hi")), 5, {file});
}

TEST(BadModel, a_directory_without_config_is_an_io_error) {
  TempDir dir;
  expect_error(run(generate(dir.path(), "hi")), 5, {dir.path(), "config.json"});
}

TEST(BadModel, a_directory_without_weights_is_a_load_error) {
  TempDir dir;
  dir.write("config.json", R"({"model_type": "llama"})");
  expect_error(run(generate(dir.path(), "hi")), 4, {dir.path(), "model.safetensors"});
}

TEST(BadModel, a_config_that_is_not_json_is_a_load_error) {
  TempDir dir;
  dir.write("config.json", "{");
  expect_error(run(generate(dir.path(), "hi")), 4, {"config"});
}

TEST(BadModel, an_unknown_type_is_named_before_anything_else_is_read) {
  TempDir dir;
  dir.write("config.json", R"({"model_type": "llamb"})");
  for (auto name : {"model.safetensors", "tokenizer.json"}) dir.write(name, "broken");
  expect_error(run(generate(dir.path(), "hi")), 3, {"llamb", "llama", "mlxcpp models"});
}

// --- GGUF files ---------------------------------------------------------------------------------

class BadGguf : public testing::Test {
 protected:
  Ran with(const std::string& bytes) {
    return run(generate(dir_.write("model.gguf", bytes), "hi"));
  }
  TempDir dir_;
};

TEST_F(BadGguf, truncated_at_any_part_is_a_load_error) {
  std::string bytes = tiny_bytes();
  for (std::size_t size : {std::size_t{0},
                           std::size_t{3},
                           std::size_t{20},
                           std::size_t{1000},
                           bytes.size() / 2,
                           bytes.size() - 1})
    expect_error(with(bytes.substr(0, size)), 4, {"model.gguf"});
}

TEST_F(BadGguf, version_1_is_a_load_error) {
  std::string bytes = tiny_bytes();
  set_at<std::uint32_t>(bytes, 4, 1);
  expect_error(with(bytes), 4, {"model.gguf", "version", "found 1"});
}

TEST_F(BadGguf, a_metadata_count_of_2_to_the_60_is_a_load_error) {
  std::string bytes = tiny_bytes();
  set_at<std::uint64_t>(bytes, 16, std::uint64_t{1} << 60);
  expect_error(with(bytes), 4, {"model.gguf"});
}

TEST_F(BadGguf, a_tensor_type_that_is_not_supported_is_named) {
  std::string bytes = tiny_bytes();
  // After a tensor's name: the number of dimensions (4 bytes), one of 8 bytes each, the type.
  const std::string name = "blk.0.attn_norm.weight";
  std::size_t at = bytes.find(name) + name.size() + 4 + 8;
  ASSERT_EQ(bytes[at], 0) << "F32 is expected in the test file";
  set_at<std::uint32_t>(bytes, at, 24);  // I8: smaller, so that the file still holds it
  expect_error(with(bytes), 4, {name, "I8"});
}

TEST_F(BadGguf, an_architecture_that_is_not_supported_is_named) {
  std::string bytes = tiny_bytes();
  const std::string key = "general.architecture";
  bytes.replace(bytes.find("llama", bytes.find(key)), 5, "lambs");
  expect_error(with(bytes), 3, {"lambs"});
}

// --- Options ------------------------------------------------------------------------------------

struct BadOption {
  const char* name;
  Args args;
  std::vector<std::string> parts;
};
void PrintTo(const BadOption& o, std::ostream* out) { *out << o.name; }

class BadOptions : public testing::TestWithParam<BadOption> {};

TEST_P(BadOptions, are_usage_errors_that_name_the_option) {
  expect_error(run(generate(tiny(), "hi", GetParam().args)), 2, GetParam().parts);
}

INSTANTIATE_TEST_SUITE_P(
    Option,
    BadOptions,
    testing::Values(
        BadOption{"temperature_nan", {"--temp", "nan"}, {"--temperature", "nan"}},
        BadOption{"temperature_negative", {"--temp", "-1"}, {"--temperature", "-1"}},
        BadOption{"temperature_infinite", {"--temp", "inf"}, {"--temperature", "inf"}},
        BadOption{"top_p", {"--top-p", "1.5"}, {"--top-p", "1.5"}},
        BadOption{"min_p", {"--min-p", "-0.1"}, {"--min-p", "-0.1"}},
        BadOption{"top_k", {"--top-k", "-3"}, {"--top-k", "-3"}},
        BadOption{"xtc", {"--xtc-threshold", "0.7"}, {"--xtc-threshold", "0.7"}},
        BadOption{"sigma", {"--top-nsigma", "nan"}, {"--top-n-sigma", "nan"}},
        BadOption{"typical", {"--typical", "0"}, {"--typical-p", "0"}},
        BadOption{"mirostat", {"--mirostat", "1"}, {"--mirostat", "0 or 2", "1"}},
        BadOption{"mirostat_tau", {"--mirostat-ent", "-1"}, {"--mirostat-tau", "-1"}},
        BadOption{"mirostat_eta", {"--mirostat-lr", "inf"}, {"--mirostat-eta", "inf"}},
        BadOption{"dry_multiplier", {"--dry-multiplier", "-1"}, {"--dry-multiplier", "-1"}},
        BadOption{"dry_base", {"--dry-base", "0.5"}, {"--dry-base", "0.5"}},
        BadOption{"dry_length", {"--dry-allowed-length", "-1"}, {"--dry-allowed-length", "-1"}},
        BadOption{"dry_last", {"--dry-penalty-last-n", "-2"}, {"--dry-penalty-last-n", "-2"}},
        BadOption{"dry_breaker",
                  {"--dry-sequence-breaker", std::string(41, 'x')},
                  {"--dry-sequence-breaker", "40", "41"}},
        BadOption{"penalty_context", {"--penalty-context", "-1"}, {"--penalty-context", "-1"}},
        BadOption{"presence_context",
                  {"--presence-context-size", "-1"},
                  {"--presence-context-size", "-1"}},
        BadOption{"frequency_context",
                  {"--frequency-context-size", "-1"},
                  {"--frequency-context-size", "-1"}},
        BadOption{"min_tokens", {"--min-tokens", "-1"}, {"--min-tokens", "-1"}},
        BadOption{"max_tokens", {"--max-tokens", "-1"}, {"--max-tokens", "-1"}},
        BadOption{"penalty", {"--repetition-penalty", "-2"}, {"--repetition-penalty", "-2"}},
        BadOption{"bias_beyond", {"--logit-bias", "288=1"}, {"--logit-bias", "288"}},
        BadOption{"bias_huge", {"--logit-bias", "99999999999=1"}, {"--logit-bias", "99999999999"}},
        BadOption{"bias_word", {"--logit-bias", "cat=1"}, {"--logit-bias", "cat"}},
        BadOption{"bias_nan", {"--logit-bias", "5=nan"}, {"--logit-bias", "nan"}},
        BadOption{"template_config", {"--chat-template-config", "[1]"}, {"--chat-template-config"}},
        BadOption{
            "extra_eos", {"--extra-eos-token", "<nothing>"}, {"--extra-eos-token", "<nothing>"}},
        BadOption{"no_number", {"--top-k", "many"}, {"--top-k", "many"}},
        BadOption{"unknown", {"--tempp", "1"}, {"--tempp", "try --temp"}}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Prompt, empty_is_a_usage_error) {
  expect_error(run(generate(tiny(), "")), 2, {"--prompt", "empty"});
  expect_error(run(generate(tiny(), "-"), {.input = ""}), 2, {"--prompt", "empty"});
  expect_error(run({"generate", "--model", tiny()}), 2, {"--prompt"});
}

TEST(Prompt, that_is_not_utf8_is_a_usage_error) {
  expect_error(run(generate(tiny(), "caf\xe9")), 2, {"--prompt", "UTF-8", "3"});
  expect_error(run(generate(tiny(), "-"), {.input = "\xff"}), 2, {"--prompt", "UTF-8"});
}

TEST(Prompt, that_is_longer_than_the_context_is_a_usage_error) {
  expect_error(run(generate(tiny(), std::string(4000, 'x'))), 2, {"128"});
}

TEST(Options, zero_tokens_give_nothing_and_succeed) {
  Ran ran = run(generate(tiny(), "hi", {"--max-tokens", "0"}));
  EXPECT_EQ(ran.code, 0) << ran.err;
  EXPECT_EQ(ran.out, "");
}

TEST(Options, ask_for_no_more_log_probabilities_than_there_are_tokens) {
  Ran ran = run(generate(tiny(), "hi", {"--json", "--top-logprobs", "289"}));
  EXPECT_EQ(ran.code, 2);
  EXPECT_NE(ran.err.find("--top-logprobs: bad value; expected a number from 0 to 288"),
            std::string::npos)
      << ran.err;
}

TEST(Options, errors_are_a_json_object_when_that_was_asked_for) {
  Ran ran = run(generate(tiny(), "hi", {"--top-p", "1.5", "--json"}));
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_TRUE(ran.err.starts_with(R"({"error": {"kind": "input", "message": "--top-p: )"))
      << ran.err;
  EXPECT_TRUE(ran.err.ends_with("\"exit_code\": 2}}\n")) << ran.err;
}

// --- The world outside --------------------------------------------------------------------------

class Endless : public testing::Test {
 protected:
  void SetUp() override { write_tiny_model(model(), 1u << 30); }
  std::string model() const { return (dir_.path() / "endless.gguf").string(); }
  Args talk() const {
    return generate(
        model(), "hi", {"--ignore-eos", "--max-kv-size", "32", "--temp", "1", "--seed", "7"});
  }
  TempDir dir_;
};

TEST_F(Endless, stops_when_nobody_reads_the_output_any_more) {
  EXPECT_EQ(run(talk(), {.reader_leaves = true}).code, 141);
  EXPECT_EQ(run(talk(), {.output = "closed"}).code, 141);
  Ran head = run({"/bin/bash",
                  "-c",
                  "\"$@\" | head -c 1 > /dev/null; exit ${PIPESTATUS[0]}",
                  "-",
                  command(),
                  "generate",
                  "--model",
                  model(),
                  "-p",
                  "hi",
                  "--ignore-eos",
                  "--max-kv-size",
                  "32"});
  EXPECT_EQ(head.code, 141);
  EXPECT_EQ(head.err, "");
}

TEST_F(Endless, a_full_disk_under_standard_output_is_an_io_error) {
  Ran ran = run(talk(), {.output = "/dev/full"});
  EXPECT_EQ(ran.code, 5);
  EXPECT_NE(ran.err.find("standard output"), std::string::npos) << ran.err;
}

TEST_F(Endless, an_interrupt_ends_the_answer) {
  Running running(talk());
  ASSERT_TRUE(running.wait_for("e"));
  running.signal(SIGINT);
  Ran ran = running.finish(20);
  EXPECT_EQ(ran.code, 130);
  EXPECT_EQ(ran.err, "");
}

TEST_F(Endless, an_interrupted_answer_is_still_whole_json) {
  Args args = talk();
  args.push_back("--json");
  args.push_back("--verbose");
  Running running(args);
  // Nothing is written before the end, so the signal is sent until it has an effect.
  running.wait_for("\n", 2);
  running.signal(SIGINT);
  Ran ran = running.finish(20);
  EXPECT_EQ(ran.code, 130);
  EXPECT_NE(ran.out.find(R"("stop": "cancelled")"), std::string::npos) << ran.out.substr(0, 200);
}

TEST_F(Endless, an_interrupt_while_the_prompt_is_read_from_a_pipe_ends_the_command) {
  Running running(generate(model(), "-"));
  running.wait_for("nothing comes", 0.5);
  running.signal(SIGINT);
  EXPECT_EQ(running.finish(20).code, 130);
}

TEST(DiskFull, leaves_no_partial_file) {
  TempDir dir;
  fs::path out = dir.path() / "out.safetensors";
  Ran ran = run({"/bin/sh",
                 "-c",
                 "ulimit -f 4; exec \"$@\"",
                 "-",
                 command(),
                 "logits",
                 "--model",
                 tiny(),
                 "--tokens",
                 "1,2,3,4,5,6,7,8",
                 "--out",
                 out});
  expect_error(ran, 5, {out});
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(DiskFull, a_device_is_no_place_for_a_file) {
  expect_error(
      run({"logits", "--model", tiny(), "--tokens", "1", "--out", "/dev/full"}), 5, {"/dev/full"});
}

// --- Speculation --------------------------------------------------------------------------------

TEST(BadSpeculation, a_draft_model_of_another_vocabulary_is_an_input_error) {
  // The same model, but for the spelling of one token.
  TempDir dir;
  std::string bytes = tiny_bytes();
  const std::string pieces = "tokenizer.ggml.tokens";
  // After the key stand the types of the list and its elements, and how many: then each with its
  // length before it.
  std::size_t at = bytes.find(pieces) + pieces.size() + 4 + 4 + 8 + 8;
  bytes[at] = bytes[at] == '!' ? '"' : '!';
  auto other = dir.path() / "other.gguf";
  io::write_atomically(other, bytes);
  expect_error(run(generate(tiny(), "hi", {"--draft-model", other.string()})),
               exit_code(ErrorKind::input),
               {"--draft-model: another vocabulary than the model's", "as token 0"});
}

TEST(BadSpeculation, heads_that_a_model_does_not_have_are_an_error) {
  expect_error(run(generate(tiny(), "hi", {"--mtp"})),
               exit_code(ErrorKind::unsupported),
               {"mtp: heads for further tokens are not read from GGUF files"});
}

TEST(BadSpeculation, two_ways_of_guessing_or_a_length_that_can_not_be_are_refused) {
  for (auto& [flag, more] : std::vector<std::pair<std::string, Args>>{
           {"--prompt-lookup", {"--mtp", "--prompt-lookup"}},
           {"--prompt-lookup", {"--draft-model", tiny(), "--prompt-lookup"}},
           {"--num-draft-tokens", {"--prompt-lookup", "--num-draft-tokens", "0"}},
           {"--num-draft-tokens", {"--prompt-lookup", "--num-draft-tokens", "33"}}}) {
    Ran ran = run(generate(tiny(), "hi", more));
    EXPECT_NE(ran.code, 0);
    EXPECT_NE(ran.err.find(flag), std::string::npos) << ran.err;
  }
}

}  // namespace
}  // namespace mlxcpp::test
