#include "mlxcpp/text/messages.h"

#include "mlxcpp/base/error.h"
#include "tests/text/support.h"

#include <gtest/gtest.h>

namespace mlxcpp::text {
namespace {

using testing::Json;

TEST(Messages, CarryOnlyThePartsThatAreThere) {
  const std::vector<ChatMessage> messages = {
      {.role = "user", .content = "a \"b\"\n😀"},
      {.role = "assistant",
       .content = "",
       .reasoning_content = "hm",
       .tool_calls_json = R"([{"id": "1"}])"},
      {.role = "tool", .content = "42", .name = "f", .tool_call_id = "1"},
  };
  const Json expected = Json::parse(R"([
    {"role": "user", "content": "a \"b\"\n😀"},
    {"role": "assistant", "content": "", "reasoning_content": "hm", "tool_calls": [{"id": "1"}]},
    {"role": "tool", "content": "42", "name": "f", "tool_call_id": "1"}])");
  EXPECT_EQ(Json::parse(to_json(messages)), expected);
  EXPECT_EQ(to_json({}), "[]");
}

TEST(Messages, IllFormedTextBecomesReplacementCharacters) {
  const std::vector<ChatMessage> messages = {{.role = "user",
                                              .content = "a\xff"
                                                         "b"}};
  EXPECT_EQ(Json::parse(to_json(messages))[0]["content"], "a\uFFFDb");
}

TEST(Messages, ToolCallsThatAreNoJsonArrayAreRefused) {
  for (const char* bad : {"{}", "[", "  ", "[1], \"x\": [2]", "1"}) {
    const std::vector<ChatMessage> messages = {{.role = "assistant", .tool_calls_json = bad}};
    EXPECT_THROW(to_json(messages), InputError) << bad;
  }
}

struct Split {
  const char *text, *reasoning, *answer;
};

TEST(Messages, ReasoningAndAnswerAreTakenApart) {
  const Split cases[] = {
      {"<think>\na\nb\n</think>\n\nanswer ", "a\nb", "answer "},
      {"a\n</think>\n\nanswer", "a", "answer"},  // the prompt opened the reasoning
      {"<think>\ncut of", "cut of", ""},
      {"just an answer", "", "just an answer"},
      {"<think></think>x", "", "x"},
      {"", "", ""},
      {"<think>a</think>b</think>c", "a", "b</think>c"},
      {"x<think>a</think>b", "a", "xb"},
  };
  for (const Split& c : cases) {
    const Reasoned r = split_reasoning(c.text, "<think>", "</think>");
    EXPECT_EQ(r.reasoning, c.reasoning) << c.text;
    EXPECT_EQ(r.answer, c.answer) << c.text;
  }
}

TEST(Messages, WithoutMarkersAllIsAnswer) {
  EXPECT_EQ(split_reasoning(" <think>a", "", "").answer, " <think>a");
}

}  // namespace
}  // namespace mlxcpp::text
