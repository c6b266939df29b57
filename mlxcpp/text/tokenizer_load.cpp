// Where tokenizers come from: directories, texts, GGUF vocabularies.
#include "mlxcpp/io/file.h"
#include "mlxcpp/text/detail/tokenizer_state.h"
#include "mlxcpp/text/tokenizer.h"

#include <utility>

namespace mlxcpp::text {
namespace {

namespace fs = std::filesystem;
using detail::call;
using detail::NamedTemplate;
using detail::TokenizerConfig;

constexpr std::string_view kJson = "tokenizer.json";
constexpr std::string_view kSentencepiece = "tokenizer.model";
constexpr std::string_view kConfig = "tokenizer_config.json";

/// A switch for the bridge: -1 leaves it to the model.
std::int8_t tri(std::optional<bool> value) {
  return value ? static_cast<std::int8_t>(*value) : std::int8_t{-1};
}

std::int64_t id_or_none(std::optional<TokenId> id) {
  return id ? static_cast<std::int64_t>(*id) : -1;
}

rust::Box<bridge::RsTokenizer> parse_json(std::string_view text, std::string_view where) {
  return call(where, [&] { return bridge::tokenizer_from_json(detail::bytes(text)); });
}

/// The config adds tokens that a sentencepiece model does not hold.
rust::Box<bridge::RsTokenizer> parse_sentencepiece(std::string_view model,
                                                   std::string_view where,
                                                   const TokenizerConfig& config) {
  std::vector<bridge::AddedToken> added;
  for (const detail::AddedToken& t : config.added_tokens) {
    added.push_back({rust::String::lossy(t.content), t.id, t.special});
  }
  return call(where, [&] {
    auto rs = bridge::tokenizer_from_sentencepiece(
        detail::bytes(model), tri(config.add_bos), tri(config.add_eos));
    if (added.empty()) return rs;
    return rs->with_added_tokens({added.data(), added.size()});
  });
}

bridge::VocabSpec to_rust(const VocabSpec& spec) {
  return {
      .model = rust::String::lossy(spec.model),
      .pre = rust::String::lossy(spec.pre),
      .tokens = detail::to_rust(spec.tokens),
      .scores = detail::to_rust(spec.scores),
      .kinds = detail::to_rust(spec.kinds),
      .merges = detail::to_rust(spec.merges),
      .charsmap = detail::to_rust(spec.charsmap),
      .bos = id_or_none(spec.bos),
      .eos = id_or_none(spec.eos),
      .unk = id_or_none(spec.unk),
      .sep = id_or_none(spec.sep),
      .cls = id_or_none(spec.cls),
      .add_bos = tri(spec.add_bos),
      .add_eos = tri(spec.add_eos),
      .add_space_prefix = tri(spec.add_space_prefix),
      .remove_extra_whitespaces = spec.remove_extra_whitespaces,
  };
}

/// chat_template.jinja (with its tool_use companion) wins over chat_template.json, and that over
/// what tokenizer_config.json holds.
std::vector<NamedTemplate> read_templates(const fs::path& directory) {
  const auto read = [&](const fs::path& name) {
    return io::read_text_if_exists(directory / name, io::kTokenizerMetadataLimit);
  };
  std::vector<NamedTemplate> found;
  if (auto text = read("chat_template.jinja")) found.push_back({"default", std::move(*text)});
  const fs::path tool_use = fs::path("additional_chat_templates") / "tool_use.jinja";
  if (auto text = read(tool_use)) found.push_back({"tool_use", std::move(*text)});
  if (!found.empty()) return found;
  const fs::path json = "chat_template.json";
  if (auto text = read(json)) {
    return detail::parse_chat_template_json(*text, (directory / json).string());
  }
  return {};
}

TokenizerConfig read_config(const fs::path& directory) {
  const auto read = [&](std::string_view name) {
    return io::read_text_if_exists(directory / name, io::kTokenizerMetadataLimit);
  };
  const auto where = [&](std::string_view name) { return (directory / name).string(); };
  TokenizerConfig config;
  if (auto text = read(kConfig)) config = detail::parse_tokenizer_config(*text, where(kConfig));
  if (auto text = read("special_tokens_map.json")) {
    detail::add_special_tokens_map(*text, where("special_tokens_map.json"), config);
  }
  if (auto text = read("added_tokens.json")) {
    detail::add_added_tokens(*text, where("added_tokens.json"), config);
  }
  if (auto templates = read_templates(directory); !templates.empty()) {
    config.templates = std::move(templates);
  }
  return config;
}

}  // namespace

Tokenizer Tokenizer::from_directory(const std::string& path, EosIds eos) {
  fs::path directory(path);
  const fs::path json = directory / kJson, model = directory / kSentencepiece;
  if (auto text = io::read_text_if_exists(json, io::kTokenizerLimit)) {
    auto rs = parse_json(*text, json.string());
    return {make_state(std::move(rs), read_config(directory)), std::move(eos)};
  }
  std::error_code ignored;
  if (!fs::exists(model, ignored)) {
    throw TokenizerError(
        describe(directory.string(), "no tokenizer", "tokenizer.json or tokenizer.model"));
  }
  const TokenizerConfig config = read_config(directory);
  const std::string bytes = io::read_bytes(model, io::kTokenizerLimit);
  return {make_state(parse_sentencepiece(bytes, model.string(), config), config), std::move(eos)};
}

Tokenizer Tokenizer::from_json(std::string_view tokenizer_json,
                               std::string_view config_json,
                               EosIds eos) {
  auto rs = parse_json(tokenizer_json, kJson);
  const TokenizerConfig config = detail::parse_tokenizer_config(config_json, kConfig);
  return {make_state(std::move(rs), config), std::move(eos)};
}

Tokenizer Tokenizer::from_sentencepiece(std::string_view model,
                                        std::string_view config_json,
                                        EosIds eos) {
  const TokenizerConfig config = detail::parse_tokenizer_config(config_json, kConfig);
  return {make_state(parse_sentencepiece(model, kSentencepiece, config), config), std::move(eos)};
}

Tokenizer Tokenizer::from_spec(const VocabSpec& spec, std::string_view chat_template, EosIds eos) {
  TokenizerConfig config;
  if (!chat_template.empty()) config.templates = {{"default", std::string(chat_template)}};
  auto rs = call("vocabulary", [&] { return bridge::tokenizer_from_spec(to_rust(spec)); });
  return {make_state(std::move(rs), config), std::move(eos)};
}

}  // namespace mlxcpp::text
