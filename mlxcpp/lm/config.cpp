#include "mlxcpp/lm/config.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/log.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"

#include <algorithm>
#include <filesystem>

namespace mlxcpp::lm {
namespace {

/// Architectures give some of these keys other shapes (a list for each layer): such a one is not
/// ours to judge.
void may_int(io::Fields& f, const char* key, std::optional<int>* out) {
  if (f.type(key) == io::JsonType::integer) f.may(key, out);
}

std::optional<std::vector<TokenId>> eos_ids(io::Fields& f) {
  std::vector<int> ids;
  f.may_one_or_many("eos_token_id", &ids);
  if (ids.empty()) return {};
  for (int id : ids)
    if (id < 0)
      throw ConfigError(
          describe(f.where("eos_token_id"), "out of range", "0 or more", std::to_string(id)));
  return std::vector<TokenId>(ids.begin(), ids.end());
}

/// mlx-lm's rule: what is falsy says nothing.
bool truthy(const std::optional<std::vector<TokenId>>& ids, bool is_list) {
  return ids && (is_list || ids->front() != 0);
}

std::optional<io::Fields> read_generation_config(const std::string& directory) {
  try {
    auto path = std::filesystem::path(directory) / "generation_config.json";
    auto text = io::read_text_if_exists(path, io::kConfigLimit);
    if (text) return io::Fields::parse(*text, "generation_config");
  } catch (const Error& e) {
    log(LogLevel::warning, std::string("generation_config.json is passed over: ") + e.what());
  }
  return {};
}

}  // namespace

BaseConfig parse_config(const std::string& json) {
  auto f = io::Fields::parse(json);
  BaseConfig c;
  f.need("model_type", &c.model_type);
  may_int(f, "hidden_size", &c.hidden_size);
  may_int(f, "num_hidden_layers", &c.num_hidden_layers);
  may_int(f, "num_attention_heads", &c.num_attention_heads);
  may_int(f, "num_key_value_heads", &c.num_key_value_heads);
  may_int(f, "head_dim", &c.head_dim);
  may_int(f, "vocab_size", &c.vocab_size);
  may_int(f, "max_position_embeddings", &c.max_position_embeddings);
  may_int(f, "sliding_window", &c.sliding_window);
  f.may("tie_word_embeddings", &c.tie_word_embeddings);
  c.eos_token_ids = eos_ids(f);
  return c;
}

ConfigFile load_config(const std::string& directory) {
  auto path = std::filesystem::path(directory) / "config.json";
  auto text = io::read_text_if_exists(path, io::kConfigLimit);
  if (!text)
    throw IoError(describe(directory, "not a model directory", "a config.json in it", "none"));
  ConfigFile file{parse_config(*text), *text};
  if (auto f = read_generation_config(directory)) {
    try {
      auto ids = eos_ids(*f);
      if (truthy(ids, f->type("eos_token_id") == io::JsonType::list))
        file.config.eos_token_ids = ids;
    } catch (const ConfigError& e) {
      log(LogLevel::warning, std::string("passed over: ") + e.what());
    }
  }
  return file;
}

GenerationDefaults load_generation_defaults(const std::string& directory) {
  GenerationDefaults d;
  auto f = read_generation_config(directory);
  if (!f) return d;
  try {
    std::optional<bool> do_sample;
    f->may("do_sample", &do_sample)
        .may("temperature", &d.temperature)
        .may("top_p", &d.top_p)
        .may("min_p", &d.min_p)
        .may("top_k", &d.top_k)
        .may("repetition_penalty", &d.repetition_penalty);
    if (do_sample == false) d.temperature = 0.f;
    if (do_sample == true && !d.temperature) d.temperature = 1.f;
  } catch (const ConfigError& e) {
    log(LogLevel::warning, std::string("sampling advice is passed over: ") + e.what());
    return {};
  }
  return d;
}

}  // namespace mlxcpp::lm
