#include "mlxcpp/lm/config.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/log.h"
#include "tests/support/errors.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <string>

namespace mlxcpp::lm {
namespace {

using Ids = std::optional<std::vector<TokenId>>;

std::string config_error(const std::string& json) {
  return test::message_of<ConfigError>([&] { parse_config(json); });
}

TEST(Config, needs_nothing_but_the_model_type) {
  auto c = parse_config(R"({"model_type": "llama"})");
  EXPECT_EQ(c.model_type, "llama");
  for (auto& n : {c.hidden_size,
                  c.num_hidden_layers,
                  c.num_attention_heads,
                  c.num_key_value_heads,
                  c.head_dim,
                  c.vocab_size,
                  c.max_position_embeddings,
                  c.sliding_window})
    EXPECT_EQ(n, std::nullopt);
  EXPECT_EQ(c.tie_word_embeddings, std::nullopt);
  EXPECT_EQ(c.eos_token_ids, std::nullopt);
}

TEST(Config, reads_each_of_its_keys) {
  auto c = parse_config(R"({"model_type": "m", "hidden_size": 1, "num_hidden_layers": 2,
      "num_attention_heads": 3, "num_key_value_heads": 4, "head_dim": 5, "vocab_size": 6,
      "max_position_embeddings": 7, "sliding_window": 8, "tie_word_embeddings": true,
      "eos_token_id": 9, "unknown": {"x": [1]}})");
  EXPECT_EQ(c.hidden_size, 1);
  EXPECT_EQ(c.num_hidden_layers, 2);
  EXPECT_EQ(c.num_attention_heads, 3);
  EXPECT_EQ(c.num_key_value_heads, 4);
  EXPECT_EQ(c.head_dim, 5);
  EXPECT_EQ(c.vocab_size, 6);
  EXPECT_EQ(c.max_position_embeddings, 7);
  EXPECT_EQ(c.sliding_window, 8);
  EXPECT_EQ(c.tie_word_embeddings, true);
  EXPECT_EQ(c.eos_token_ids, (Ids{{9}}));
}

TEST(Config, takes_null_for_absent) {
  auto c = parse_config(R"({"model_type": "m", "head_dim": null, "sliding_window": null,
      "tie_word_embeddings": null, "eos_token_id": null})");
  EXPECT_EQ(c.head_dim, std::nullopt);
  EXPECT_EQ(c.sliding_window, std::nullopt);
  EXPECT_EQ(c.tie_word_embeddings, std::nullopt);
  EXPECT_EQ(c.eos_token_ids, std::nullopt);
}

TEST(Config, does_not_judge_a_size_of_another_form) {
  // Some architectures give a list for each layer.
  auto c = parse_config(
      R"({"model_type": "m", "num_key_value_heads": [1, 2], "head_dim": 2.5, "vocab_size": "x"})");
  EXPECT_EQ(c.num_key_value_heads, std::nullopt);
  EXPECT_EQ(c.head_dim, std::nullopt);
  EXPECT_EQ(c.vocab_size, std::nullopt);
}

TEST(Config, does_not_look_into_text_config) {
  auto c = parse_config(R"({"model_type": "m", "text_config": {"hidden_size": 5}})");
  EXPECT_EQ(c.hidden_size, std::nullopt);
}

TEST(Config, error_names_the_key) {
  EXPECT_TRUE(config_error("{}").starts_with("config.model_type:"));
  EXPECT_TRUE(config_error(R"({"model_type": 3})").starts_with("config.model_type:"));
  EXPECT_TRUE(config_error(R"({"model_type": null})").starts_with("config.model_type:"));
  auto with = [](const std::string& rest) {
    return config_error(R"({"model_type": "m", )" + rest);
  };
  EXPECT_TRUE(with(R"("hidden_size": 4000000000000})").starts_with("config.hidden_size:"));
  EXPECT_TRUE(with(R"("tie_word_embeddings": "yes"})").starts_with("config.tie_word_embeddings:"));
  EXPECT_TRUE(with(R"("tie_word_embeddings": 1})").starts_with("config.tie_word_embeddings:"));
  EXPECT_TRUE(with(R"("eos_token_id": -1})").starts_with("config.eos_token_id:"));
  EXPECT_TRUE(with(R"("eos_token_id": [2, -1]})").starts_with("config.eos_token_id:"));
  EXPECT_TRUE(with(R"("eos_token_id": "x"})").starts_with("config.eos_token_id"));
  EXPECT_TRUE(with(R"("eos_token_id": 1e300})").starts_with("config.eos_token_id"));
  for (auto value : {"1.5", "true", "{}", R"([2, "x"])", "[2, null]", "[[2]]", "4294967296"})
    EXPECT_TRUE(
        with(R"("eos_token_id": )" + std::string(value) + "}").starts_with("config.eos_token_id"))
        << value;
  EXPECT_NE(config_error("["), "no error");
  EXPECT_NE(config_error(R"({"model_type": "m", "model_type": "n"})"), "no error");
}

/// A folder with these two files; an empty text means that there is no such file.
struct Folder {
  Folder(const std::string& config, const std::string& generation) {
    if (!config.empty()) dir.write("config.json", config);
    if (!generation.empty()) dir.write("generation_config.json", generation);
  }
  test::TempDir dir;
};

Ids eos(const std::string& config_value, const std::string& generation) {
  std::string config = R"({"model_type": "m")";
  if (!config_value.empty()) config += R"(, "eos_token_id": )" + config_value;
  Folder f(config + "}", generation);
  return load_config(f.dir.path()).config.eos_token_ids;
}
Ids eos_with(const std::string& config_value, const std::string& generation_value) {
  return eos(config_value, R"({"eos_token_id": )" + generation_value + "}");
}

TEST(ConfigFile, eos_is_what_generation_config_says) {
  EXPECT_EQ(eos_with("5", "7"), (Ids{{7}}));
  EXPECT_EQ(eos_with("5", "[7, 8]"), (Ids{{7, 8}}));
  EXPECT_EQ(eos_with("5", "[0]"), (Ids{{0}}));  // a list that is not empty says something
  EXPECT_EQ(eos_with("[5, 6]", "7"), (Ids{{7}}));
  EXPECT_EQ(eos_with("", "7"), (Ids{{7}}));
  EXPECT_EQ(eos_with("", "[8, 7, 8]"), (Ids{{8, 7, 8}}));
}

TEST(ConfigFile, eos_falls_back_to_config_when_generation_config_says_nothing) {
  for (auto nothing : {"0", "[]", "null", "-1", "[7, -1]", "\"x\"", "[\"x\"]", "1.5", "{}", "true"})
    EXPECT_EQ(eos_with("5", nothing), (Ids{{5}})) << nothing;
  for (auto broken : {"", "{", "[]", "{} x", "{\"eos_token_id\": 7, \"eos_token_id\": 8}", "\xff"})
    EXPECT_EQ(eos("5", broken), (Ids{{5}})) << broken;
  EXPECT_EQ(eos_with("[5, 6]", "0"), (Ids{{5, 6}}));
  EXPECT_EQ(eos_with("0", "0"), (Ids{{0}}));
}

TEST(ConfigFile, eos_is_the_tokenizers_affair_when_neither_says_anything) {
  EXPECT_EQ(eos("", ""), std::nullopt);
  EXPECT_EQ(eos("[]", ""), std::nullopt);
  EXPECT_EQ(eos("null", "{}"), std::nullopt);
  EXPECT_EQ(eos_with("", "0"), std::nullopt);
}

TEST(ConfigFile, generation_config_may_be_anything_else_than_a_file) {
  Folder f(R"({"model_type": "m", "eos_token_id": 5})", "");
  auto path = f.dir.path() / "generation_config.json";
  auto passed_over = [&] {
    auto file = load_config(f.dir.path());
    EXPECT_EQ(file.config.eos_token_ids, (Ids{{5}}));
    EXPECT_EQ(file.generation_defaults.temperature, std::nullopt);
    std::filesystem::remove(path);
  };
  std::filesystem::create_directory(path);
  passed_over();
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);  // and nobody writes into it
  passed_over();
  std::filesystem::create_symlink("nothing", path);
  passed_over();
  std::filesystem::create_symlink("/dev/zero", path);
  passed_over();
  f.dir.write("generation_config.json", std::string(2 << 20, ' ') + R"({"eos_token_id": 7})");
  passed_over();
}

TEST(ConfigFile, passing_over_generation_config_is_logged) {
  std::vector<std::string> warnings;
  set_log_sink([&](LogLevel level, std::string_view text) {
    if (level == LogLevel::warning) warnings.emplace_back(text);
  });
  eos("5", "{}");
  EXPECT_EQ(warnings.size(), 0u);
  eos("5", "{");
  EXPECT_EQ(warnings.size(), 1u);
  eos_with("5", "-1");
  EXPECT_EQ(warnings.size(), 2u);
  eos("5", R"({"eos_token_id": -1, "top_p": "x"})");  // each part has its own
  EXPECT_EQ(warnings.size(), 4u);
  set_log_sink({});
}

TEST(ConfigFile, text_is_that_of_the_file_byte_by_byte) {
  std::string text = "\n {\"b\": 1.50,\t\"model_type\":\"m\" , \"a\": \"\\u00e9 é\"}\r\n\n";
  Folder f(text, R"({"eos_token_id": 7})");
  auto file = load_config(f.dir.path());
  EXPECT_EQ(file.json, text);
  EXPECT_EQ(file.config.model_type, "m");
}

TEST(ConfigFile, errors_are_of_the_kind_of_their_cause) {
  Folder none("", ""), broken("{", ""), incomplete("{}", ""), binary("\xff\xfe", "");
  EXPECT_THROW(load_config(none.dir.path()), IoError);
  EXPECT_THROW(load_config(none.dir.path() / "nothing"), IoError);
  EXPECT_THROW(load_config(broken.dir.path()), ConfigError);
  EXPECT_THROW(load_config(incomplete.dir.path()), ConfigError);
  EXPECT_THROW(load_config(binary.dir.path()), IoError);
  Folder large(std::string(2 << 20, ' ') + R"({"model_type": "m"})", "");
  EXPECT_THROW(load_config(large.dir.path()), IoError);
}

TEST(ConfigFile, eos_and_sampling_advice_come_from_one_reading_of_generation_config) {
  Folder f(R"({"model_type": "m", "eos_token_id": 5})",
           R"({"eos_token_id": [7, 0], "top_p": 0.5})");
  auto file = load_config(f.dir.path());
  EXPECT_EQ(file.config.eos_token_ids, (Ids{{7, 0}}));
  EXPECT_EQ(file.generation_defaults.eos_token_ids, (Ids{{7, 0}}));
  EXPECT_EQ(file.generation_defaults.top_p, 0.5f);
}

GenerationDefaults defaults(const std::string& generation) {
  Folder f(R"({"model_type": "m"})", generation);
  return load_config(f.dir.path()).generation_defaults;
}

TEST(GenerationDefaults, are_what_generation_config_says) {
  auto d = defaults(R"({"do_sample": true, "temperature": 0.75, "top_p": 0.5, "min_p": 0.25,
      "top_k": 40, "repetition_penalty": 1.5, "max_length": 20})");
  EXPECT_EQ(d.temperature, 0.75f);
  EXPECT_EQ(d.top_p, 0.5f);
  EXPECT_EQ(d.min_p, 0.25f);
  EXPECT_EQ(d.top_k, 40);
  EXPECT_EQ(d.repetition_penalty, 1.5f);
}

TEST(GenerationDefaults, read_whether_to_sample_as_a_temperature) {
  EXPECT_EQ(defaults(R"({"do_sample": false, "temperature": 0.7})").temperature, 0.f);
  EXPECT_EQ(defaults(R"({"do_sample": false})").temperature, 0.f);
  EXPECT_EQ(defaults(R"({"do_sample": true})").temperature, 1.f);
  EXPECT_EQ(defaults(R"({"do_sample": null, "temperature": 2})").temperature, 2.f);
  EXPECT_EQ(defaults("{}").temperature, std::nullopt);
}

TEST(GenerationDefaults, eos_and_sampling_advice_are_passed_over_apart) {
  auto d = defaults(R"({"eos_token_id": "x", "top_p": 0.5})");
  EXPECT_EQ(d.eos_token_ids, std::nullopt);
  EXPECT_EQ(d.top_p, 0.5f);
  d = defaults(R"({"eos_token_id": 7, "top_p": "x"})");
  EXPECT_EQ(d.eos_token_ids, (Ids{{7}}));
  EXPECT_EQ(d.top_p, std::nullopt);
}

TEST(GenerationDefaults, are_empty_when_the_file_is_missing_or_broken) {
  for (auto text : {"",
                    "{",
                    "[1]",
                    R"({"do_sample": false, "top_p": "x"})",
                    R"({"do_sample": "no", "top_p": 0.5})",
                    R"({"top_p": 0.5, "top_k": 1.5})",
                    R"({"top_p": 0.5, "temperature": 1e300})"}) {
    auto d = defaults(text);
    EXPECT_EQ(d.temperature, std::nullopt) << text;
    EXPECT_EQ(d.top_p, std::nullopt) << text;
    EXPECT_EQ(d.top_k, std::nullopt) << text;
  }
}

}  // namespace
}  // namespace mlxcpp::lm
