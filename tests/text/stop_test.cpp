// Stop strings against a plain search in the whole text after every piece.
#include "mlxcpp/text/stop.h"

#include <gtest/gtest.h>

#include <random>
#include <span>

namespace mlxcpp::text {
namespace {

struct Outcome {
  std::string text;
  std::optional<std::string> stop;
  bool operator==(const Outcome&) const = default;
};

void PrintTo(const Outcome& o, std::ostream* out) {
  *out << '"' << o.text << "\" stopped by " << (o.stop ? *o.stop : "nothing");
}

/// The definition: after each piece, the stop string that starts first in all of the text.
Outcome by_search(const std::vector<std::string>& stops, std::span<const std::string> pieces) {
  std::string text;
  for (const std::string& piece : pieces) {
    text += piece;
    std::size_t first = std::string::npos;
    const std::string* found = nullptr;
    for (const std::string& stop : stops) {
      for (std::size_t at = 0; !stop.empty() && at + stop.size() <= text.size(); ++at) {
        if (text.compare(at, stop.size(), stop) != 0) continue;
        if (at < first) first = at, found = &stop;
        break;
      }
    }
    if (found) return {text.substr(0, first), *found};
  }
  return {text, std::nullopt};
}

Outcome by_matcher(const std::vector<std::string>& stops, std::span<const std::string> pieces) {
  StopMatcher matcher(stops);
  std::string text;
  for (const std::string& piece : pieces) text += matcher.push(piece);
  text += matcher.finish();
  return {text, matcher.found()};
}

std::string random_text(std::mt19937& random, std::size_t most) {
  static const std::vector<std::string> kLetters = {"a", "b", "ab", "é", "你", "😀"};
  std::string text;
  for (std::size_t n = random() % (most + 1); n > 0; --n) text += kLetters[random() % 6];
  return text;
}

TEST(StopMatcher, AgreesWithAPlainSearchOnRandomTexts) {
  std::mt19937 random(3);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(random() % 4), pieces(random() % 12);
    for (auto& stop : stops) stop = random_text(random, 4);
    for (auto& piece : pieces) piece = random_text(random, 3);
    ASSERT_EQ(by_matcher(stops, pieces), by_search(stops, pieces)) << "round " << round;
  }
}

/// What can be the beginning of a stop string is held back, and nothing else.
TEST(StopMatcher, HoldsBackNoMoreThanItMust) {
  std::mt19937 random(5);
  for (int round = 0; round < 5000; ++round) {
    const std::vector<std::string> stops = {"ab你a", "é你"};
    StopMatcher matcher(stops);
    std::string given, seen;
    for (int i = 0; i < 8 && !matcher.found(); ++i) {
      const std::string piece = random_text(random, 2);
      seen += piece;
      given += matcher.push(piece);
      if (matcher.found()) break;
      std::size_t longest = 0;
      for (const auto& stop : stops) {
        for (std::size_t n = 1; n < stop.size(); ++n) {
          if (seen.size() >= n && seen.ends_with(stop.substr(0, n))) longest = std::max(longest, n);
        }
      }
      ASSERT_EQ(given, seen.substr(0, seen.size() - longest));
    }
  }
}

TEST(StopMatcher, WithoutStopStringsPiecesPassUnchanged) {
  StopMatcher matcher({"", ""});
  EXPECT_EQ(matcher.push("a"), "a");
  EXPECT_EQ(matcher.push(""), "");
  EXPECT_EQ(matcher.push("bc"), "bc");
  EXPECT_EQ(matcher.finish(), "");
  EXPECT_EQ(matcher.found(), std::nullopt);
}

TEST(StopMatcher, OfStopStringsAtOnePlaceTheFirstGivenWins) {
  const std::vector<std::string> pieces = {"xabc"};
  EXPECT_EQ(by_matcher({"ab", "abc"}, pieces), (Outcome{"x", "ab"}));
  EXPECT_EQ(by_matcher({"abc", "ab"}, pieces), (Outcome{"x", "abc"}));
}

TEST(StopMatcher, GivesNothingMoreOnceItStopped) {
  StopMatcher matcher({"END"});
  EXPECT_EQ(matcher.push("one E"), "one ");
  EXPECT_EQ(matcher.push("ND two"), "");
  EXPECT_EQ(matcher.push("three"), "");
  EXPECT_EQ(matcher.finish(), "");
  EXPECT_EQ(matcher.found(), "END");
}

TEST(StopMatcher, AStopStringThatStartsInsideACharacterSplitsNone) {
  StopMatcher matcher({"\x80!"});  // the last byte of U+1F600
  EXPECT_EQ(matcher.push("a😀"), "a");
  EXPECT_EQ(matcher.push("b"), "😀b");
}

}  // namespace
}  // namespace mlxcpp::text
