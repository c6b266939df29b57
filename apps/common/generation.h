// The flags of a generation, by mlx-lm's names, else llama.cpp's, and the options that they make.
// Source: mlx-lm generate.py (0.32.2).  Differs: defaults come from the model's
// generation_config.json, answers are not cut at 100 tokens.
#pragma once

#include "mlxcpp/lm/config.h"
#include "mlxcpp/lm/options.h"
#include "mlxcpp/lm/sequence_breakers.h"
#include "mlxcpp/text/tokenizer.h"

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace CLI {
class App;
}

namespace mlxcpp::apps {

struct GenerationFlags {
  std::optional<int> max_tokens, top_k, max_kv_size, prefill_step_size;
  std::optional<float> temperature, top_p, min_p;
  std::optional<float> repetition_penalty;
  lm::SampleOptions sample;      // but for what generation_config.json may advise
  lm::PenaltyOptions penalties;  // likewise
  std::vector<std::string> dry_sequence_breakers = lm::default_sequence_breakers();
  std::vector<std::string> logit_bias, stop, extra_eos_tokens;
  std::optional<std::uint64_t> seed;
  bool ignore_eos = false;
  std::vector<int> kv_bits;  // of keys and values, or of each
  int kv_group_size = 64, quantized_kv_start = 5000;
  std::string template_config;
};

void add_generation_flags(CLI::App& app, GenerationFlags& flags);

/// --kv-bits, --kv-group-size, --quantized-kv-start.
void add_cache_flags(CLI::App& app, GenerationFlags& flags);
lm::KvQuant make_kv_quant(const GenerationFlags& flags);

/// Throws InputError naming the flag.  Costs nothing: to be called before a model is loaded.
void check(const GenerationFlags& flags);

/// A flag that was given wins over the model's advice.  Tokens that the flags name are looked up
/// in, and extra end tokens added to, the tokenizer.
lm::GenerateOptions make_options(const GenerationFlags& flags,
                                 const lm::GenerationDefaults& defaults,
                                 text::Tokenizer& tokenizer);

/// Names the flag instead of the library's field: "top_p: ..." -> "--top-p: ...".
std::string in_flag_terms(std::string message);

/// "50=-2.5" -> {50, -2.5}.
std::pair<int, float> parse_logit_bias(const std::string& text);

}  // namespace mlxcpp::apps
