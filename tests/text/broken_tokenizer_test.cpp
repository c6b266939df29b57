// tokenizer.json broken in every way we thought of: one TokenizerError that names the file, in
// little time and memory.
#include "mlxcpp/base/error.h"
#include "tests/text/support.h"

#include <gtest/gtest.h>

namespace mlxcpp::text {
namespace {

using testing::Json;
using testing::message_of;
using testing::read_json;

/// Three tokens and a merge; the parts around the model are to be added.
Json small() {
  Json json = {{"version", "1.0"}, {"added_tokens", Json::array()}};
  json["model"] = {{"type", "BPE"}, {"vocab", {{"a", 0}, {"b", 1}, {"ab", 2}}}};
  json["model"]["merges"] = Json::array({"a b"});
  return json;
}

std::string error_of(std::string_view text) {
  return message_of<TokenizerError>([&] {
    const Tokenizer t = Tokenizer::from_json(text);
    t.decode(t.encode("abab a b \xF0\x9F\x98\x80"));
  });
}

std::string error_of_json(const Json& json) { return error_of(json.dump()); }

Json added(const std::string& content, Json id) {
  return {{"id", std::move(id)},
          {"content", content},
          {"single_word", false},
          {"lstrip", false},
          {"rstrip", false},
          {"normalized", true},
          {"special", true}};
}

Json replace(Json pattern, const std::string& content) {
  return {{"type", "Replace"}, {"pattern", std::move(pattern)}, {"content", content}};
}

Json split(const std::string& regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

Json sequence(const char* key, int count, const Json& step) {
  return {{"type", "Sequence"}, {key, Json(std::vector<Json>(count, step))}};
}

TEST(BrokenTokenizer, TheSmallOneIsNotBroken) {
  const Tokenizer t = Tokenizer::from_json(small().dump());
  EXPECT_EQ(t.encode("abba"), (std::vector<TokenId>{2, 1, 0}));
}

TEST(BrokenTokenizer, WhatIsNoJsonIsNamedWithItsPlace) {
  EXPECT_EQ(error_of(""), "tokenizer.json: EOF while parsing a value at line 1 column 0");
  EXPECT_EQ(error_of("{\"version\": \"1.0\",\n nonsense"),
            "tokenizer.json: key must be a string at line 2 column 2");
  for (const std::string& text : {std::string("\xff\xfe{}"),
                                  std::string("{\"model\": {\"vocab\": {\"\xff\": 1}}}"),
                                  std::string(1 << 20, '['),
                                  "{\"model\":" + std::string(1 << 20, '['),
                                  "{\"normalizer\":" + std::string(1 << 20, '['),
                                  std::string("[]"),
                                  std::string("null"),
                                  std::string("{\"version\": \"1.0\"} trailing")}) {
    EXPECT_EQ(error_of(text).rfind("tokenizer.json: ", 0), 0u) << error_of(text);
  }
}

TEST(BrokenTokenizer, SpacesWithoutEndAreReadOnce) {
  EXPECT_EQ(error_of(std::string(std::size_t{64} << 20, ' ')),
            "tokenizer.json: EOF while parsing a value at line 1 column 67108864");
  Json json = small();
  EXPECT_EQ(
      Tokenizer::from_json(std::string(std::size_t{32} << 20, ' ') + json.dump()).vocab_size(), 3u);
}

TEST(BrokenTokenizer, TheModelMustBeOfAKnownType) {
  Json json = small();
  json["model"]["type"] = "Bpe";
  EXPECT_EQ(error_of_json(json),
            "tokenizer.json: model.type is \"Bpe\"; expected BPE, Unigram, WordLevel or WordPiece");
  json.erase("model");
  EXPECT_EQ(error_of_json(json), "tokenizer.json: no model; expected an object with vocab");
  for (const Json& model :
       {Json(1), Json::array(), Json::object(), Json("BPE"), Json{{"type", "BPE"}}}) {
    json["model"] = model;
    EXPECT_NE(error_of_json(json), "no error") << model;
  }
}

TEST(BrokenTokenizer, IdsMustBeSmallNumbersAndEachTokensOwn) {
  const auto with_id = [](const Json& id) {
    Json json = small();
    json["model"]["vocab"]["c"] = id;
    return error_of_json(json);
  };
  EXPECT_EQ(with_id(2), "tokenizer.json: model.vocab: two tokens have the id 2");
  EXPECT_EQ(with_id(-1),
            "tokenizer.json: model.vocab: \"c\" has the id -1; expected a number from 0");
  EXPECT_EQ(with_id(1e9),
            "tokenizer.json: model.vocab: \"c\" has the id 1000000000.0; expected a number from 0");
  EXPECT_EQ(
      with_id(1000000000),
      "tokenizer.json: model.vocab: \"c\" has the id 1000000000; expected one below 16777216");
  EXPECT_NE(with_id(18446744073709551615u), "no error");
  EXPECT_NE(with_id("2"), "no error");
  EXPECT_NE(with_id(nullptr), "no error");
  EXPECT_EQ(with_id(16777215), "no error") << "gaps are allowed";
}

TEST(BrokenTokenizer, AddedTokensGetTheirIdsFromTheLibrary) {
  Json json = small();
  json["added_tokens"].push_back(added("<s>", 1000000000));
  const Tokenizer t = Tokenizer::from_json(json.dump());
  EXPECT_EQ(t.id("<s>"), 3u) << "as Hugging Face; an id in the file allocates nothing";
  EXPECT_EQ(t.vocab_size(), 4u);
  json["added_tokens"][0]["id"] = -1;
  EXPECT_NE(error_of_json(json), "no error");
  json["added_tokens"][0] = added("", 3);
  EXPECT_EQ(error_of_json(json), "no error");
}

TEST(BrokenTokenizer, MergesMustJoinTokensIntoTokens) {
  Json json = small();
  for (const char* merge : {"a c", "b a", "c", "", "a b c"}) {
    json["model"]["merges"] = Json::array({merge});
    EXPECT_EQ(error_of_json(json).rfind("tokenizer.json: ", 0), 0u) << merge;
  }
  json["model"]["merges"] = Json::array({Json::array({"a"})});
  EXPECT_NE(error_of_json(json), "no error");
  // Cut inside of a character, or longer than the token.
  json = small();
  for (const char* prefix : {"abc", "\xE2\x96\x81\xE2\x96\x81"}) {
    json["model"]["continuing_subword_prefix"] = prefix;
    EXPECT_NE(error_of_json(json), "no error") << prefix;
  }
}

TEST(BrokenTokenizer, ATokenOfMegabytesIsRefused) {
  Json json = small();
  json["model"]["vocab"][std::string((1 << 20) + 1, 'x')] = 3;
  EXPECT_EQ(error_of_json(json),
            "tokenizer.json: model.vocab: a token has 1048577 bytes; expected at most 1048576");
}

TEST(BrokenTokenizer, StepsThatMultiplyATextAreRefused) {
  const Json ten = replace({{"String", "a"}}, "aaaaaaaaaa");
  Json json = small();
  json["normalizer"] = sequence("normalizers", 100, ten);
  EXPECT_EQ(error_of_json(json).rfind("tokenizer.json: normalizer: can make a text ", 0), 0u);
  json["added_tokens"].push_back(added("a", 0));  // would be normalized while loading
  EXPECT_NE(error_of_json(json), "no error");
  json = small();
  json["decoder"] = sequence("decoders", 100, ten);
  EXPECT_EQ(error_of_json(json).rfind("tokenizer.json: decoder: can make a text ", 0), 0u);
  json = small();
  json["normalizer"] = replace({{"Regex", ""}}, std::string(5000, 'a'));
  EXPECT_NE(error_of_json(json), "no error");
  json["normalizer"] = {{"type", "Prepend"}, {"prepend", std::string(5000, 'a')}};
  EXPECT_NE(error_of_json(json), "no error");
  json = small();
  json["pre_tokenizer"] = sequence("pretokenizers",
                                   100,
                                   {{"type", "ByteLevel"},
                                    {"add_prefix_space", false},
                                    {"trim_offsets", true},
                                    {"use_regex", false}});
  EXPECT_NE(error_of_json(json), "no error");
  json = small();
  json["normalizer"] = sequence("normalizers", 5, ten);
  EXPECT_NE(error_of_json(json), "no error");
  json["normalizer"] = sequence("normalizers", 3, ten);
  EXPECT_EQ(error_of_json(json), "no error") << "a thousandfold is allowed";
}

TEST(BrokenTokenizer, APrecompiledMapThatGrowsATextIsRefused) {
  Json json = small();
  // An empty trie, then one replacement of 8,190 letters.
  std::string map = "AAAAA";
  while (map.size() < 10924) map += "aGho";
  map.resize(10924);
  json["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", map}};
  EXPECT_EQ(error_of_json(json).rfind("tokenizer.json: normalizer: can make a text 81", 0), 0u)
      << error_of_json(json);
}

TEST(BrokenTokenizer, ThousandsOfTokensAroundATextAreRefused) {
  Json json = small();
  json["post_processor"] = {
      {"type", "TemplateProcessing"},
      {"single", Json(std::vector<Json>(2000, {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}))},
      {"pair", Json::array()},
      {"special_tokens", Json::object()}};
  EXPECT_EQ(error_of_json(json),
            "tokenizer.json: post_processor: adds 2000 tokens to a text; expected at most 1000");
  json["post_processor"]["single"] =
      Json(std::vector<Json>(40, {{"SpecialToken", {{"id", "s"}, {"type_id", 0}}}}));
  json["post_processor"]["special_tokens"]["s"] = {
      {"id", "s"}, {"ids", std::vector<int>(50)}, {"tokens", std::vector<std::string>(50, "a")}};
  EXPECT_EQ(error_of_json(json),
            "tokenizer.json: post_processor: adds 2000 tokens to a text; expected at most 1000");
}

TEST(BrokenTokenizer, AnUnknownOrHalfStepIsAnError) {
  for (const char* part : {"normalizer", "pre_tokenizer", "post_processor", "decoder"}) {
    for (const Json& step :
         {Json{{"type", "FromTheFuture"}},
          Json{{"type", "Sequence"}},
          Json("x"),
          Json(1),
          Json{{"type", "Replace"}, {"pattern", {{"Regex", "("}}}, {"content", ""}}}) {
      Json json = small();
      json[part] = step;
      EXPECT_EQ(error_of_json(json).rfind("tokenizer.json: ", 0), 0u) << part << " " << step;
    }
  }
  Json json = small();
  json["pre_tokenizer"] = {{"type", "FixedLength"}, {"length", 0}};
  error_of_json(json);  // whatever it does, it ends
}

TEST(BrokenTokenizer, RegexesThatExplodeAreErrorsOrGivenUp) {
  for (const std::string regex : {"(((a{1000}){1000}){1000}){1000}",
                                  "(?:x{60000}){60000}",
                                  "((a{100})\\2{100}){100}(?=b)",
                                  "(?=(((a{1000}){1000}){1000}))",
                                  "(a*)*\\1b",
                                  "(?:(?:(?:a*)*)*)*$",
                                  "\\p{Nonsense}",
                                  "(?<x>a)\\k<y>",
                                  "[z-a]",
                                  "\\999999999999"}) {
    Json json = small();
    json["pre_tokenizer"] = split(regex);
    error_of_json(json);
    json = small();
    json["normalizer"] = replace({{"Regex", regex}}, "b");
    error_of_json(json);
  }
  std::string nested;
  for (int i = 0; i < 100000; ++i) nested += "(?:";
  Json json = small();
  json["pre_tokenizer"] = split(nested + "a" + std::string(100000, ')'));
  EXPECT_NE(error_of_json(json), "no error");
  json["pre_tokenizer"] = split(std::string(1 << 20, '('));
  EXPECT_NE(error_of_json(json), "no error");
}

TEST(BrokenTokenizer, NonsenseInPaddingAndTruncationIsAnErrorOrIgnored) {
  Json json = small();
  json["padding"] = {{"strategy", {{"Fixed", 1000000000000}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", 0},
                     {"pad_id", 1},
                     {"pad_type_id", 0},
                     {"pad_token", "[PAD]"}};
  EXPECT_EQ(Tokenizer::from_json(json.dump()).encode("ab").size(), 1u);
  json["padding"] = "long";
  EXPECT_NE(error_of_json(json), "no error");
  json = small();
  json["truncation"] = {
      {"max_length", 1}, {"strategy", "LongestFirst"}, {"stride", 1000000}, {"direction", "Left"}};
  error_of_json(json);
}

TEST(BrokenTokenizer, ErrorsOfADirectoryNameTheFile) {
  testing::TempFolder folder;
  folder.put("tokenizer.json", "{");
  const std::string path = (folder.path() / "tokenizer.json").string();
  EXPECT_EQ(message_of<TokenizerError>([&] { Tokenizer::from_directory(folder.path().string()); }),
            path + ": EOF while parsing an object at line 1 column 1");
}

}  // namespace
}  // namespace mlxcpp::text
