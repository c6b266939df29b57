// Streams of ids that no text gives: what a model may well produce.
#include "mlxcpp/text/decode_stream.h"

#include "tests/text/support.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>

namespace mlxcpp::text {
namespace {

using testing::read;
using testing::streamed;

std::vector<TokenId> random_ids(std::mt19937& random, std::size_t vocab, std::size_t count) {
  std::vector<TokenId> ids(count);
  for (TokenId& id : ids) id = static_cast<TokenId>(random() % vocab);
  return ids;
}

class StreamKind : public ::testing::TestWithParam<const char*> {
 protected:
  Tokenizer tokenizer_ =
      Tokenizer::from_json(read(testing::data(std::string(GetParam()) + ".json")));
};

// In these a byte changes only its own character, so the whole decode is the reference.
TEST_P(StreamKind, RandomIdsStreamAsTheyDecode) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    const auto ids = random_ids(random, tokenizer_.vocab_size() + 3, 1 + round % 40);
    EXPECT_EQ(streamed(tokenizer_, ids), tokenizer_.decode(ids));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds,
                         StreamKind,
                         ::testing::Values("gpt2", "llama3", "wordpiece", "unigram"),
                         [](const auto& kind) { return std::string(kind.param); });

class ByteFallback : public ::testing::Test {
 protected:
  TokenId byte(int b) const {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    return *gemma_.id(name);
  }
  Tokenizer gemma_ = Tokenizer::from_json(read(testing::data("gemma.json")));
};

TEST_F(ByteFallback, HoldsACharacterUntilItsLastByte) {
  DecodeStream stream = gemma_.decode_stream();
  EXPECT_EQ(stream.step(byte(0xE4)), "");
  EXPECT_EQ(stream.step(byte(0xBD)), "");
  EXPECT_EQ(stream.step(byte(0xA0)), "你");
  EXPECT_EQ(stream.finish(), "");
}

TEST_F(ByteFallback, AnUnfinishedCharacterComesOutAtTheEnd) {
  DecodeStream stream = gemma_.decode_stream();
  EXPECT_EQ(stream.step(*gemma_.id("a")), "a");
  EXPECT_EQ(stream.step(byte(0xE4)), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
  EXPECT_EQ(stream.step(*gemma_.id("a")), "a") << "finish() makes it as new";
}

// Decoded whole, the bad byte would turn the character before it into three U+FFFD.
TEST_F(ByteFallback, ABadByteDoesNotChangeWhatWasGivenOut) {
  const std::vector<TokenId> ids = {
      byte(0xE4), byte(0xBD), byte(0xA0), byte(0xFF), *gemma_.id("a")};
  EXPECT_EQ(streamed(gemma_, ids), "你\uFFFDa");
}

TEST_F(ByteFallback, RandomIdsNeverGiveHalfACharacter) {
  std::mt19937 random(11);
  for (int round = 0; round < 300; ++round) {
    EXPECT_NO_THROW(streamed(gemma_, random_ids(random, gemma_.vocab_size(), 60)));
  }
}

TEST_F(ByteFallback, ALongRunOfBadBytesStaysCheapAndComesOutAsItGoes) {
  DecodeStream stream = gemma_.decode_stream();
  std::size_t given = 0;
  for (int i = 0; i < 20000; ++i) given += stream.step(byte(0xFF)).size();
  given += stream.finish().size();
  EXPECT_EQ(given, 20000u * std::string("\uFFFD").size());
}

TEST(DecodeStream, GivesOutTheCertainPartOfATextWhoseEndIsOpen) {
  const Tokenizer gpt2 = Tokenizer::from_json(read(testing::data("gpt2.json")));
  const auto ids = gpt2.encode("a\xF0\x9F\x98\x80");  // the emoji takes several byte tokens
  DecodeStream stream = gpt2.decode_stream();
  EXPECT_EQ(stream.step(ids[0]), "a");
  for (std::size_t i = 1; i + 1 < ids.size(); ++i) EXPECT_EQ(stream.step(ids[i]), "");
  EXPECT_EQ(stream.step(ids.back()), "\xF0\x9F\x98\x80");
}

TEST(DecodeStream, OutlivesItsTokenizer) {
  auto gpt2 = std::make_unique<Tokenizer>(Tokenizer::from_json(read(testing::data("gpt2.json"))));
  const auto ids = gpt2->encode("Hello world");
  DecodeStream stream = gpt2->decode_stream();
  gpt2.reset();
  std::string text;
  for (TokenId id : ids) text += stream.step(id);
  EXPECT_EQ(text + stream.finish(), "Hello world");
}

TEST(DecodeStream, LeavesOutSpecialTokensWhenAsked) {
  const Tokenizer llama = Tokenizer::from_json(read(testing::data("llama3.json")));
  const auto ids = llama.encode("Hello world<|eot_id|>");
  DecodeStream stream = llama.decode_stream(true);
  std::string text;
  for (TokenId id : ids) text += stream.step(id);
  EXPECT_EQ(text + stream.finish(), "Hello world");
}

}  // namespace
}  // namespace mlxcpp::text
