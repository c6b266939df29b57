// The command's face: versions, help, completion, and the verbs that describe things.
#include "mlxcpp/builtin/models.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/hub.h"
#include "tests/apps/run.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <utility>

namespace mlxcpp::test {
namespace {

const char* const kVerbs[] = {"generate",
                              "chat",
                              "cache-prompt",
                              "info",
                              "tokenize",
                              "models",
                              "logits",
                              "batch",
                              "perplexity",
                              "fuse",
                              "bench",
                              "completion",
                              "help"};

std::string tiny() { return tiny_model().string(); }

bool has(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

io::Fields json_of(const Ran& ran) {
  EXPECT_EQ(ran.code, 0) << ran.err;
  return io::Fields::parse(ran.out, "output");
}

template <class T>
T read(io::Fields fields, const char* key) {
  T value{};
  fields.need(key, &value);
  return value;
}

// --- Help ---------------------------------------------------------------------------------------

TEST(Command, says_its_version_and_that_of_mlx) {
  Ran ran = run({"--version"});
  EXPECT_EQ(ran.code, 0);
  EXPECT_TRUE(ran.out.starts_with("mlxcpp " MLXCPP_VERSION " (MLX 0.32.4, ")) << ran.out;
}

TEST(Command, explains_each_verb_on_standard_output) {
  for (std::string verb : kVerbs) {
    Ran a = run({"help", verb}), b = run({verb, "--help"});
    EXPECT_EQ(a.code, 0) << a.err;
    EXPECT_EQ(a.out, b.out);
    EXPECT_TRUE(has(a.out, "Usage: mlxcpp " + verb)) << a.out;
    EXPECT_TRUE(has(run({"--help"}).out, verb));
  }
}

TEST(Command, without_a_verb_shows_its_help_as_a_usage_error) {
  Ran ran = run({"--"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_EQ(ran.out, "");
  EXPECT_TRUE(has(ran.err, "Usage: mlxcpp")) << ran.err;
}

TEST(Command, suggests_the_verb_that_was_meant) {
  Ran ran = run({"genrate"});
  EXPECT_EQ(ran.code, 2);
  EXPECT_TRUE(has(ran.err, "genrate")) << ran.err;
  EXPECT_TRUE(has(ran.err, "try mlxcpp generate")) << ran.err;
}

TEST(Command, notices_a_closed_output) {
  EXPECT_EQ(run({"models"}, {.reader_leaves = true}).code, 141);
  EXPECT_EQ(run({"--help"}, {.output = "closed"}).code, 141);
}

// --- Completion ---------------------------------------------------------------------------------

TEST(Completion, is_a_script_that_its_shell_can_read) {
  TempDir dir;
  for (std::string shell : {"bash", "zsh", "fish"}) {
    Ran script = run({"completion", shell});
    ASSERT_EQ(script.code, 0) << script.err;
    for (std::string verb : kVerbs) EXPECT_TRUE(has(script.out, verb)) << shell << " " << verb;
    EXPECT_TRUE(has(script.out, "max-tokens")) << shell;
    auto file = dir.write("script." + shell, script.out);
    std::string program = "/bin/" + shell;
    if (!std::filesystem::exists(program)) program = "/usr/bin/" + shell;
    if (std::filesystem::exists(program)) {
      Ran check = run({program, "-n", file});
      EXPECT_EQ(check.code, 0) << check.err;
    }
  }
}

TEST(Completion, completes_verbs_and_flags_in_bash) {
  TempDir dir;
  auto script = dir.write("script", run({"completion", "bash"}).out);
  auto complete = [&](const std::string& words, int at) {
    return run({"/bin/bash",
                "-c",
                "source " + script.string() + "; COMP_WORDS=(" + words +
                    "); COMP_CWORD=" + std::to_string(at) + "; _mlxcpp; echo ${COMPREPLY[@]}"})
        .out;
  };
  EXPECT_EQ(complete("mlxcpp gen", 1), "generate\n");
  EXPECT_EQ(complete("mlxcpp generate --max-t", 2), "--max-tokens\n");
  EXPECT_EQ(complete("mlxcpp completion f", 2), "fish\n");
  EXPECT_EQ(complete("mlxcpp help lo", 2), "logits\n");
}

// --- Describing ---------------------------------------------------------------------------------

TEST(Models, are_those_of_the_registry_with_their_aliases) {
  Ran table = run({"models"}), list = run({"models", "--json"});
  auto json = io::Fields::parse("{\"models\": " + list.out + "}").objects("models");
  auto types = builtin_models().model_types();
  ASSERT_EQ(json.size(), types.size());
  for (std::size_t i = 0; i < types.size(); ++i) {
    auto aliases = lm::ModelTypeRegistry::aliases_of(types[i]);
    EXPECT_EQ(read<std::string>(json[i], "model_type"), types[i]);
    EXPECT_EQ(read<std::vector<std::string>>(json[i], "aliases"), aliases);
    EXPECT_TRUE(has(table.out, "| " + types[i] + " "));
    for (auto& alias : aliases) EXPECT_TRUE(has(table.out, alias)) << alias;
  }
}

TEST(Models, are_those_of_the_readme) {
  std::string readme = io::read_text(MLXCPP_TEST_DATA "/../../README.md", std::size_t{1} << 20);
  EXPECT_TRUE(has(readme, run({"models"}).out)) << "put the output of `mlxcpp models` there";
}

// Sizes of the test files, from the configs that tools/oracle made them with: width 32, 4 heads and
// 2 key heads of 8, an MLP of 64.  The first has one layer and no head of its own, the second two
// and one.
constexpr int kTable = 288 * 32, kNorm = 32;
constexpr int kLayer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32 + 2 * kNorm;

TEST(Info, describes_a_gguf_file_by_its_header) {
  auto info = json_of(run({"info", tiny(), "--context", "100", "--json"}));
  EXPECT_EQ(read<std::string>(info, "model_type"), "llama");
  EXPECT_EQ(read<bool>(info, "supported"), true);
  EXPECT_EQ(read<int>(info, "parameters"), kTable + kLayer + kNorm);
  EXPECT_EQ(read<double>(info, "bits_per_weight"), 32);
  EXPECT_EQ(read<int>(info, "context_length"), 128);
  auto memory = info.need_object("memory");
  // Keys and values of one layer: 2 heads of 8, float32, 100 tokens.
  EXPECT_EQ(read<int>(memory, "kv"), 2 * 2 * 8 * 4 * 100);
  auto tokenizer = info.need_object("tokenizer");
  EXPECT_EQ(read<int>(tokenizer, "vocab_size"), 288);
  EXPECT_EQ(read<std::string>(tokenizer, "bos"), "<|im_start|>");
  EXPECT_EQ(read<std::vector<std::string>>(tokenizer, "eos"),
            std::vector<std::string>{"<|im_end|>"});
  EXPECT_EQ(read<bool>(tokenizer, "chat_template"), true);
}

TEST(Info, counts_the_numbers_that_packed_weights_stand_for) {
  auto info = json_of(run({"info", MLXCPP_TEST_DATA "/lm/llama_gguf_q4_0.gguf", "--json"}));
  EXPECT_EQ(read<int>(info, "parameters"), 2 * kTable + 2 * kLayer + kNorm);
  // Blocks of 32 take 18 bytes, norms 4 bytes a number.
  const int norms = 5 * kNorm, rest = 2 * kTable + 2 * kLayer + kNorm - norms;
  EXPECT_EQ(read<int>(info, "bytes"), rest / 32 * 18 + norms * 4);
}

TEST(Info, describes_types_that_are_not_supported_too) {
  TempDir dir;
  std::string bytes = io::read_bytes(tiny_model(), std::size_t{1} << 20);
  bytes.replace(bytes.find("llama", bytes.find("general.architecture")), 5, "lambs");
  auto info = json_of(run({"info", dir.write("m.gguf", bytes), "--json"}));
  EXPECT_EQ(read<std::string>(info, "model_type"), "lambs");
  EXPECT_EQ(read<bool>(info, "supported"), false);
}

TEST(Info, without_a_model_describes_the_surroundings) {
  TempDir home;
  auto info = json_of(run({"info", "--json"}, {.env = {{"MLXCPP_HOME", home.path()}}}));
  EXPECT_EQ(read<std::string>(info, "mlx"), "0.32.4");
  EXPECT_EQ(read<std::string>(info, "cache"), home.path().string());
  EXPECT_EQ(read<bool>(info, "default_model_there"), false);
}

TEST(Info, of_a_missing_model_is_an_error) {
  EXPECT_EQ(run({"info", "no/such/model/there"}).code, 5);
}

/// Standing and note by the name of a tier.
std::map<std::string, std::pair<std::string, std::string>> tiers_of(const Ran& ran) {
  std::map<std::string, std::pair<std::string, std::string>> tiers;
  for (auto& t : json_of(ran).objects("tiers"))
    tiers[read<std::string>(t, "tier")] = {read<std::string>(t, "standing"),
                                           read<std::string>(t, "note")};
  return tiers;
}

TEST(InfoCpu, lists_every_tier_of_which_one_is_active) {
  Ran ran = run({"info", "--cpu", "--json"},
                {.env = {{"MLXCPP_THREADS", "1"}, {"MLXCPP_DETERMINISTIC", "0"}}});
  auto info = json_of(ran);
  EXPECT_NE(read<std::string>(info, "cpu"), "");
  EXPECT_EQ(read<int>(info, "threads"), 1);
  EXPECT_EQ(read<bool>(info, "deterministic"), false);
  EXPECT_EQ(read<std::string>(info, "kernels"), "mlxcpp");
  auto tiers = tiers_of(ran);
  int active = 0;
  for (auto& [name, found] : tiers) {
    active += found.first == "active";
    EXPECT_EQ(found.second.empty(), found.first == "active" || found.first == "able") << name;
    EXPECT_NE(found.first, "failed") << name << ": " << found.second;
  }
  EXPECT_EQ(active, 1);
  EXPECT_EQ(tiers.at(read<std::string>(info, "tier")).first, "active");
  EXPECT_GT(read<double>(info.need_object("gmac_per_s"), "f32"), 0.1);
  EXPECT_GT(read<double>(info, "read_gb_per_s"), 0.1);
}

TEST(InfoCpu, shows_what_the_environment_asks_for) {
  Around around{.env = {{"MLXCPP_CPU", "scalar"}, {"MLXCPP_DETERMINISTIC", "1"}}};
  Ran ran = run({"info", "--cpu", "--json"}, around);
  auto info = json_of(ran);
  EXPECT_EQ(read<std::string>(info, "tier"), "scalar");
  EXPECT_EQ(read<bool>(info, "deterministic"), true);
  EXPECT_EQ(tiers_of(ran).at("scalar").first, "active");
  Ran text = run({"info", "--cpu"}, around);
  for (auto* part : {"tier scalar", "active", "deterministic     yes", "float32", "GMAC/s", "GB/s"})
    EXPECT_TRUE(has(text.out, part)) << part << "\n" << text.out;
}

TEST(InfoCpu, is_not_about_a_model) {
  Ran ran = run({"info", "--cpu", tiny()});
  EXPECT_EQ(ran.code, 2);
  EXPECT_TRUE(has(ran.err, "--cpu")) << ran.err;
}

// --- Tokens -------------------------------------------------------------------------------------

// Expected ids: tests/data/lm/llama_gguf_f32.safetensors, metadata `text`, by transformers.
TEST(Tokenize, prints_ids_and_their_spellings) {
  EXPECT_EQ(run({"tokenize", "--model", tiny(), "the world"}).out, "119 260 270\n");
  EXPECT_EQ(run({"tokenize", "--model", tiny(), "-"}, {.input = "a1234 b"}).out,
            "100 52 53 54 55 35 101\n");
  EXPECT_EQ(run({"tokenize", "--model", tiny(), "--pieces", "the"}).out,
            "     119  \"t\"\n     260  \"he\"\n");
  EXPECT_EQ(run({"tokenize", "--model", tiny(), "--json", "the"}).out,
            "{\"tokens\": [119, 260]}\n");
}

TEST(Tokenize, renders_a_message_by_the_chat_template) {
  Ran ids = run({"tokenize", "--model", tiny(), "--chat", "hi"});
  Ran text =
      run({"tokenize", "--model", tiny(), "--decode", ids.out.substr(0, ids.out.size() - 1)});
  EXPECT_EQ(text.out, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n\n");
}

TEST(Tokenize, decodes_ids) {
  EXPECT_EQ(run({"tokenize", "--model", tiny(), "--decode", "119,260,270"}).out, "the world\n");
  EXPECT_EQ(run({"tokenize", "--model", tiny(), "--decode", "2,119", "--no-special"}).out, "t\n");
  EXPECT_EQ(run({"tokenize", "--model", tiny(), "--decode", "1000"}).code, 2);
  EXPECT_EQ(run({"tokenize", "--model", tiny()}).code, 2);
  EXPECT_EQ(run({"tokenize", "--model", tiny(), "\xff"}).code, 2);
}

TEST(Hub, an_id_is_found_in_the_hugging_face_cache) {
  TempDir cache;
  auto repo = cache.path() / "models--org--tiny";
  std::filesystem::create_directories(repo / "refs");
  std::filesystem::create_directories(repo / "snapshots" / "abc");
  cache.write("models--org--tiny/refs/main", "abc");
  std::filesystem::copy_file(tiny_model(), repo / "snapshots" / "abc" / "tiny.gguf");
  Around around{.env = {{"HF_HUB_CACHE", cache.path()}}};
  EXPECT_EQ(run({"tokenize", "--model", "org/tiny", "the world"}, around).out, "119 260 270\n");
}

}  // namespace
}  // namespace mlxcpp::test
