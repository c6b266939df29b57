#include "mlxcpp/text/tokenizer.h"

#include "mlxcpp/text/detail/decode_stream_impl.h"
#include "mlxcpp/text/detail/tokenizer_state.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace mlxcpp::text {
namespace {

using detail::bytes;
using detail::call;
using detail::copy;

constexpr std::string_view kWhere = "tokenizer";

std::vector<TokenId> sorted(std::vector<TokenId> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::optional<TokenId> parse_id(std::string_view digits) {
  TokenId id = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, id);
  if (error != std::errc() || stop != end) return std::nullopt;
  return id;
}

/// As transformers chooses: with tools the template made for them, if there is one.
const detail::ModelTemplate& choose_template(const detail::TokenizerState& state,
                                             const ChatOptions& options) {
  const detail::ModelTemplate* chosen = nullptr;
  if (!options.tools_json.empty()) chosen = find_template(state, "tool_use");
  if (!chosen) chosen = find_template(state, "default");
  if (chosen) return *chosen;
  std::string found;
  for (const auto& t : state.templates) found += (found.empty() ? "" : ", ") + t.name;
  throw InputError(describe("chat template",
                            "the model has none for this use",
                            "one named default",
                            found.empty() ? "none" : found));
}

}  // namespace

Tokenizer::Tokenizer(detail::TokenizerState&& state, EosIds eos)
    : state_(std::make_shared<const detail::TokenizerState>(std::move(state))) {
  if (!eos) {
    eos_ = state_->eos;
    if (eos_) eos_ids_ = {*eos_};
    return;
  }
  if (!eos->empty()) eos_ = eos->front();
  eos_ids_ = sorted(std::move(*eos));
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, bool add_special_tokens) const {
  return call(kWhere,
              [&] { return copy(state_->rs->encode_ids(bytes(text), add_special_tokens)); });
}

Encoding Tokenizer::encode_full(std::string_view text, bool add_special_tokens) const {
  return call(kWhere, [&] {
    const bridge::Encoding from = state_->rs->encode(bytes(text), add_special_tokens);
    Encoding out{.ids = copy(from.ids), .offsets = {}, .special = {}};
    for (std::size_t i = 0; i + 1 < from.offsets.size(); i += 2) {
      out.offsets.push_back({from.offsets[i], from.offsets[i + 1]});
    }
    out.special.assign(from.special.begin(), from.special.end());
    return out;
  });
}

std::vector<TokenId> Tokenizer::encode_prompt(std::string_view text) const {
  const std::string& bos = state_->bos_token;
  return encode(text, bos.empty() || !text.starts_with(bos));
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special_tokens) const {
  return call(kWhere, [&] {
    return std::string(state_->rs->decode(detail::slice(ids), skip_special_tokens));
  });
}

DecodeStream Tokenizer::decode_stream(bool skip_special_tokens) const {
  return DecodeStream(std::make_unique<DecodeStream::Impl>(
      DecodeStream::Impl{state_->rs->decode_stream(skip_special_tokens)}));
}

std::size_t Tokenizer::vocab_size() const { return state_->rs->vocab_size(); }

std::optional<TokenId> Tokenizer::id(std::string_view token) const {
  return detail::find_id(*state_->rs, token);
}

std::optional<std::string> Tokenizer::token(TokenId id) const {
  if (!state_->rs->has_id(id)) return std::nullopt;
  return call(kWhere, [&] { return std::string(state_->rs->id_to_token(id)); });
}

bool Tokenizer::is_special(TokenId id) const { return state_->rs->is_special(id); }

std::optional<TokenId> Tokenizer::bos() const { return state_->bos; }
std::optional<TokenId> Tokenizer::unk() const { return state_->unk; }
std::optional<TokenId> Tokenizer::pad() const { return state_->pad; }
std::optional<TokenId> Tokenizer::eos() const { return eos_; }

bool Tokenizer::is_eos(TokenId id) const {
  return std::binary_search(eos_ids_.begin(), eos_ids_.end(), id);
}

void Tokenizer::add_eos_token(std::string_view token) {
  std::optional<TokenId> found = parse_id(token);
  if (!found) found = id(token);
  if (!found) {
    throw TokenizerError(
        describe("eos token", "not in the vocabulary", "a token or its id", std::string(token)));
  }
  if (!eos_) eos_ = found;
  eos_ids_.push_back(*found);
  eos_ids_ = sorted(std::move(eos_ids_));
}

bool Tokenizer::has_chat_template() const { return !state_->templates.empty(); }

const std::string& Tokenizer::chat_template() const {
  static const std::string kNone;
  const detail::ModelTemplate* found = find_template(*state_, "default");
  return found ? found->source : kNone;
}

std::string Tokenizer::apply_chat_template(std::string_view messages_json,
                                           const ChatOptions& options) const {
  const detail::ModelTemplate& chosen = choose_template(*state_, options);
  if (!chosen.compiled) throw TokenizerError(chosen.error);
  const ChatModel model{state_->bos_token, state_->eos_token, has_thinking()};
  return chosen.compiled->render(messages_json, options, model);
}

std::vector<TokenId> Tokenizer::apply_chat_template_ids(std::string_view messages_json,
                                                        const ChatOptions& options) const {
  return encode(apply_chat_template(messages_json, options), false);
}

const std::optional<ThinkingMarkers>& Tokenizer::thinking() const { return state_->thinking; }

}  // namespace mlxcpp::text
