#include "apps/batch/lines.h"

#include "apps/common/output.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/io/utf8.h"
#include "mlxcpp/lm/prompt_cuts.h"
#include "mlxcpp/text/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::apps {
namespace {

constexpr std::size_t kLineLimit = std::size_t{64} << 20;

bool blank(std::string_view line) { return line.find_first_not_of(" \t\r") == line.npos; }

std::size_t count_lines(std::string_view text) {
  std::size_t n = 0;
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    n += !blank(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return n;
}

/// A line's own options, laid over those of the command.
void read_options(io::Fields& f, GenerationFlags& g) {
  f.may("max_tokens", &g.max_tokens).may("max_kv_size", &g.max_kv_size);
  f.may("temp", &g.temperature).may("temperature", &g.temperature);
  f.may("top_p", &g.top_p).may("min_p", &g.min_p).may("top_k", &g.top_k);
  auto& sample = g.sample;
  f.may("min_tokens_to_keep", &sample.min_tokens_to_keep);
  f.may("xtc_probability", &sample.xtc_probability).may("xtc_threshold", &sample.xtc_threshold);
  f.may("top_n_sigma", &sample.top_n_sigma).may("typical_p", &sample.typical_p);
  f.may("mirostat", &sample.mirostat).may("mirostat_tau", &sample.mirostat_tau);
  f.may("mirostat_eta", &sample.mirostat_eta);
  f.may("repetition_penalty", &g.repetition_penalty);
  auto& p = g.penalties;
  f.may("repetition_context_size", &p.repetition_context_size);
  f.may("presence_penalty", &p.presence_penalty).may("frequency_penalty", &p.frequency_penalty);
  f.may("presence_context_size", &p.presence_context_size);
  f.may("frequency_context_size", &p.frequency_context_size);
  f.may("penalty_context", &p.penalty_context).may("min_tokens", &p.min_tokens);
  f.may("penalties_see_prompt", &p.penalties_see_prompt);
  f.may("dry_multiplier", &p.dry_multiplier).may("dry_base", &p.dry_base);
  f.may("dry_allowed_length", &p.dry_allowed_length);
  f.may("dry_penalty_last_n", &p.dry_penalty_last_n);
  f.may("dry_sequence_breaker", &g.dry_sequence_breakers);
  f.may_one_or_many("stop", &g.stop).may("ignore_eos", &g.ignore_eos);
  if (auto b = f.object("logit_bias")) {
    g.logit_bias.clear();
    for (auto& id : b->keys()) {
      float value = 0;
      b->need(id, &value);
      g.logit_bias.push_back(fmt::format("{}={}", id, value));
    }
  }
  std::optional<std::int64_t> seed;
  f.may("seed", &seed);
  if (seed && *seed < 0)
    throw InputError(describe(f.where("seed"), "negative", "0 or more", std::to_string(*seed)));
  if (seed) g.seed = std::uint64_t(*seed);
  if (auto config = f.json_text("chat_template_config")) g.template_config = *config;
}

std::string id_of(io::Fields& f) {
  auto type = f.type("id");
  if (!type) return {};
  if (type != io::JsonType::string && type != io::JsonType::integer)
    throw InputError(describe(f.where("id"), "expected a string or an integer"));
  return *f.json_text("id");
}

std::string messages_of(io::Fields& f, const LineDefaults& defaults) {
  if (f.has("prompt") == f.has("messages"))
    throw InputError(describe(
        f.where(), "what to answer", "prompt or messages", f.has("prompt") ? "both" : "neither"));
  if (f.has("messages")) {
    if (f.type("messages") != io::JsonType::list)
      throw InputError(describe(f.where("messages"), "expected a list"));
    return *f.json_text("messages");
  }
  std::string prompt;
  f.need("prompt", &prompt);
  if (prompt.empty()) throw InputError(describe(f.where("prompt"), "empty", "some text"));
  std::vector<text::ChatMessage> messages;
  if (!defaults.system_prompt.empty())
    messages.push_back({.role = "system", .content = defaults.system_prompt});
  messages.push_back({.role = "user", .content = prompt});
  return text::to_json(messages);
}

lm::CutPrompt encode(io::Fields& f,
                     const LineDefaults& defaults,
                     const GenerationFlags& flags,
                     const text::Tokenizer& tokenizer) {
  std::string messages = messages_of(f, defaults);
  auto tools = f.json_text("tools");
  if (tokenizer.has_chat_template() && !defaults.ignore_chat_template) {
    text::ChatOptions options{.tools_json = tools.value_or(""),
                              .extra_json = flags.template_config};
    if (defaults.cuts) return lm::cut_system_prompt(tokenizer, messages, options);
    return {tokenizer.apply_chat_template_ids(messages, options), {}};
  }
  for (const char* key : {"messages", "tools"})
    if (f.has(key))
      throw InputError(describe(f.where(key), "needs a chat template", {}, "none in use"));
  std::string prompt;
  f.need("prompt", &prompt);
  return {tokenizer.encode_prompt(prompt), {}};
}

void refuse_unread(const io::Fields& f) {
  auto unread = f.unread();
  if (!unread.empty())
    throw InputError(describe(f.where(unread[0]),
                              "no such option",
                              "prompt, messages, id, tools or a flag of generation"));
}

PromptLine parse(const LineSource::Line& line,
                 const std::string& label,
                 const LineDefaults& defaults,
                 const lm::ModelContext& context) {
  if (io::utf8_prefix(line.text) < line.text.size())
    throw InputError(describe(label, "not UTF-8", "UTF-8"));
  auto f = io::Fields::parse(line.text, label);
  PromptLine parsed{line.number, id_of(f), {}};
  GenerationFlags flags = defaults.flags;
  read_options(f, flags);
  text::Tokenizer tokenizer = context.tokenizer();
  auto prompt = encode(f, defaults, flags, tokenizer);
  parsed.request.prompt = std::move(prompt.ids);
  parsed.request.cuts = std::move(prompt.cuts);
  refuse_unread(f);
  parsed.request.options = make_options(flags, context.generation_defaults(), tokenizer);
  parsed.request.options.logprobs = defaults.logprobs;
  return parsed;
}

}  // namespace

LineSource::LineSource(const std::string& path) : input_(path == "-") {
  if (input_) return;
  auto file = io::MappedFile::open(path);
  auto bytes = file->bytes();
  rest_ = {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  file_ = file;
  count_ = count_lines(rest_);
}

std::optional<std::string_view> LineSource::next_raw() {
  if (input_) {
    if (!read_input_line(from_input_, kLineLimit)) return {};
    return from_input_;
  }
  if (rest_.empty()) return {};
  auto end = std::min(rest_.find('\n'), rest_.size());
  auto line = rest_.substr(0, end);
  rest_.remove_prefix(std::min(end + 1, rest_.size()));
  return line;
}

std::optional<LineSource::Line> LineSource::next() {
  while (auto line = next_raw()) {
    ++number_;
    if (line->size() > kLineLimit)
      throw InputError(describe("line " + std::to_string(number_), "too long"));
    if (!blank(*line)) return Line{number_, std::string(*line)};
  }
  return {};
}

std::string id_of(const std::string& text) {
  try {
    auto f = io::Fields::parse(text, "line");
    return id_of(f);
  } catch (const Error&) {
    return {};
  }
}

PromptLine parse_line(const LineSource::Line& line,
                      const LineDefaults& defaults,
                      const lm::ModelContext& context) {
  std::string label = "line " + std::to_string(line.number);
  try {
    return parse(line, label, defaults, context);
  } catch (const Error& e) {
    // Whatever was wrong, it was the line.
    std::string message = e.what();
    if (!message.starts_with(label)) message = label + ": " + message;
    throw InputError(message);
  }
}

std::string to_line(const LineAnswer& a, bool logprobs) {
  io::JsonWriter json;
  json.begin_object().member("line", a.number);
  if (!a.id.empty()) json.key("id").raw(a.id);
  if (a.failure) {
    json.key("error").begin_object();
    json.member("kind", name_of(a.failure->kind)).member("message", a.failure->message);
    json.end_object().end_object();
    return json.str() + "\n";
  }
  json.member("text", a.answer.text)
      .member("stop", lm::name_of(a.answer.stop))
      .member("finish_reason", lm::finish_reason(a.answer.stop));
  if (a.answer.stop == lm::StopReason::stop) json.member("stop_string", a.stop_string);
  json.member("prompt_tokens", a.answer.stats.prompt_tokens)
      .member("cached_tokens", a.answer.stats.cached_tokens)
      .member("generation_tokens", a.answer.stats.generation_tokens);
  if (logprobs) json.member("tokens", a.answer.tokens).member("logprobs", a.logprobs);
  json.end_object();
  return json.str() + "\n";
}

}  // namespace mlxcpp::apps
