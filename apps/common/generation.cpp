#include "apps/common/generation.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <utility>

namespace mlxcpp::apps {
namespace {

constexpr const char* kAdvised = "(default: generation_config.json's, else ";

void add_sampling_flags(CLI::App& app, GenerationFlags& f) {
  auto advised = [](const char* text, const char* otherwise) {
    return std::string(text) + " " + kAdvised + otherwise + ")";
  };
  constexpr const char* kGroup = "Sampling";
  app.add_option("--temp,--temperature", f.temperature, advised("0: the most likely token", "0"))
      ->group(kGroup);
  app.add_option("--top-p", f.top_p, advised("Only the most likely tokens with this mass", "1"))
      ->group(kGroup);
  app.add_option("--min-p", f.min_p, advised("Only tokens this likely beside the best", "0"))
      ->group(kGroup);
  app.add_option("--top-k", f.top_k, advised("Only this many tokens; 0: all", "0"))->group(kGroup);
  app.add_option("--min-tokens-to-keep", f.min_tokens_to_keep, "What --min-p leaves at least")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--xtc-probability", f.xtc_probability, "How often XTC removes the likely tokens")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--xtc-threshold", f.xtc_threshold, "What XTC calls likely, at most 0.5")
      ->default_str("0.1")
      ->group(kGroup);
  app.add_option("--seed", f.seed, "Makes sampling repeatable (default: another one each time)")
      ->group(kGroup);
}

void add_penalty_flags(CLI::App& app, GenerationFlags& f) {
  constexpr const char* kGroup = "Penalties";
  app.add_option("--repetition-penalty",
                 f.repetition_penalty,
                 "Above 1 makes what was said less likely (default: generation_config.json's)")
      ->group(kGroup);
  app.add_option("--repetition-context-size",
                 f.repetition_context_size,
                 "How many of the last tokens --repetition-penalty sees; 0: all")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--presence-penalty", f.presence_penalty, "Taken from tokens that occurred")
      ->group(kGroup);
  app.add_option("--frequency-penalty", f.frequency_penalty, "Taken for each time that they did")
      ->group(kGroup);
  app.add_option("--logit-bias", f.logit_bias, "Makes a token more or less likely; may be repeated")
      ->type_name("ID=VALUE")
      ->allow_extra_args(false)
      ->group(kGroup);
}

void add_length_flags(CLI::App& app, GenerationFlags& f) {
  constexpr const char* kGroup = "Length";
  app.add_option("-m,--max-tokens",
                 f.max_tokens,
                 "The most tokens of an answer (default: to its end, or to the context's)")
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
  app.add_option("--kv-bits",
                 f.kv_bits,
                 "Packs keys and values into so many bits each: 2, 3, 4, 5, 6 or 8; two numbers: "
                 "keys, then values (0: not packed)")
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
  o.sample.min_tokens_to_keep = f.min_tokens_to_keep;
  o.sample.xtc_probability = f.xtc_probability;
  o.sample.xtc_threshold = f.xtc_threshold;
  pick(o.penalties.repetition_penalty, f.repetition_penalty, d.repetition_penalty);
  o.penalties.presence_penalty = f.presence_penalty;
  o.penalties.frequency_penalty = f.frequency_penalty;
  o.penalties.repetition_context_size = f.repetition_context_size;
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

void validate(const lm::GenerateOptions& options, int vocab_size) {
  try {
    options.validate(vocab_size);
  } catch (const InputError& e) {
    throw InputError(in_flag_terms(e.what()));
  }
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
  validate(options, std::numeric_limits<int>::max());
  return options;
}

}  // namespace mlxcpp::apps
