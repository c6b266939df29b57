#include "mlxcpp/text/detail/tokenizer_state.h"

#include <array>
#include <utility>

namespace mlxcpp::text::detail {
namespace {

std::optional<TokenId> named(std::int64_t id) {
  if (id < 0) return std::nullopt;
  return static_cast<TokenId>(id);
}

/// A spelling from the files wins over what the vocabulary says.
std::optional<TokenId> special_id(const bridge::RsTokenizer& rs,
                                  const std::optional<std::string>& spelling,
                                  std::int64_t vocabulary_id) {
  return spelling ? find_id(rs, *spelling) : named(vocabulary_id);
}

std::string spelling_of(const bridge::RsTokenizer& rs, std::optional<TokenId> id) {
  if (!id || !rs.has_id(*id)) return {};
  return std::string(rs.id_to_token(*id));
}

std::vector<TokenId> ids_of(const bridge::RsTokenizer& rs, std::string_view text) {
  return copy(rs.encode_ids(bytes(text), false));
}

bool has(const bridge::RsTokenizer& rs, std::initializer_list<std::string_view> tokens) {
  for (std::string_view token : tokens) {
    if (!find_id(rs, token)) return false;
  }
  return true;
}

ThinkingMarkers markers(const bridge::RsTokenizer& rs, std::string start, std::string end) {
  std::vector<TokenId> start_ids = ids_of(rs, start);
  std::vector<TokenId> end_ids = ids_of(rs, end);
  return {std::move(start), std::move(end), std::move(start_ids), std::move(end_ids)};
}

/// The pairs that mlx-lm knows, in its order.
std::optional<ThinkingMarkers> infer_thinking(const bridge::RsTokenizer& rs) {
  using Pair = std::pair<std::string_view, std::string_view>;
  constexpr std::array<Pair, 3> kPairs{{
      {"<think>", "</think>"},
      {"<longcat_think>", "</longcat_think>"},
      {"<|think:start|>", "<|think:end|>"},
  }};
  for (const auto& [start, end] : kPairs) {
    const auto start_id = find_id(rs, start), end_id = find_id(rs, end);
    if (!start_id || !end_id) continue;
    return ThinkingMarkers{std::string(start), std::string(end), {*start_id}, {*end_id}};
  }
  if (has(rs, {"<|channel>", "<channel|>"})) return markers(rs, "<|channel>thought", "<channel|>");
  if (has(rs, {"<|open|>", "<|close|>", "<|sep|>", "<|end_of_msg|>"})) {
    return markers(rs, "<|open|>think<|sep|>", "<|close|>think<|sep|>");
  }
  return std::nullopt;
}

ModelTemplate compile(const NamedTemplate& named) {
  ModelTemplate out{named.name, named.source, std::nullopt, {}};
  try {
    out.compiled = ChatTemplate(named.source);
  } catch (const TokenizerError& e) {
    out.error = e.what();
  }
  return out;
}

}  // namespace

std::optional<TokenId> find_id(const bridge::RsTokenizer& rs, std::string_view token) {
  try {
    return named(rs.token_to_id(str(token)));
  } catch (const std::invalid_argument&) {
    return std::nullopt;  // not UTF-8, so no token
  }
}

const ModelTemplate* find_template(const TokenizerState& state, std::string_view name) {
  for (const ModelTemplate& t : state.templates) {
    if (t.name == name) return &t;
  }
  return nullptr;
}

TokenizerState make_state(rust::Box<bridge::RsTokenizer> box, const TokenizerConfig& config) {
  const bridge::RsTokenizer& rs = *box;
  TokenizerState state{.rs = std::move(box)};
  state.bos = special_id(rs, config.bos, rs.bos_id());
  state.eos = special_id(rs, config.eos, rs.eos_id());
  state.unk = special_id(rs, config.unk, rs.unk_id());
  if (config.pad) state.pad = find_id(rs, *config.pad);
  state.bos_token = config.bos ? *config.bos : spelling_of(rs, state.bos);
  state.eos_token = config.eos ? *config.eos : spelling_of(rs, state.eos);
  for (const NamedTemplate& t : config.templates) state.templates.push_back(compile(t));
  state.thinking = infer_thinking(rs);
  return state;
}

}  // namespace mlxcpp::text::detail
