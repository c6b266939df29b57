#include "mlxcpp/lm/save.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json_edit.h"
#include "mlxcpp/io/staged_folder.h"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <system_error>
#include <utility>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;

/// Files of a model's folder that say nothing about weights: the tokenizer's, templates,
/// generation_config.json, preprocessors, code.
bool is_beside(const fs::path& file) {
  constexpr std::string_view kEndings[] = {
      ".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".jsonl"};
  std::string name = file.filename().string();
  if (name == "config.json" || name == "adapter_config.json" || name.starts_with(".") ||
      name.ends_with(".index.json"))
    return false;
  return std::ranges::any_of(kEndings, [&](auto ending) { return name.ends_with(ending); });
}

void copy_files(const fs::path& from, const fs::path& to) {
  try {
    for (auto& entry : fs::directory_iterator(from))
      if (entry.is_regular_file() && is_beside(entry.path()))
        fs::copy_file(entry.path(), to / entry.path().filename());
    fs::path templates = "additional_chat_templates";
    if (fs::is_directory(from / templates)) fs::copy(from / templates, to / templates);
  } catch (const fs::filesystem_error& e) {
    throw IoError(describe(e.path1().string(), "cannot be copied: " + e.code().message()));
  }
}

}  // namespace

std::string config_to_save(const std::string& config_json) {
  io::JsonEdit config(config_json, "config");
  config.remove("_name_or_path");
  if (auto quantization = config.get("quantization"))
    config.set("quantization_config", *quantization);
  return config.text();
}

void save_checkpoint(const fs::path& target,
                     CheckpointParts parts,
                     const nn::SaveOptions& options) {
  io::StagedFolder folder(target);
  io::write_atomically(folder.path() / "config.json", config_to_save(parts.config_json));
  copy_files(parts.source, folder.path());
  nn::save_weights(folder.path(), std::move(parts.weights), parts.parameters, options);
  folder.commit();
}

}  // namespace mlxcpp::lm
