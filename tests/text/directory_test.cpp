// What a model directory's tokenizer files may look like.
#include "mlxcpp/base/error.h"
#include "mlxcpp/text/tokenizer.h"
#include "tests/text/support.h"

#include <gtest/gtest.h>

namespace mlxcpp::text {
namespace {

using testing::message_of;
using testing::read;
using testing::TempFolder;

constexpr const char* kMessages = R"([{"role": "user", "content": "Hi"}])";

class Directory : public ::testing::Test {
 protected:
  void SetUp() override { folder_.put("tokenizer.json", read(testing::data("llama3.json"))); }
  Tokenizer load() const { return Tokenizer::from_directory(folder_.path()); }
  std::string path(const char* name) const { return (folder_.path() / name).string(); }
  std::string error() const {
    return message_of<TokenizerError>([&] { load(); });
  }
  TempFolder folder_;
};

TEST_F(Directory, TokenizerJsonAloneIsEnough) {
  const Tokenizer t = load();
  EXPECT_EQ(t.decode(t.encode("Hello", false)), "Hello");
  EXPECT_FALSE(t.has_chat_template());
  EXPECT_TRUE(t.eos_ids().empty());
}

TEST_F(Directory, WithoutATokenizerTheErrorNamesWhatWasLookedFor) {
  const TempFolder empty;
  EXPECT_EQ(message_of<TokenizerError>([&] { Tokenizer::from_directory(empty.path()); }),
            empty.path().string() + ": no tokenizer; expected tokenizer.json or tokenizer.model");
  EXPECT_THROW(Tokenizer::from_directory("no/such/folder"), TokenizerError);
}

TEST_F(Directory, ASentencepieceModelServesWhenThereIsNoTokenizerJson) {
  TempFolder folder;
  folder.put("tokenizer.model", read(testing::data("spm_bpe.model")));
  folder.put("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": "</s>"})");
  folder.put("added_tokens.json", R"({"<end>": 900})");
  const Tokenizer t = Tokenizer::from_directory(folder.path());
  EXPECT_EQ(t.bos(), 1u);
  EXPECT_EQ(t.eos(), 2u);
  EXPECT_EQ(t.encode("Hello").front(), 1u);
  EXPECT_EQ(t.id("<end>"), 900u);
}

TEST_F(Directory, SpecialTokensComeFromConfigThenFromTheMap) {
  folder_.put("tokenizer_config.json", R"({"bos_token": {"content": "<|begin_of_text|>"},
                                           "eos_token": null})");
  folder_.put("special_tokens_map.json", R"({"bos_token": "<|start_header_id|>",
                                             "eos_token": "<|eot_id|>"})");
  const Tokenizer t = load();
  EXPECT_EQ(t.bos(), t.id("<|begin_of_text|>"));
  EXPECT_EQ(t.eos(), t.id("<|eot_id|>"));
}

TEST_F(Directory, TemplatesComeFromTheirOwnFileFirst) {
  folder_.put("tokenizer_config.json", R"({"chat_template": "config"})");
  EXPECT_EQ(load().apply_chat_template(kMessages), "config");
  folder_.put("chat_template.json", R"({"chat_template": "json"})");
  EXPECT_EQ(load().apply_chat_template(kMessages), "json");
  folder_.put("chat_template.jinja", "jinja");
  EXPECT_EQ(load().apply_chat_template(kMessages), "jinja");
  EXPECT_EQ(load().chat_template(), "jinja");
}

TEST_F(Directory, OfNamedTemplatesTheOneForToolsIsTakenWithTools) {
  folder_.put("tokenizer_config.json", R"({"chat_template": [
      {"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]})");
  const Tokenizer t = load();
  EXPECT_EQ(t.apply_chat_template(kMessages), "plain");
  EXPECT_EQ(t.apply_chat_template(kMessages, {.tools_json = "[{}]"}), "tools");
  folder_.put("chat_template.jinja", "own");
  folder_.put("additional_chat_templates/tool_use.jinja", "own tools");
  EXPECT_EQ(load().apply_chat_template(kMessages, {.tools_json = "[{}]"}), "own tools");
}

TEST_F(Directory, WithoutADefaultTemplateTheOthersAreNamed) {
  folder_.put("tokenizer_config.json", R"({"chat_template": [{"name": "rag", "template": ""}]})");
  EXPECT_EQ(
      message_of<InputError>([&] { load().apply_chat_template(kMessages); }),
      "chat template: the model has none for this use; expected one named default, found rag");
}

TEST_F(Directory, ABrokenTemplateIsAnErrorOnlyWhenItIsUsed) {
  folder_.put("chat_template.jinja", "\n{% for %}");
  const Tokenizer t = load();
  EXPECT_TRUE(t.has_chat_template());
  EXPECT_EQ(message_of<TokenizerError>([&] { t.apply_chat_template(kMessages); }),
            "chat template: unexpected end of block, expected in (line 2)");
}

TEST_F(Directory, TheTemplateSeesTheSpecialTokensAndTheIdsHaveNoMore) {
  folder_.put("tokenizer_config.json",
              R"({"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"})");
  folder_.put("chat_template.jinja",
              "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ enable_thinking }}");
  const Tokenizer t = load();
  const std::string text = "<|begin_of_text|>Hi<|eot_id|>False";
  EXPECT_EQ(t.apply_chat_template(kMessages), text);
  const auto ids = t.apply_chat_template_ids(kMessages);
  EXPECT_EQ(ids, t.encode(text, false));
  EXPECT_EQ(ids.front(), *t.bos());
  EXPECT_NE(ids[1], *t.bos());
}

TEST_F(Directory, BrokenFilesAreNamedWithWhatWasExpected) {
  folder_.put("tokenizer_config.json", R"({"eos_token": 1})");
  EXPECT_EQ(error(), path("tokenizer_config.json") + ".eos_token: wrong type; expected a string");
  folder_.put("tokenizer_config.json", "[]");
  EXPECT_EQ(error(), path("tokenizer_config.json") + ": not an object; expected a JSON object");
  folder_.put("tokenizer_config.json", R"({"chat_template": [1]})");
  EXPECT_EQ(error(),
            path("tokenizer_config.json") +
                ".chat_template: bad list item; expected an object with name and template");
  folder_.put("tokenizer_config.json", R"({"added_tokens_decoder": {"x": {}}})");
  EXPECT_EQ(
      error(),
      path("tokenizer_config.json") + ".added_tokens_decoder.x: not a token id; expected digits");
  for (const char* bad : {"{", "{\"a\":", "nul"}) {
    folder_.put("tokenizer_config.json", bad);
    EXPECT_NE(error(), "no error") << bad;
  }
  folder_.put("tokenizer_config.json", std::string(100000, '['));
  EXPECT_NE(error(), "no error");
  folder_.put("tokenizer_config.json", "{}");
  folder_.put("tokenizer.json", "{");
  EXPECT_EQ(error(), path("tokenizer.json") + ": EOF while parsing an object at line 1 column 1");
}

TEST_F(Directory, FilesBeyondTheirLimitAreRefused) {
  folder_.put("chat_template.jinja", std::string((4 << 20) + 1, ' '));
  EXPECT_THROW(load(), IoError);
}

TEST_F(Directory, AnExplicitEosListWins) {
  folder_.put("tokenizer_config.json", R"({"eos_token": "<|eot_id|>"})");
  const Tokenizer t = Tokenizer::from_directory(folder_.path(), {{1, 2}});
  EXPECT_EQ(t.eos_ids(), (std::vector<TokenId>{1, 2}));
}

}  // namespace
}  // namespace mlxcpp::text
