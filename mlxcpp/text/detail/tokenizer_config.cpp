#include "mlxcpp/text/detail/tokenizer_config.h"

#include "mlxcpp/base/error.h"

#include <nlohmann/json.hpp>

#include <charconv>
#include <cstdint>
#include <limits>
#include <unordered_set>
#include <utility>

namespace mlxcpp::text::detail {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 64;

[[noreturn]] void fail(std::string_view where, std::string_view what, std::string_view expected) {
  throw TokenizerError(describe(where, what, expected));
}

Json parse_object(std::string_view text, std::string_view where) {
  const auto shallow = [&](int depth, Json::parse_event_t, Json&) {
    if (depth > kMaxDepth) fail(where, "nested too deeply", "at most 64 levels");
    return true;
  };
  Json json;
  try {
    json = Json::parse(text, shallow);
  } catch (const Json::exception& e) {
    throw TokenizerError(describe(where, std::string("not JSON: ") + e.what()));
  }
  if (!json.is_object()) fail(where, "not an object", "a JSON object");
  return json;
}

/// Absent and null are the same.
const Json* find(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::string at(std::string_view where, std::string_view key) {
  return std::string(where).append(".").append(key);
}

const std::string& get_string(const Json& value, const std::string& where) {
  if (!value.is_string()) fail(where, "wrong type", "a string");
  return value.get_ref<const std::string&>();
}

/// A special token is its spelling, or an object that holds it.
std::optional<std::string> special_token(const Json& config,
                                         const char* key,
                                         std::string_view where) {
  const Json* value = find(config, key);
  if (value && value->is_object()) value = find(*value, "content");
  if (!value) return std::nullopt;
  return get_string(*value, at(where, key));
}

std::optional<bool> get_bool(const Json& config, const char* key, std::string_view where) {
  const Json* value = find(config, key);
  if (!value) return std::nullopt;
  if (!value->is_boolean()) fail(at(where, key), "wrong type", "true or false");
  return value->get<bool>();
}

TokenId get_id(const Json& value, const std::string& where) {
  const bool fits = value.is_number_unsigned() &&
                    value.get<std::uint64_t>() <= std::numeric_limits<TokenId>::max();
  if (!fits) fail(where, "not a token id", "a number from 0 to 4294967295");
  return value.get<TokenId>();
}

std::vector<AddedToken> added_tokens_decoder(const Json& config, std::string_view where) {
  std::vector<AddedToken> tokens;
  const Json* map = find(config, "added_tokens_decoder");
  if (!map) return tokens;
  const std::string here = at(where, "added_tokens_decoder");
  if (!map->is_object()) fail(here, "wrong type", "an object");
  for (const auto& [key, value] : map->items()) {
    AddedToken token{};
    const char* end = key.data() + key.size();
    const auto [stop, error] = std::from_chars(key.data(), end, token.id);
    if (error != std::errc() || stop != end) fail(at(here, key), "not a token id", "digits");
    const Json* content = value.is_object() ? find(value, "content") : nullptr;
    if (!content) fail(at(here, key), "no content", "an object with content");
    token.content = get_string(*content, at(here, key));
    token.special = get_bool(value, "special", at(here, key)).value_or(false);
    tokens.push_back(std::move(token));
  }
  return tokens;
}

/// One template, or a list of named ones.
std::vector<NamedTemplate> templates(const Json& config, std::string_view where) {
  const Json* value = find(config, "chat_template");
  if (!value) return {};
  const std::string here = at(where, "chat_template");
  if (value->is_string()) return {{"default", value->get<std::string>()}};
  if (!value->is_array()) fail(here, "wrong type", "a string or a list of named templates");
  std::vector<NamedTemplate> found;
  for (const Json& item : *value) {
    const Json* name = item.is_object() ? find(item, "name") : nullptr;
    const Json* source = item.is_object() ? find(item, "template") : nullptr;
    if (!name || !source) fail(here, "bad list item", "an object with name and template");
    found.push_back({get_string(*name, here), get_string(*source, here)});
  }
  return found;
}

void fill(std::optional<std::string>& slot, std::optional<std::string> value) {
  if (!slot) slot = std::move(value);
}

void fill_special_tokens(const Json& json, std::string_view where, TokenizerConfig& config) {
  fill(config.bos, special_token(json, "bos_token", where));
  fill(config.eos, special_token(json, "eos_token", where));
  fill(config.unk, special_token(json, "unk_token", where));
  fill(config.pad, special_token(json, "pad_token", where));
}

}  // namespace

TokenizerConfig parse_tokenizer_config(std::string_view text, std::string_view where) {
  TokenizerConfig config;
  if (text.empty()) return config;
  const Json json = parse_object(text, where);
  fill_special_tokens(json, where, config);
  config.add_bos = get_bool(json, "add_bos_token", where);
  config.add_eos = get_bool(json, "add_eos_token", where);
  if (const Json* name = find(json, "tokenizer_class")) {
    config.tokenizer_class = get_string(*name, at(where, "tokenizer_class"));
  }
  config.added_tokens = added_tokens_decoder(json, where);
  config.templates = templates(json, where);
  return config;
}

void add_special_tokens_map(std::string_view text,
                            std::string_view where,
                            TokenizerConfig& config) {
  fill_special_tokens(parse_object(text, where), where, config);
}

void add_added_tokens(std::string_view text, std::string_view where, TokenizerConfig& config) {
  std::unordered_set<std::string> known;
  for (const AddedToken& token : config.added_tokens) known.insert(token.content);
  const Json json = parse_object(text, where);
  for (const auto& [content, id] : json.items()) {
    if (known.contains(content)) continue;
    config.added_tokens.push_back({get_id(id, at(where, content)), content, false});
  }
}

std::vector<NamedTemplate> parse_chat_template_json(std::string_view text, std::string_view where) {
  return templates(parse_object(text, where), where);
}

}  // namespace mlxcpp::text::detail
