#include "mlxcpp/text/messages.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"

#include <nlohmann/json.hpp>

namespace mlxcpp::text {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string trim(std::string_view text) {
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kSpace) - first + 1));
}

std::string trim_left(std::string_view text) {
  const auto first = text.find_first_not_of(kSpace);
  return first == std::string_view::npos ? std::string() : std::string(text.substr(first));
}

/// The text stands in other JSON afterwards, so it must be a whole value of its own.
void check_array(std::string_view json) {
  const auto first = json.find_first_not_of(kSpace);
  const bool is_array = first != std::string_view::npos && json[first] == '[';
  if (!is_array || !nlohmann::json::accept(json)) {
    throw InputError(describe("tool_calls", "wrong form", "a JSON array"));
  }
}

void write(io::JsonWriter& json, const ChatMessage& message) {
  const auto optional = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) json.member(name, value);
  };
  json.begin_object().member("role", message.role).member("content", message.content);
  optional("reasoning_content", message.reasoning_content);
  optional("name", message.name);
  optional("tool_call_id", message.tool_call_id);
  if (!message.tool_calls_json.empty()) {
    check_array(message.tool_calls_json);
    json.key("tool_calls").raw(message.tool_calls_json);
  }
  json.end_object();
}

}  // namespace

std::string to_json(std::span<const ChatMessage> messages) {
  io::JsonWriter json;
  json.begin_list();
  for (const ChatMessage& message : messages) write(json, message);
  json.end_list();
  return json.str();
}

Reasoned split_reasoning(std::string_view text, std::string_view start, std::string_view end) {
  if (start.empty() || end.empty()) return {{}, std::string(text)};
  const auto npos = std::string_view::npos;
  const auto open = text.find(start);
  const auto close = text.find(end, open == npos ? 0 : open + start.size());
  if (open == npos && close == npos) return {{}, std::string(text)};
  // Without an end the text was cut off; without a start the prompt opened the reasoning.
  const auto from = open == npos ? 0 : open + start.size();
  const std::string_view before = open == npos ? std::string_view() : text.substr(0, open);
  if (close == npos) return {trim(text.substr(from)), trim(before)};
  const std::string answer = trim_left(before) + trim_left(text.substr(close + end.size()));
  return {trim(text.substr(from, close - from)), answer};
}

}  // namespace mlxcpp::text
