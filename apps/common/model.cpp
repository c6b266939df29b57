#include "apps/common/model.h"

#include "apps/common/interrupt.h"
#include "apps/common/progress.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/builtin/models.h"
#include "mlxcpp/io/hub.h"
#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/lm/gguf.h"

#include <CLI/CLI.hpp>

#include <charconv>
#include <system_error>
#include <utility>

namespace mlxcpp::apps {
namespace fs = std::filesystem;
namespace {

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

fs::path default_model() {
  fs::path path = io::default_model_path();
  if (is_there(path)) return path;
  throw IoError(describe("default model",
                         "not there",
                         path.string(),
                         "no such file",
                         "`make setup` or `tools/fetch-model`, which fetch it, or --model"));
}

fs::path model_by_id(const std::string& id) {
  if (auto path = io::find_in_own_cache(id)) return *path;
  if (auto path = io::find_in_hub_cache(id)) return *path;
  std::string places = "one in " + (io::cache_directory() / "models").string() + " or " +
                       io::hub_cache_directory().string();
  throw IoError(describe(id,
                         "no such path, and no such model on this machine",
                         places,
                         "none",
                         "`hf download " + id + "`"));
}

}  // namespace

void add_model_flag(CLI::App& app, std::string& model) {
  app.add_option(
         "--model",
         model,
         "A model directory, a .gguf file, or org/name of a model in the Hugging Face cache "
         "(default: SmolLM2-135M-Instruct, which the set-up fetched)")
      ->type_name("MODEL")
      ->group("Model");
}

void add_weights_flag(CLI::App& app, nn::Residency& residency) {
  auto set = [&residency](const std::string& where) {
    residency = where == "mapped"     ? nn::Residency::mapped
                : where == "resident" ? nn::Residency::resident
                                      : nn::Residency::automatic;
  };
  app.add_option_function<std::string>(
         "--weights",
         set,
         "Where weights lie: resident (read into memory, faster to use), mapped (stay in the "
         "file, loaded at once), or auto: resident when they take at most half of the free memory")
      ->type_name("WHERE")
      ->check(CLI::IsMember({"auto", "mapped", "resident"}))
      ->group("Model");
}

void add_adapter_flag(CLI::App& app, std::string& adapter_path) {
  app.add_option(
         "--adapter-path",
         adapter_path,
         "A folder with a LoRA or DoRA adapter of mlx-lm or PEFT, applied beside the weights")
      ->type_name("DIR")
      ->group("Model");
}

fs::path find_model(const std::string& name) {
  if (name.empty()) return default_model();
  if (is_there(name)) return name;
  // "name" alone is taken as a path that is missing: nobody means a model without an owner.
  bool is_id = io::is_repo_id(name) && name.find('/') != name.npos && !name.ends_with(".gguf");
  if (is_id) return model_by_id(name);
  throw IoError(describe(
      name, "no such model", "a model directory, a .gguf file or org/name", "no such path"));
}

lm::ModelContext load_model(const std::string& name,
                            const Chatter& chatter,
                            nn::Residency residency,
                            const std::string& adapter_path,
                            bool mtp) {
  ProgressBar bar("Loading", ProgressBar::Unit::bytes, chatter.progress());
  auto progress = [&](std::uint64_t done, std::uint64_t total) {
    throw_if_interrupted();
    bar.update(done, total);
  };
  lm::LoadOptions options{
      .residency = residency, .mtp = mtp, .progress = progress, .adapter_path = adapter_path};
  auto context = lm::ModelContext::load(
      lm::ModelConfiguration::from_directory(find_model(name)), builtin_models(), options);
  throw_if_interrupted();
  context.materialize(progress);
  return context;
}

text::Tokenizer ModelFiles::tokenizer() const {
  if (gguf) return lm::tokenizer_from_gguf(*gguf);
  return text::Tokenizer::from_directory(path, config.config.eos_token_ids);
}

ModelFiles open_model(const fs::path& path) {
  if (is_there(path / "config.json")) return {path, {}, lm::load_config(path)};
  auto files = io::find_weight_files(path);
  if (files.kind != io::WeightFiles::Kind::gguf)
    throw IoError(
        describe(path.string(), "not a model", "a config.json beside the weights", "none"));
  auto gguf = io::Gguf::open(files.paths.at(0));
  auto json = lm::config_from_gguf(gguf);
  return {files.paths.at(0), std::move(gguf), {lm::parse_config(json), json, {}}};
}

std::vector<int> parse_ids(const std::string& flag, const std::string& text) {
  std::vector<int> ids;
  const char *at = text.data(), *end = at + text.size();
  while (at < end || ids.empty()) {
    int id = -1;
    auto parsed = std::from_chars(at, end, id);
    bool last = parsed.ptr == end;
    bool more = !last && (*parsed.ptr == ',' || *parsed.ptr == ' ') && parsed.ptr + 1 < end;
    if (parsed.ec != std::errc() || id < 0 || !(last || more))
      throw InputError(describe(
          flag, "bad list", "ids of at least 0 with commas or blanks between", "'" + text + "'"));
    ids.push_back(id);
    at = parsed.ptr + (more ? 1 : 0);
  }
  return ids;
}

text::Tokenizer load_tokenizer(const fs::path& path) {
  bool alone = !is_there(path / "config.json") &&
               (is_there(path / "tokenizer.json") || is_there(path / "tokenizer.model"));
  return alone ? text::Tokenizer::from_directory(path) : open_model(path).tokenizer();
}

}  // namespace mlxcpp::apps
