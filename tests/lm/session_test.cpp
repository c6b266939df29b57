#include "mlxcpp/lm/session.h"

#include "mlxcpp/base/error.h"

#include <gtest/gtest.h>

namespace mlxcpp::lm {
namespace {

ModelContext tiny() {
  ModelTypeRegistry registry;
  add_models(registry);
  return ModelContext::load(
      ModelConfiguration::from_directory(MLXCPP_TEST_DATA "/lm/llama_gguf_f32.gguf"), registry);
}

SessionOptions short_answers() {
  SessionOptions o;
  o.generate.max_tokens = 4;
  o.generate.ignore_eos = true;
  return o;
}

struct Answer {
  std::string text;
  GenerateStats stats;
};
Answer answer(ChatSession& session, std::string_view question) {
  Answer a;
  session.ask(question);
  while (auto e = session.next()) {
    a.text += e->text;
    a.stats = e->stats;
  }
  return a;
}

TEST(ChatSession, keeps_the_conversation) {
  ChatSession s(tiny(), short_answers());
  auto a = answer(s, "hi");
  ASSERT_EQ(s.messages().size(), 2u);
  EXPECT_EQ(s.messages()[0].role, "user");
  EXPECT_EQ(s.messages()[0].content, "hi");
  EXPECT_EQ(s.messages()[1].role, "assistant");
  EXPECT_EQ(s.messages()[1].content, a.text);
}

TEST(ChatSession, does_not_compute_the_conversation_again) {
  ChatSession s(tiny(), short_answers());
  EXPECT_EQ(answer(s, "hi").stats.cached_tokens, 0);
  auto second = answer(s, "more");
  EXPECT_GT(second.stats.cached_tokens, 0);

  ChatSession fresh(tiny(), short_answers());  // the same conversation without a cache
  fresh.restore(s.to_json());
  ChatSession again(tiny(), short_answers());
  auto messages = s.messages();
  std::string first_answer = messages[1].content;
  EXPECT_EQ(answer(again, "hi").text, first_answer);
  EXPECT_EQ(answer(again, "more").text, second.text);
}

TEST(ChatSession, a_cut_answer_stays_as_far_as_it_came) {
  auto o = short_answers();
  o.generate.max_tokens = 50;
  ChatSession s(tiny(), o);
  s.ask("hi");
  std::string text;
  for (int i = 0; i < 5; ++i) text += s.next()->text;
  s.cancel();
  while (auto e = s.next()) text += e->text;
  ASSERT_EQ(s.messages().size(), 2u);
  EXPECT_EQ(s.messages()[1].content, text);
}

TEST(ChatSession, a_question_without_any_answer_is_taken_back) {
  ChatSession s(tiny(), short_answers());
  s.ask("hi");
  s.cancel();
  while (s.next()) {
  }
  EXPECT_TRUE(s.messages().empty());
}

TEST(ChatSession, a_question_that_does_not_fit_changes_nothing) {
  ChatSession s(tiny(), short_answers());
  answer(s, "hi");
  std::string before = s.to_json();
  EXPECT_THROW(s.ask(std::string(100000, 'x')), InputError);
  EXPECT_EQ(s.to_json(), before);
  EXPECT_FALSE(s.next());
}

TEST(ChatSession, reset_forgets_all_but_the_system_message) {
  ChatSession s(tiny(), short_answers());
  s.set_system("be brief");
  answer(s, "hi");
  s.reset();
  EXPECT_TRUE(s.messages().empty());
  EXPECT_EQ(s.system(), "be brief");
}

TEST(ChatSession, saved_and_restored_it_answers_the_same) {
  ChatSession s(tiny(), short_answers());
  s.set_system("be \"brief\"\n");
  answer(s, "h\u00e9llo");
  std::string saved = s.to_json();
  ChatSession other(tiny(), short_answers());
  other.restore(saved);
  EXPECT_EQ(other.to_json(), saved);
  EXPECT_EQ(other.messages()[0].content, "h\u00e9llo");
  EXPECT_EQ(answer(other, "more").text, answer(s, "more").text);
}

TEST(ChatSession, what_is_no_saved_chat_changes_nothing) {
  ChatSession s(tiny(), short_answers());
  answer(s, "hi");
  std::string before = s.to_json();
  for (auto bad : {"", "[]", "{\"messages\": 3}", "{\"messages\": [{\"content\": \"x\"}]}"})
    EXPECT_THROW(s.restore(bad), ConfigError) << bad;
  EXPECT_EQ(s.to_json(), before);
}

}  // namespace
}  // namespace mlxcpp::lm
