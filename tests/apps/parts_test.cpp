// Parts of the command that need no process.
#include "apps/common/generation.h"
#include "apps/common/model.h"
#include "apps/common/progress.h"
#include "apps/common/reasoning.h"
#include "apps/common/spelling.h"
#include "mlxcpp/base/error.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace mlxcpp::apps {
namespace {

// --- Reasoning ----------------------------------------------------------------------------------

/// What is thought and what is said when `pieces` arrive one by one.
std::pair<std::string, std::string> split(const std::vector<std::string>& pieces) {
  ReasoningSplitter splitter("<think>", "</think>");
  std::pair<std::string, std::string> all;
  auto take = [&](const std::vector<ReasoningSplitter::Piece>& found) {
    for (auto& piece : found) (piece.reasoning ? all.first : all.second) += piece.text;
  };
  for (auto& piece : pieces) take(splitter.push(piece));
  take(splitter.finish());
  return all;
}
using Split = std::pair<std::string, std::string>;

TEST(Reasoning, is_told_from_the_answer_wherever_the_text_is_cut) {
  const std::string text = "a<think>hm < 3</think>b<thin c";
  for (std::size_t cut = 0; cut <= text.size(); ++cut)
    EXPECT_EQ(split({text.substr(0, cut), text.substr(cut)}), Split("hm < 3", "ab<thin c")) << cut;
  std::vector<std::string> bytes;
  for (char c : text) bytes.emplace_back(1, c);
  EXPECT_EQ(split(bytes), Split("hm < 3", "ab<thin c"));
}

TEST(Reasoning, that_was_cut_off_stays_reasoning) {
  EXPECT_EQ(split({"<think>so </thi"}), Split("so </thi", ""));
}

TEST(Reasoning, is_shown_as_soon_as_it_can_not_be_a_marker) {
  ReasoningSplitter splitter("<think>", "</think>");
  EXPECT_EQ(splitter.push("1 <t"), (std::vector<ReasoningSplitter::Piece>{{"1 ", false}}));
  EXPECT_EQ(splitter.push("u"), (std::vector<ReasoningSplitter::Piece>{{"<tu", false}}));
}

TEST(Reasoning, without_markers_everything_is_said) {
  ReasoningSplitter splitter("", "");
  EXPECT_EQ(splitter.push("<think>"), (std::vector<ReasoningSplitter::Piece>{{"<think>", false}}));
}

// --- Lists and pairs from the command line ------------------------------------------------------

TEST(Ids, are_read_with_commas_or_blanks_between) {
  EXPECT_EQ(parse_ids("--tokens", "1,2,30"), (std::vector<int>{1, 2, 30}));
  EXPECT_EQ(parse_ids("--tokens", "7 8"), (std::vector<int>{7, 8}));
  EXPECT_EQ(parse_ids("--tokens", "0"), (std::vector<int>{0}));
}

TEST(Ids, that_are_not_such_a_list_are_refused_naming_the_flag) {
  for (const char* text :
       {"", ",", "1,", ",1", "1,,2", "-1", "1,-2", "1.5", "x", "1;2", "99999999999", "+1"}) {
    try {
      parse_ids("--tokens", text);
      ADD_FAILURE() << text;
    } catch (const InputError& e) {
      EXPECT_TRUE(std::string(e.what()).starts_with("--tokens: ")) << e.what();
    }
  }
}

TEST(LogitBias, is_an_id_and_a_number) {
  EXPECT_EQ(parse_logit_bias("50=-2.5"), (std::pair<int, float>(50, -2.5f)));
  EXPECT_EQ(parse_logit_bias("0=1e3"), (std::pair<int, float>(0, 1000.f)));
  for (const char* text : {"", "=", "5", "5=", "=1", "5=x", "5=1x", "x=1", "5.5=1", "5 =1"})
    EXPECT_THROW(parse_logit_bias(text), InputError) << text;
}

TEST(FlagTerms, name_the_flag_instead_of_the_field) {
  EXPECT_EQ(in_flag_terms("min_p: bad value"), "--min-p: bad value");
  EXPECT_EQ(in_flag_terms("prompt is_too_long"), "prompt is_too_long");
  EXPECT_EQ(in_flag_terms("--stop: empty"), "--stop: empty");
}

TEST(Flags, win_over_the_models_advice_which_wins_over_our_defaults) {
  auto tokenizer = text::Tokenizer::from_spec(
      {.model = "llama", .tokens = {"<unk>", "\n"}, .scores = {0, 0}, .kinds = {2, 1}, .unk = 0});
  lm::GenerationDefaults advice{.temperature = 0.7f, .top_p = 0.9f};
  GenerationFlags flags;
  flags.top_p = 0.5f;
  auto options = make_options(flags, advice, tokenizer);
  EXPECT_EQ(options.sample.temperature, 0.7f);
  EXPECT_EQ(options.sample.top_p, 0.5f);
  EXPECT_EQ(options.sample.top_k, 0);
}

// --- Texts --------------------------------------------------------------------------------------

TEST(Spelling, finds_the_nearest_known_word) {
  std::vector<std::string> verbs = {"generate", "chat", "info", "tokenize"};
  EXPECT_EQ(nearest("genrate", verbs), "generate");
  EXPECT_EQ(nearest("gen", verbs), "generate");
  EXPECT_EQ(nearest("tokenise", verbs), "tokenize");
  EXPECT_EQ(nearest("chta", verbs), "");
  EXPECT_EQ(nearest("serve", verbs), "");
  EXPECT_EQ(nearest("", verbs), "");
}

TEST(Bytes, are_written_in_decimal_units) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(1000), "1.0 kB");
  EXPECT_EQ(human_bytes(96576768), "96.6 MB");
  EXPECT_EQ(human_bytes(999'999'999), "1.0 GB");
  EXPECT_EQ(human_bytes(UINT64_MAX), "18446744.1 TB");
}

TEST(Progress, is_drawn_as_a_bar_with_its_amounts) {
  using Unit = ProgressBar::Unit;
  EXPECT_EQ(progress_line("Loading", Unit::bytes, 1'000'000, 2'000'000),
            "Loading [############------------]  50%  1.0 MB / 2.0 MB");
  EXPECT_EQ(progress_line("Prompt", Unit::tokens, 0, 0),
            "Prompt [########################] 100%  0 / 0 tokens");
}

}  // namespace
}  // namespace mlxcpp::apps
