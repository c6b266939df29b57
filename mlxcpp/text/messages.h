// Chat messages as plain values, so that callers need no JSON library to use a chat template.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace mlxcpp::text {

/// One message of a conversation.  Empty optional parts are left out of the JSON.
struct ChatMessage {
  std::string role;                 // system, user, assistant, tool, developer ...
  std::string content;              // always written, also when empty
  std::string reasoning_content{};  // what an assistant thought before it answered
  std::string name{};
  std::string tool_call_id{};
  std::string tool_calls_json{};  // a JSON array in OpenAI's form
};

/// The messages as the JSON array that chat templates read.  Ill-formed UTF-8 becomes U+FFFD.
/// Throws InputError if a tool_calls_json is not a JSON array.
std::string to_json(std::span<const ChatMessage> messages);

/// An assistant's text, taken apart.
struct Reasoned {
  std::string reasoning;
  std::string answer;
};

/// Splits `text` at the thinking markers.  Text before an `end` without `start` is reasoning (the
/// prompt may have opened it); after a `start` without `end` all is reasoning (it was cut off).
/// White space around both parts is dropped where a marker stood.  Empty markers: all is answer.
Reasoned split_reasoning(std::string_view text, std::string_view start, std::string_view end);

}  // namespace mlxcpp::text
