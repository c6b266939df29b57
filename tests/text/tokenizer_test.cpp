// Tokenizers of every kind against Python's tokenizers (tools/oracle/text/tokenizers_golden.py).
#include "mlxcpp/text/tokenizer.h"

#include "mlxcpp/base/error.h"
#include "tests/text/support.h"

#include <gtest/gtest.h>

#include <thread>

namespace mlxcpp::text {
namespace {

using testing::from_hex;
using testing::Json;
using testing::read;
using testing::read_json;

class TokenizerKind : public ::testing::TestWithParam<const char*> {
 protected:
  std::string name_ = GetParam();
  Tokenizer tokenizer_ = Tokenizer::from_json(read(testing::data(name_ + ".json")));
  Json cases_ = read_json(name_ + ".expected.json").at("cases");
};

TEST_P(TokenizerKind, GivesTheIdsOfTheReference) {
  for (const Json& c : cases_) {
    const std::string text = from_hex(c.at("hex"));
    EXPECT_EQ(tokenizer_.encode(text), c.at("ids").get<std::vector<TokenId>>()) << c.at("hex");
  }
}

TEST_P(TokenizerKind, LeavesOutWhatItWouldAdd) {
  for (const Json& c : cases_) {
    const std::string text = from_hex(c.at("hex"));
    EXPECT_EQ(tokenizer_.encode(text, false).size(), c.at("plain").get<std::size_t>());
  }
}

TEST_P(TokenizerKind, GivesTheByteOffsetsOfTheReference) {
  for (const Json& c : cases_) {
    const Encoding encoding = tokenizer_.encode_full(from_hex(c.at("hex")));
    std::vector<std::uint32_t> flat;
    for (const auto& o : encoding.offsets) flat.insert(flat.end(), {o.begin, o.end});
    EXPECT_EQ(encoding.ids, c.at("ids").get<std::vector<TokenId>>());
    EXPECT_EQ(flat, c.at("offsets").get<std::vector<std::uint32_t>>()) << c.at("hex");
  }
}

TEST_P(TokenizerKind, DecodesAsTheReference) {
  for (const Json& c : cases_) {
    const auto ids = c.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer_.decode(ids), c.at("decoded").get<std::string>());
    EXPECT_EQ(tokenizer_.decode(ids, true), c.at("skipped").get<std::string>());
  }
}

TEST_P(TokenizerKind, StreamsWhatItDecodes) {
  for (const Json& c : cases_) {
    const auto ids = c.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(testing::streamed(tokenizer_, ids), c.at("decoded").get<std::string>());
  }
}

TEST_P(TokenizerKind, CanBeUsedFromSeveralThreadsAtOnce) {
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (const Json& c : cases_) {
        const auto ids = c.at("ids").get<std::vector<TokenId>>();
        wrong[t] += tokenizer_.encode(from_hex(c.at("hex"))) != ids;
        wrong[t] += testing::streamed(tokenizer_, ids) != c.at("decoded").get<std::string>();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds,
    TokenizerKind,
    ::testing::Values("gpt2", "smollm", "llama3", "qwen2", "gemma", "wordpiece", "unigram"),
    [](const auto& kind) { return std::string(kind.param); });

TEST(Tokenizer, EncodesDecodesAndRendersInSeveralThreadsAtOnce) {
  const Json config = {{"chat_template", read(testing::data("templates/llama3.jinja"))},
                       {"bos_token", "<|begin_of_text|>"}};
  const Tokenizer t = Tokenizer::from_json(read(testing::data("llama3.json")), config.dump());
  const std::string messages = R"([{"role": "user", "content": "Hello, world"}])";
  const std::string text = t.apply_chat_template(messages);
  const std::vector<TokenId> ids = t.encode(text, false);
  std::vector<int> wrong(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int n = 0; n < 50; ++n) {
        wrong[i] += t.apply_chat_template_ids(messages) != ids;
        wrong[i] += t.decode(t.encode(text, false)) != text;
        wrong[i] += testing::streamed(t, ids) != text;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

class Llama3 : public ::testing::Test {
 protected:
  std::string json_ = read(testing::data("llama3.json"));
  std::string config_ =
      R"({"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>"}})";
  Tokenizer tokenizer_ = Tokenizer::from_json(json_, config_);
  TokenId bos_ = 500, eot_ = 501;  // added after a vocabulary of 500
};

TEST_F(Llama3, KnowsItsTokensByNameAndById) {
  EXPECT_EQ(tokenizer_.vocab_size(), 504u);
  EXPECT_EQ(tokenizer_.id("<|eot_id|>"), eot_);
  EXPECT_EQ(tokenizer_.token(eot_), "<|eot_id|>");
  EXPECT_EQ(tokenizer_.id("no such token"), std::nullopt);
  EXPECT_EQ(tokenizer_.id("\xff"), std::nullopt);
  EXPECT_EQ(tokenizer_.token(504), std::nullopt);
  EXPECT_EQ(tokenizer_.token(0xffffffff), std::nullopt);
  EXPECT_TRUE(tokenizer_.is_special(eot_));
  EXPECT_FALSE(tokenizer_.is_special(0));
}

TEST_F(Llama3, TakesSpecialTokensFromTheConfig) {
  EXPECT_EQ(tokenizer_.bos(), bos_);
  EXPECT_EQ(tokenizer_.eos(), eot_);
  EXPECT_EQ(tokenizer_.eos_ids(), std::vector<TokenId>{eot_});
  EXPECT_EQ(tokenizer_.pad(), std::nullopt);
}

TEST_F(Llama3, MarksTheTokensThatItAdded) {
  const Encoding encoding = tokenizer_.encode_full("Hello");
  EXPECT_EQ(encoding.ids.front(), bos_);
  EXPECT_TRUE(encoding.special.front());
  EXPECT_FALSE(encoding.special.back());
}

TEST_F(Llama3, AddsTheBosTokenToAPromptUnlessItIsThere) {
  EXPECT_EQ(tokenizer_.encode_prompt("Hello"), tokenizer_.encode("Hello", true));
  EXPECT_EQ(tokenizer_.encode_prompt("<|begin_of_text|>Hello"), tokenizer_.encode("Hello", true));
}

TEST_F(Llama3, AnExplicitEosListWinsAndItsFirstIsTheEos) {
  const Tokenizer t = Tokenizer::from_json(json_, config_, {{7, 3, 7}});
  EXPECT_EQ(t.eos(), 7u);
  EXPECT_EQ(t.eos_ids(), (std::vector<TokenId>{3, 7}));
  EXPECT_TRUE(t.is_eos(3));
  EXPECT_FALSE(t.is_eos(eot_));
}

TEST_F(Llama3, AnEmptyEosListMeansThatNothingEndsAnAnswer) {
  const Tokenizer t = Tokenizer::from_json(json_, config_, std::vector<TokenId>{});
  EXPECT_EQ(t.eos(), std::nullopt);
  EXPECT_TRUE(t.eos_ids().empty());
}

TEST_F(Llama3, EosTokensAreAddedByNameAndByNumber) {
  Tokenizer copy = tokenizer_;
  copy.add_eos_token("<|begin_of_text|>");
  copy.add_eos_token("3");
  EXPECT_EQ(copy.eos_ids(), (std::vector<TokenId>{3, bos_, eot_}));
  EXPECT_EQ(copy.eos(), eot_);
  EXPECT_EQ(tokenizer_.eos_ids(), std::vector<TokenId>{eot_}) << "a copy has its own list";
  EXPECT_EQ(testing::message_of<TokenizerError>([&] { copy.add_eos_token("<nope>"); }),
            "eos token: not in the vocabulary; expected a token or its id, found <nope>");
  EXPECT_EQ(copy.eos_ids().size(), 3u);
}

TEST_F(Llama3, IdsBeyondTheVocabularyDecodeToNothing) {
  EXPECT_EQ(tokenizer_.decode(std::vector<TokenId>{9999, 0xffffffff}), "");
}

TEST(Tokenizer, WithoutABosTokenAPromptGetsTheOtherSpecialTokens) {
  const Tokenizer unigram = Tokenizer::from_json(read(testing::data("unigram.json")));
  EXPECT_EQ(unigram.encode_prompt("Hello").back(), *unigram.id("</s>"));
}

TEST(Tokenizer, PaddingAndTruncationOfTheTrainingAreOff) {
  Json json = read_json("gpt2.json");
  json["truncation"] = {
      {"max_length", 2}, {"strategy", "LongestFirst"}, {"stride", 0}, {"direction", "Right"}};
  json["padding"] = {{"strategy", {{"Fixed", 100}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", nullptr},
                     {"pad_id", 0},
                     {"pad_type_id", 0},
                     {"pad_token", "!"}};
  const Tokenizer plain = Tokenizer::from_json(read(testing::data("gpt2.json")));
  EXPECT_EQ(Tokenizer::from_json(json.dump()).encode("one two three four"),
            plain.encode("one two three four"));
}

TEST(Tokenizer, ThinkingMarkersAreFoundInTheVocabulary) {
  const Tokenizer qwen = Tokenizer::from_json(read(testing::data("qwen2.json")));
  ASSERT_TRUE(qwen.has_thinking());
  EXPECT_EQ(qwen.thinking()->start, "<think>");
  EXPECT_EQ(qwen.thinking()->end, "</think>");
  EXPECT_EQ(qwen.thinking()->start_ids, std::vector<TokenId>{*qwen.id("<think>")});
  EXPECT_EQ(qwen.thinking()->end_ids, std::vector<TokenId>{*qwen.id("</think>")});
  EXPECT_FALSE(Tokenizer::from_json(read(testing::data("gpt2.json"))).has_thinking());
}

TEST(Tokenizer, AChannelOpensWithTheWordThought) {
  Json json = read_json("gpt2.json");
  const int next = 501;
  for (const char* token : {"<|channel>", "<channel|>"}) {
    json["added_tokens"].push_back({{"id", next + (token[1] == 'c')},
                                    {"content", token},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", false},
                                    {"special", true}});
  }
  const Tokenizer t = Tokenizer::from_json(json.dump());
  ASSERT_TRUE(t.has_thinking());
  EXPECT_EQ(t.thinking()->start, "<|channel>thought");
  EXPECT_EQ(t.thinking()->start_ids, t.encode("<|channel>thought", false));
  EXPECT_EQ(t.thinking()->start_ids.front(), *t.id("<|channel>"));
  EXPECT_EQ(t.thinking()->end_ids, std::vector<TokenId>{*t.id("<channel|>")});
}

TEST(Tokenizer, BrokenJsonIsAnErrorWithItsPlace) {
  const auto message = [](std::string_view text) {
    return testing::message_of<TokenizerError>([&] { Tokenizer::from_json(text); });
  };
  EXPECT_EQ(message("{]"), "tokenizer.json: key must be a string at line 1 column 2");
  EXPECT_NE(message(""), "no error");
  EXPECT_NE(message("{}"), "no error");
  EXPECT_NE(message("[1"), "no error");
  EXPECT_NE(message("\xff\xfe{}"), "no error");
  EXPECT_NE(message(std::string(100000, '[')), "no error");
}

TEST(Tokenizer, EveryPrefixOfAFileIsAnErrorNotACrash) {
  const std::string json = read(testing::data("wordpiece.json"));
  for (std::size_t n = 0; n + 2 < json.size(); n += 97) {
    EXPECT_THROW(Tokenizer::from_json(json.substr(0, n)), TokenizerError);
  }
}

/// The library gives up on such a match and leaves the rest of the text in one piece.
TEST(Tokenizer, APatternThatBacktracksWithoutEndIsGivenUp) {
  Json json = read_json("gpt2.json");
  json["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array()}};
  json["pre_tokenizer"]["pretokenizers"].push_back({{"type", "Split"},
                                                    {"pattern", {{"Regex", "(?=x*)(a*)*\\1b"}}},
                                                    {"behavior", "Isolated"},
                                                    {"invert", false}});
  const Tokenizer t = Tokenizer::from_json(json.dump());
  const std::string text = std::string(300, 'a') + "c";
  EXPECT_EQ(t.decode(t.encode(text)), text);
}

}  // namespace
}  // namespace mlxcpp::text
