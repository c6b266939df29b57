#include "mlxcpp/lm/config.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/log.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"

#include <filesystem>
#include <utility>

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

/// Runs `read`; a mistake in an optional file is no reason to refuse a model.
template <class Read>
void forgiving(const char* what, Read read) {
  try {
    read();
  } catch (const Error& e) {
    log(LogLevel::warning, std::string(what) + " is passed over: " + e.what());
  }
}

void read_eos(io::Fields& f, GenerationDefaults& d) {
  auto ids = eos_ids(f);
  bool is_list = f.type("eos_token_id") == io::JsonType::list;
  if (ids && (is_list || ids->front() != 0)) d.eos_token_ids = std::move(ids);
}

void read_sampling(io::Fields& f, GenerationDefaults& d) {
  GenerationDefaults read;
  std::optional<bool> do_sample;
  f.may("do_sample", &do_sample)
      .may("temperature", &read.temperature)
      .may("top_p", &read.top_p)
      .may("min_p", &read.min_p)
      .may("top_k", &read.top_k)
      .may("repetition_penalty", &read.repetition_penalty);
  if (do_sample == false) read.temperature = 0.f;
  if (do_sample == true && !read.temperature) read.temperature = 1.f;
  read.eos_token_ids = std::move(d.eos_token_ids);
  d = std::move(read);
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

GenerationDefaults parse_generation_config(const std::string& json) {
  GenerationDefaults d;
  forgiving("generation_config.json", [&] {
    auto f = io::Fields::parse(json, "generation_config");
    forgiving("generation_config.json's eos_token_id", [&] { read_eos(f, d); });
    forgiving("generation_config.json's sampling advice", [&] { read_sampling(f, d); });
  });
  return d;
}

ConfigFile load_config(const std::string& directory) {
  std::filesystem::path folder = directory;
  auto text = io::read_text_if_exists(folder / "config.json", io::kConfigLimit);
  if (!text)
    throw IoError(describe(directory, "not a model directory", "a config.json in it", "none"));
  ConfigFile file{parse_config(*text), *text, {}};
  forgiving("generation_config.json", [&] {
    text = io::read_text_if_exists(folder / "generation_config.json", io::kConfigLimit);
    if (text) file.generation_defaults = parse_generation_config(*text);
  });
  if (auto& ids = file.generation_defaults.eos_token_ids) file.config.eos_token_ids = ids;
  return file;
}

}  // namespace mlxcpp::lm
