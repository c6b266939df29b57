#include "mlxcpp/lm/sequence_breakers.h"

#include "mlxcpp/base/error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>

namespace mlxcpp::lm {
namespace {

using Sequences = std::vector<std::vector<text::TokenId>>;

std::string read(const std::string& name) {
  std::ifstream file(MLXCPP_TEST_DATA "/text/" + name, std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

struct Case {
  std::string name;
  text::Tokenizer tokenizer;
};
std::vector<Case> tokenizers() {
  return {{"bytes", text::Tokenizer::from_json(read("smollm.json"))},
          {"sentencepiece", text::Tokenizer::from_sentencepiece(read("spm_bpe.model"))}};
}

bool holds(const std::vector<text::TokenId>& ids, const Sequences& sequences) {
  return std::any_of(sequences.begin(), sequences.end(), [&](auto& s) {
    return std::search(ids.begin(), ids.end(), s.begin(), s.end()) != ids.end();
  });
}

TEST(SequenceBreakers, AreFoundInATextExactlyWhereItHoldsThem) {
  // The rest of one that ends inside of a token can not be told from its own tokens, so the longer
  // ones end their texts.
  const std::vector<std::string> texts = {"one: two",
                                          "one two",
                                          "the end.\nA new line",
                                          "no end. The same line",
                                          "a::b",
                                          "hello the re",
                                          "say hello there",
                                          "and then",
                                          "see the t",
                                          "see the w"};
  for (auto& [name, tokenizer] : tokenizers())
    for (std::string breaker : {":", "\n", "there", "e t", "the w", "."}) {
      auto sequences = sequence_breakers(tokenizer, {breaker});
      for (auto& text : texts) {
        bool there = text.find(breaker) != text.npos;
        if (there && breaker.size() > 1 && !text.ends_with(breaker)) continue;
        EXPECT_EQ(holds(tokenizer.encode(text, false), sequences), there)
            << name << ": '" << breaker << "' in '" << text << "'";
      }
    }
}

TEST(SequenceBreakers, AreEachThereOnce) {
  auto tokenizer = tokenizers()[0].tokenizer;
  auto both = sequence_breakers(tokenizer, {":", ":"});
  EXPECT_EQ(both, sequence_breakers(tokenizer, {":"}));
  for (auto& s : both) EXPECT_FALSE(s.empty());
  EXPECT_TRUE(sequence_breakers(tokenizer, {}).empty());
}

TEST(SequenceBreakers, HaveOneToFortyBytes) {
  EXPECT_NO_THROW(check_sequence_breakers({"x", std::string(40, 'x')}));
  EXPECT_NO_THROW(check_sequence_breakers(default_sequence_breakers()));
  try {
    check_sequence_breakers({"x", std::string(41, 'x')});
    FAIL();
  } catch (const InputError& e) {
    EXPECT_STREQ(
        e.what(),
        "dry_sequence_breaker: bad value; expected a text of 1 to 40 bytes, found 41 bytes");
  }
  EXPECT_THROW(check_sequence_breakers({""}), InputError);
}

}  // namespace
}  // namespace mlxcpp::lm
