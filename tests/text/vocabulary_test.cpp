// Tokenizers from vocabularies, as GGUF files and sentencepiece models hold them: the same ids as
// the tokenizer.json made from the same vocabulary, or as sentencepiece (its unigram: as Hugging
// Face).
#include "mlxcpp/base/error.h"
#include "mlxcpp/text/vocab.h"
#include "tests/text/support.h"

#include <gtest/gtest.h>

namespace mlxcpp::text {
namespace {

using testing::from_hex;
using testing::Json;
using testing::message_of;
using testing::read;
using testing::read_json;

void put(std::vector<std::string>& tokens, std::size_t id, const std::string& token) {
  if (tokens.size() <= id) tokens.resize(id + 1);
  tokens[id] = token;
}

/// What a converter would write into a GGUF file for this tokenizer.json.
VocabSpec spec_of(const Json& json, const std::string& model, const std::string& pre) {
  VocabSpec spec{.model = model, .pre = pre};
  for (const auto& [token, id] : json["model"]["vocab"].items()) put(spec.tokens, id, token);
  for (const Json& t : json["added_tokens"]) put(spec.tokens, t["id"], t["content"]);
  spec.kinds.assign(spec.tokens.size(), 1);
  for (const Json& t : json["added_tokens"]) spec.kinds[t["id"]] = t["special"] ? 3 : 4;
  for (const Json& merge : json["model"].value("merges", Json::array())) {
    spec.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  return spec;
}

void expect_ids(const Tokenizer& tokenizer, const Json& cases) {
  for (const Json& c : cases) {
    const std::string text = from_hex(c.at("hex"));
    const auto ids = c.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << c.at("hex");
  }
}

struct Kind {
  const char *file, *model, *pre;
  std::optional<TokenId> bos{};
};

void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.file; }

class SpecKind : public ::testing::TestWithParam<Kind> {};

TEST_P(SpecKind, GivesTheIdsOfTheTokenizerJson) {
  const Kind kind = GetParam();
  const std::string file = kind.file;
  VocabSpec spec = spec_of(read_json(file + ".json"), kind.model, kind.pre);
  spec.bos = kind.bos;
  const Tokenizer tokenizer = Tokenizer::from_spec(spec);
  EXPECT_EQ(tokenizer.bos(), kind.bos);
  const Json cases = read_json(file + ".expected.json").at("cases");
  expect_ids(tokenizer, cases);
  for (const Json& c : cases) {
    const auto ids = c.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.decode(ids), c.at("decoded").get<std::string>());
    EXPECT_EQ(testing::streamed(tokenizer, ids), c.at("decoded").get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds,
                         SpecKind,
                         ::testing::Values(Kind{"gpt2", "gpt2", "gpt-2"},
                                           Kind{"smollm", "gpt2", "smollm"},
                                           Kind{"llama3", "gpt2", "llama-bpe", 500},
                                           Kind{"qwen2", "gpt2", "qwen2"}),
                         [](const auto& kind) { return std::string(kind.param.file); });

/// Each name of a family gives its ids, and adds a bos token or not when nothing is said.
TEST(Spec, PreTokenizersCutWherePythonCuts) {
  const Json golden = read_json("pre.json");
  VocabSpec spec{.model = "gpt2"};
  spec.tokens = golden.at("tokens").get<std::vector<std::string>>();
  spec.merges = golden.at("merges").get<std::vector<std::string>>();
  for (const Json& family : golden.at("families")) {
    for (const Json& name : family.at("names")) {
      spec.pre = name.get<std::string>();
      spec.bos = 7;
      const Tokenizer t = Tokenizer::from_spec(spec);
      for (std::size_t i = 0; i < golden.at("texts").size(); ++i) {
        const std::string text = from_hex(golden.at("texts")[i]);
        const auto ids = family.at("ids")[i].get<std::vector<TokenId>>();
        EXPECT_EQ(t.encode(text, false), ids) << spec.pre << ": " << text;
      }
      EXPECT_EQ(t.encode("").size(), family.at("bos").get<bool>() ? 1u : 0u) << spec.pre;
    }
  }
}

TEST(Spec, Gemma4IsByteFallbackBpeWithStoredMerges) {
  VocabSpec spec = spec_of(read_json("gemma.json"), "gemma4", "");
  spec.bos = 2;
  spec.unk = 3;
  spec.add_bos = true;
  expect_ids(Tokenizer::from_spec(spec), read_json("gemma.expected.json").at("cases"));
}

/// GGUF writes "▁word" and "piece" for what tokenizer.json calls "word" and "##piece".
TEST(Spec, BertMarksTheStartsOfWords) {
  VocabSpec spec = spec_of(read_json("wordpiece.json"), "bert", "");
  for (std::size_t i = 0; i < spec.tokens.size(); ++i) {
    std::string& token = spec.tokens[i];
    if (spec.kinds[i] == 3) continue;
    token = token.starts_with("##") ? token.substr(2) : "▁" + token;
  }
  spec.unk = 1;
  spec.cls = 2;
  spec.sep = 3;
  Json cases = Json::array();
  Json expected = read_json("wordpiece.expected.json");
  for (const Json& c : expected.at("cases")) {
    // The mark itself as a token is two different things in this spelling.
    if (from_hex(c.at("hex")).find("▁") == std::string::npos) cases.push_back(c);
  }
  expect_ids(Tokenizer::from_spec(spec), cases);
}

class Sentencepiece : public ::testing::TestWithParam<const char*> {
 protected:
  std::string name_ = GetParam();
  Json golden_ = read_json(name_ + ".expected.json");
  std::string model_ = read(testing::data(name_ + ".model"));
};

TEST_P(Sentencepiece, ModelFilesGiveTheIdsOfTheReference) {
  const char* config = R"({"add_bos_token": false, "add_eos_token": false})";
  const Tokenizer tokenizer = Tokenizer::from_sentencepiece(model_, config);
  expect_ids(tokenizer, golden_.at("cases"));
  for (const Json& c : golden_.at("cases")) {
    const auto ids = c.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.decode(ids, true), c.at("decoded").get<std::string>()) << c.at("hex");
  }
}

TEST_P(Sentencepiece, SpecsOfTheSamePiecesGiveTheSameIds) {
  VocabSpec spec{.model = name_ == "spm_bpe" ? "llama" : "t5"};
  for (const Json& piece : golden_.at("pieces")) {
    spec.tokens.push_back(piece[0]);
    spec.scores.push_back(piece[1]);
    spec.kinds.push_back(piece[2]);
  }
  spec.bos = 1;
  spec.eos = 2;
  spec.unk = 0;
  spec.add_bos = spec.add_eos = false;
  spec.remove_extra_whitespaces = name_ == "spm_unigram";
  const Tokenizer tokenizer = Tokenizer::from_spec(spec);
  expect_ids(tokenizer, golden_.at("cases"));
  EXPECT_EQ(tokenizer.bos(), 1u);
  EXPECT_EQ(tokenizer.eos_ids(), std::vector<TokenId>{2});
  EXPECT_EQ(tokenizer.unk(), 0u);
}

TEST_P(Sentencepiece, EveryPrefixOfAModelIsATokenizerOrAnError) {
  for (std::size_t n = 0; n < model_.size(); n += 61) {
    try {
      Tokenizer::from_sentencepiece(model_.substr(0, n)).encode("Hello");
    } catch (const TokenizerError&) {
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models,
                         Sentencepiece,
                         ::testing::Values("spm_bpe", "spm_unigram"),
                         [](const auto& file) { return std::string(file.param); });

TEST(Sentencepiece, BpeModelsAddTheBosTokenUnlessTheConfigSaysNo) {
  const std::string model = read(testing::data("spm_bpe.model"));
  const auto plain =
      Tokenizer::from_sentencepiece(model, R"({"add_bos_token": false})").encode("a");
  std::vector<TokenId> with_bos = {1};
  with_bos.insert(with_bos.end(), plain.begin(), plain.end());
  EXPECT_EQ(Tokenizer::from_sentencepiece(model).encode("a"), with_bos);
}

TEST(Sentencepiece, TheConfigAddsTokensWithTheIdsThatItNames) {
  const std::string model = read(testing::data("spm_bpe.model"));
  const std::size_t size = read_json("spm_bpe.expected.json").at("pieces").size();
  const auto config = [](std::size_t id) {
    return R"({"eos_token": "<end>", "added_tokens_decoder": {")" + std::to_string(id) +
           R"(": {"content": "<end>", "special": true}}})";
  };
  const Tokenizer t = Tokenizer::from_sentencepiece(model, config(size));
  EXPECT_EQ(t.eos(), size);
  EXPECT_EQ(t.encode("a<end>").back(), size);
  EXPECT_TRUE(t.is_special(static_cast<TokenId>(size)));
  EXPECT_EQ(
      message_of<TokenizerError>([&] { Tokenizer::from_sentencepiece(model, config(5000)); }),
      "tokenizer.model: added token \"<end>\" has id " + std::to_string(size) + "; expected 5000");
}

VocabSpec small() {
  VocabSpec spec{.model = "gpt2", .pre = "gpt-2"};
  spec.tokens = {"a", "b", "ab"};
  spec.merges = {"a b"};
  return spec;
}

std::string error_of(const VocabSpec& spec) {
  return message_of<TokenizerError>([&] { Tokenizer::from_spec(spec); });
}

TEST(Spec, ASmallVocabularyWorks) {
  EXPECT_EQ(Tokenizer::from_spec(small()).encode("abab"), (std::vector<TokenId>{2, 2}));
}

TEST(Spec, UnknownModelsAndPreTokenizersAreNamed) {
  VocabSpec spec = small();
  spec.pre = "from-the-future";
  EXPECT_EQ(error_of(spec),
            "vocabulary: pre-tokenizer 'from-the-future' (tokenizer.ggml.pre) is not known");
  spec.pre = "";
  EXPECT_EQ(error_of(spec),
            "vocabulary: no pre-tokenizer is named (tokenizer.ggml.pre); expected a name, as files "
            "since 2024 have it");
  spec.model = "rwkv";
  EXPECT_EQ(error_of(spec),
            "vocabulary: tokenizer model 'rwkv' is not known; expected gpt2, gemma4, llama, t5 or "
            "bert");
}

TEST(Spec, ListsThatDoNotFitTheTokensAreErrors) {
  VocabSpec spec = small();
  spec.tokens.clear();
  EXPECT_EQ(error_of(spec), "vocabulary: the vocabulary has no tokens");
  spec = small();
  spec.kinds = {1};
  EXPECT_EQ(error_of(spec), "vocabulary: 1 token types for 3 tokens; expected one for each");
  spec = small();
  spec.merges = {"ab"};
  EXPECT_EQ(error_of(spec),
            "vocabulary: merge 0 is \"ab\"; expected two tokens with a space between them");
  spec = small();
  spec.merges = {"a c"};
  EXPECT_NE(error_of(spec), "no error");
  spec = small();
  spec.bos = 3;
  EXPECT_EQ(error_of(spec), "vocabulary: bos token id 3 is beyond the vocabulary of 3");
  spec = small();
  spec.model = "llama";
  EXPECT_NE(error_of(spec), "no error");
  spec.model = "t5";
  EXPECT_NE(error_of(spec), "no error");
}

TEST(Spec, AVeryLongTokenCostsLittle) {
  VocabSpec spec{.model = "llama"};
  spec.tokens = {"<unk>", "<s>", "</s>", "a", std::string(4'000'000, 'a')};
  spec.scores = {0, 0, 0, -1, -2};
  EXPECT_EQ(Tokenizer::from_spec(spec).encode("a", false).size(), 2u);
}

}  // namespace
}  // namespace mlxcpp::text
