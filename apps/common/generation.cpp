#include "apps/common/generation.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <utility>

namespace mlxcpp::apps {
namespace {

constexpr const char* kAdvised = "(default: generation_config.json's, else ";

/// Options of one group of the help.
class Group {
 public:
  Group(CLI::App& app, const char* name) : app_(app), name_(name) {}
  template <class T>
  CLI::Option* add(const char* flags, T& value, const std::string& text) {
    return app_.add_option(flags, value, text)->group(name_);
  }
  /// One that shows its default.
  template <class T>
  CLI::Option* shown(const char* flags, T& value, const std::string& text) {
    return add(flags, value, text)->default_str(fmt::format("{}", value));
  }

 private:
  CLI::App& app_;
  const char* name_;
};

void add_sampling_flags(CLI::App& app, GenerationFlags& f) {
  auto advised = [](const char* text, const char* otherwise) {
    return std::string(text) + " " + kAdvised + otherwise + ")";
  };
  Group g(app, "Sampling");
  auto& s = f.sample;
  g.add("--temp,--temperature", f.temperature, advised("0: the most likely token", "0"));
  g.add("--top-p", f.top_p, advised("Only the most likely tokens with this mass", "1"));
  g.add("--min-p", f.min_p, advised("Only tokens this likely beside the best", "0"));
  g.add("--top-k", f.top_k, advised("Only this many tokens; 0: all", "0"));
  g.shown("--min-tokens-to-keep", s.min_tokens_to_keep, "What --min-p leaves at least");
  g.shown("--xtc-probability", s.xtc_probability, "How often XTC removes the likely tokens");
  g.shown("--xtc-threshold", s.xtc_threshold, "What XTC calls likely, at most 0.5");
  g.shown("--top-n-sigma,--top-nsigma",
          s.top_n_sigma,
          "Only tokens whose logit is within so many standard deviations of the best; 0: all");
  g.shown("--typical-p,--typical",
          s.typical_p,
          "Only tokens of about the expected surprise, with this mass; 1: all");
  g.shown("--mirostat", s.mirostat, "2: Mirostat 2 in the place of all these filters");
  g.shown("--mirostat-tau,--mirostat-ent", s.mirostat_tau, "Its surprise, in bits a token");
  g.shown("--mirostat-eta,--mirostat-lr", s.mirostat_eta, "How fast it learns");
  g.add("--seed", f.seed, "Makes sampling repeatable (default: another one each time)");
}

void add_penalty_flags(CLI::App& app, GenerationFlags& f) {
  Group g(app, "Penalties");
  auto& p = f.penalties;
  auto seen = [](const char* of) {
    return fmt::format("How many of the last tokens {} sees; 0: all", of);
  };
  g.add("--repetition-penalty",
        f.repetition_penalty,
        "Above 1 makes what was said less likely (default: generation_config.json's)");
  g.shown("--repetition-context-size", p.repetition_context_size, seen("--repetition-penalty"));
  g.add("--presence-penalty", p.presence_penalty, "Taken from tokens that occurred");
  g.shown("--presence-context-size", p.presence_context_size, seen("--presence-penalty"));
  g.add("--frequency-penalty", p.frequency_penalty, "Taken for each time that they did");
  g.shown("--frequency-context-size", p.frequency_context_size, seen("--frequency-penalty"));
  g.shown("--penalty-context",
          p.penalty_context,
          "How many of the last tokens, prompt and answer, any penalty sees; 0: all");
  app.add_flag("--penalties-see-prompt,!--no-penalties-see-prompt",
               p.penalties_see_prompt,
               "Whether they see more of the prompt than its last token (default: they do)")
      ->group("Penalties");
  g.add("--logit-bias", f.logit_bias, "Makes a token more or less likely; may be repeated")
      ->type_name("ID=VALUE")
      ->allow_extra_args(false);
}

void add_dry_flags(CLI::App& app, GenerationFlags& f) {
  Group g(app, "Penalties");
  auto& p = f.penalties;
  g.shown("--dry-multiplier",
          p.dry_multiplier,
          "DRY: what a token loses that would continue a repetition; 0: off");
  g.shown("--dry-base", p.dry_base, "... times this for each token that it is longer");
  g.shown("--dry-allowed-length", p.dry_allowed_length, "... than so many, shorter ones are free");
  g.shown("--dry-penalty-last-n",
          p.dry_penalty_last_n,
          "How many of the last tokens DRY sees; -1: all, 0: off");
  g.add("--dry-sequence-breaker",
        f.dry_sequence_breakers,
        "Text that ends a repetition; may be repeated; 'none': no such text (default: newline, :, "
        "\" and *)")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->default_str("");
}

void add_length_flags(CLI::App& app, GenerationFlags& f) {
  constexpr const char* kGroup = "Length";
  app.add_option("-m,--max-tokens",
                 f.max_tokens,
                 "The most tokens of an answer (default: to its end, or to the context's)")
      ->group(kGroup);
  app.add_option(
         "--min-tokens", f.penalties.min_tokens, "No end token before so many tokens of the answer")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--stop", f.stop, "Text that ends the answer, not part of it; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->group(kGroup);
  app.add_option("--extra-eos-token",
                 f.extra_eos_tokens,
                 "Further tokens (spelling or id) that end an answer")
      ->type_name("TOKEN")
      ->group(kGroup);
  app.add_flag("--ignore-eos", f.ignore_eos, "Goes on after the model's end token")->group(kGroup);
  app.add_option("--prefill-step-size", f.prefill_step_size, "The most prompt tokens in one pass")
      ->default_str("2048")
      ->group(kGroup);
}

}  // namespace

void add_cache_flags(CLI::App& app, GenerationFlags& f) {
  constexpr const char* kGroup = "Cache";
  app.add_option("--max-kv-size",
                 f.max_kv_size,
                 "Remembers the first 4 and the last tokens, this many in all")
      ->group(kGroup);
  app.add_option(
         "--kv-bits",
         f.kv_bits,
         "Keeps keys and values in so many bits each: 2, 3, 4, 5, 6 or 8, packed; two numbers: "
         "keys, then values (0: not packed); 16 or 32: float16, the default on CPUs, or "
         "float32")
      ->type_name("N[,N]")
      ->delimiter(',')
      ->expected(1, 2)
      ->allow_extra_args(false)
      ->group(kGroup);
  app.add_option("--kv-group-size", f.kv_group_size, "Numbers that share a scale with --kv-bits")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--quantized-kv-start",
                 f.quantized_kv_start,
                 "Packs once there are so many tokens, with --kv-bits")
      ->capture_default_str()
      ->group(kGroup);
}

lm::KvQuant make_kv_quant(const GenerationFlags& f) {
  if (f.kv_bits.empty()) return {};
  return {.k_bits = f.kv_bits.front(),
          .v_bits = f.kv_bits.back(),
          .group_size = f.kv_group_size,
          .start = f.quantized_kv_start};
}

namespace {

/// All that needs no tokenizer.
lm::GenerateOptions plain_options(const GenerationFlags& f, const lm::GenerationDefaults& d) {
  lm::GenerateOptions o;
  o.sample = f.sample;
  o.penalties = f.penalties;
  auto pick = [](auto& to, const auto& flag, const auto& advice) {
    if (flag)
      to = *flag;
    else if (advice)
      to = *advice;
  };
  pick(o.sample.temperature, f.temperature, d.temperature);
  pick(o.sample.top_p, f.top_p, d.top_p);
  pick(o.sample.min_p, f.min_p, d.min_p);
  pick(o.sample.top_k, f.top_k, d.top_k);
  pick(o.penalties.repetition_penalty, f.repetition_penalty, d.repetition_penalty);
  for (auto& entry : f.logit_bias) o.penalties.logit_bias.push_back(parse_logit_bias(entry));
  o.max_tokens = f.max_tokens;
  o.stop = f.stop;
  o.seed = f.seed;
  o.ignore_eos = f.ignore_eos;
  o.max_kv_size = f.max_kv_size.value_or(o.max_kv_size);
  o.kv_quant = make_kv_quant(f);
  o.step.prefill_step_size = f.prefill_step_size.value_or(o.step.prefill_step_size);
  return o;
}

/// Calls f, whose errors then name flags.
template <class F>
void with_flag_names(F f) {
  try {
    f();
  } catch (const InputError& e) {
    throw InputError(in_flag_terms(e.what()));
  }
}

void validate(const lm::GenerateOptions& options, int vocab_size) {
  with_flag_names([&] { options.validate(vocab_size); });
}

std::vector<std::string> breaker_texts(const GenerationFlags& flags) {
  auto texts = flags.dry_sequence_breakers;
  std::erase(texts, "none");
  return texts;
}

}  // namespace

std::string in_flag_terms(std::string message) {
  auto end = message.find_first_not_of("abcdefghijklmnopqrstuvwxyz_");
  if (end == message.npos || message[end] != ':') return message;
  std::replace(message.begin(), message.begin() + std::ptrdiff_t(end), '_', '-');
  return "--" + message;
}

void add_generation_flags(CLI::App& app, GenerationFlags& flags) {
  add_length_flags(app, flags);
  add_cache_flags(app, flags);
  add_sampling_flags(app, flags);
  add_penalty_flags(app, flags);
  add_dry_flags(app, flags);
  app.add_option("--chat-template-config",
                 flags.template_config,
                 "A JSON object for the chat template, such as {\"enable_thinking\": false}")
      ->type_name("JSON")
      ->group("Prompt");
}

std::pair<int, float> parse_logit_bias(const std::string& text) {
  auto equals = text.find('=');
  if (equals != text.npos && equals + 1 < text.size()) {
    int id = 0;
    const char *first = text.data(), *middle = first + equals;
    auto parsed = std::from_chars(first, middle, id);
    char* end = nullptr;
    float value = std::strtof(middle + 1, &end);
    if (parsed.ec == std::errc() && parsed.ptr == middle && end == first + text.size())
      return {id, value};
  }
  throw InputError(
      describe("--logit-bias", "bad value", "ID=VALUE, such as 50=-2.5", "'" + text + "'"));
}

void check(const GenerationFlags& flags) {
  validate(plain_options(flags, {}), std::numeric_limits<int>::max());
  with_flag_names([&] { lm::check_sequence_breakers(breaker_texts(flags)); });
  if (flags.template_config.empty()) return;
  try {
    io::Fields::parse(flags.template_config, "--chat-template-config");
  } catch (const ConfigError& e) {
    throw InputError(e.what());
  }
}

lm::GenerateOptions make_options(const GenerationFlags& flags,
                                 const lm::GenerationDefaults& defaults,
                                 text::Tokenizer& tokenizer) {
  for (auto& token : flags.extra_eos_tokens) {
    try {
      tokenizer.add_eos_token(token);
    } catch (const TokenizerError& e) {
      throw InputError(describe("--extra-eos-token", e.what()));
    }
  }
  auto options = plain_options(flags, defaults);
  auto& special = options.sample.xtc_special_tokens;
  for (auto id : tokenizer.encode("\n", false)) special.push_back(int(id));
  for (auto id : tokenizer.eos_ids()) special.push_back(int(id));
  auto& penalties = options.penalties;
  if (penalties.dry_multiplier > 0 && penalties.dry_penalty_last_n != 0)
    penalties.dry_sequence_breakers = lm::sequence_breakers(tokenizer, breaker_texts(flags));
  validate(options, std::numeric_limits<int>::max());
  return options;
}

}  // namespace mlxcpp::apps
