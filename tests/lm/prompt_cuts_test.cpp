// Cuts of conversations: what is before one begins the prompt of the next turn, too.
#include "mlxcpp/lm/prompt_cuts.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace mlxcpp::lm {
namespace {

using Messages = std::vector<text::ChatMessage>;

const char* const kChatMl =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Reasoning stays until the user asks again, as in Qwen3's.
const char* const kForgetful =
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.index0 > ns.last %}<think>{{ m.reasoning_content }}</think>"
    "{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Without special tokens at the ends of messages.
const char* const kPlain =
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}";
const char* const kStrict =
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system') }}{% endif "
    "%}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles') }}{% endif %}"
    "<|im_start|>{{ m.content }}<|im_end|>{% endfor %}";

text::Tokenizer tokenizer(const std::string& chat_template) {
  std::string config = "{\"chat_template\": " + io::dump_string(chat_template) + "}";
  return text::Tokenizer::from_json(
      io::read_text(MLXCPP_TEST_DATA "/text/qwen2.json", io::kTokenizerLimit), config);
}

std::vector<TokenId> ids_of(const text::Tokenizer& t, const Messages& messages) {
  return t.apply_chat_template_ids(text::to_json(messages));
}

std::size_t shared(const std::vector<TokenId>& a, const std::vector<TokenId>& b) {
  return std::size_t(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

std::vector<PromptKind> kinds(const CutPrompt& p) {
  std::vector<PromptKind> all;
  for (auto& cut : p.cuts) all.push_back(cut.kind);
  return all;
}

constexpr auto kSystem = PromptKind::system, kUser = PromptKind::user;

TEST(PromptCuts, come_after_the_system_message_and_after_the_question) {
  auto t = tokenizer(kChatMl);
  Messages m = {{.role = "system", .content = "Be short."}, {.role = "user", .content = "Hello"}};
  auto p = cut_prompt(t, m);
  EXPECT_EQ(p.ids, ids_of(t, m));
  ASSERT_EQ(kinds(p), (std::vector{kSystem, kUser}));
  // Each ends with the beginning of the next message.
  EXPECT_EQ(p.ids[p.cuts[0].tokens - 1], t.id("<|im_start|>"));
  EXPECT_EQ(p.ids[p.cuts[1].tokens - 1], t.id("<|im_start|>"));
  Messages other = {m[0], {.role = "user", .content = "Something else"}};
  EXPECT_GE(shared(p.ids, ids_of(t, other)), p.cuts[0].tokens);
}

TEST(PromptCuts, come_also_after_the_result_of_a_tool) {
  auto t = tokenizer(kForgetful);
  Messages m = {{.role = "system", .content = "Use tools."},
                {.role = "user", .content = "Weather?"},
                {.role = "assistant", .content = "call", .reasoning_content = "I must ask."},
                {.role = "tool", .content = "sunny"}};
  auto p = cut_prompt(t, m);
  ASSERT_EQ(kinds(p), (std::vector{kSystem, kUser, kUser}));
  // The agent goes on: nothing changes.
  Messages next = m;
  next.push_back({.role = "assistant", .content = "call again"});
  next.push_back({.role = "tool", .content = "rain"});
  EXPECT_GE(shared(p.ids, ids_of(t, next)), p.cuts[2].tokens);
  // The user asks again: the template forgets the reasoning, and the cut after the question holds.
  next = m;
  next.push_back({.role = "assistant", .content = "It is sunny."});
  next.push_back({.role = "user", .content = "Thanks"});
  auto common = shared(p.ids, ids_of(t, next));
  EXPECT_GE(common, p.cuts[1].tokens);
  EXPECT_LT(common, p.cuts[2].tokens);
}

TEST(PromptCuts, hold_without_special_tokens_whatever_follows) {
  auto t = tokenizer(kPlain);
  Messages m = {{.role = "system", .content = "Be short."},
                {.role = "user", .content = "One"},
                {.role = "assistant", .content = "1"},
                {.role = "user", .content = "Two"}};
  auto p = cut_prompt(t, m);
  ASSERT_EQ(kinds(p), (std::vector{kSystem, kUser}));
  for (const char* answer : {"2", " two", "\n", "\u4e8c", "A", "b"}) {
    Messages next = m;
    next.push_back({.role = "assistant", .content = answer});
    next.push_back({.role = "user", .content = "Three"});
    EXPECT_GE(shared(p.ids, ids_of(t, next)), p.cuts[1].tokens) << answer;
  }
}

TEST(PromptCuts, after_the_system_messages_alone_leave_other_messages_to_the_template) {
  auto t = tokenizer(kChatMl);
  Messages m = {{.role = "system", .content = "Be short."},
                {.role = "developer", .content = "And kind."},
                {.role = "user", .content = "Hello"}};
  auto whole = cut_prompt(t, m), only = cut_system_prompt(t, text::to_json(m));
  EXPECT_EQ(only.ids, whole.ids);
  EXPECT_EQ(only.cuts, std::vector{whole.cuts.at(0)});
  // Content in parts, and what else templates may read.
  std::string rest = R"({"role": "user", "content": [{"type": "text", "text": "x"}], "more": 1}])";
  std::string system = R"([{"role": "system", "content": "Be short."}, )";
  auto odd = cut_system_prompt(t, system + rest);
  EXPECT_EQ(odd.ids, t.apply_chat_template_ids(system + rest));
  EXPECT_EQ(kinds(odd), std::vector{kSystem});
  EXPECT_TRUE(cut_system_prompt(t, "[" + rest).cuts.empty());
}

TEST(PromptCuts, are_left_out_where_the_template_refuses_to_say) {
  auto t = tokenizer(kStrict);
  Messages m = {{.role = "user", .content = "One"}};
  EXPECT_EQ(kinds(cut_prompt(t, m)), std::vector{kUser});
  m.insert(m.begin(), {.role = "system", .content = "no"});
  EXPECT_THROW(cut_prompt(t, m), InputError);
}

TEST(PromptCuts, of_an_answer_that_goes_on_come_before_it) {
  auto t = tokenizer(kChatMl);
  Messages m = {{.role = "user", .content = "One"}, {.role = "assistant", .content = "Well"}};
  auto p = cut_prompt(t, m, {.add_generation_prompt = false, .continue_final_message = true});
  ASSERT_EQ(kinds(p), std::vector{kUser});
  EXPECT_LT(p.cuts[0].tokens, p.ids.size());
}

}  // namespace
}  // namespace mlxcpp::lm
