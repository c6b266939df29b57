// Which model is meant, and loading it.
#pragma once

#include "apps/common/chatter.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/lm/factory.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::apps {

/// --model.
void add_model_flag(CLI::App& app, std::string& model);

/// --weights.
void add_weights_flag(CLI::App& app, nn::Residency& residency);

/// The local path of what the user named: a path, org/name in one of the model caches, or nothing
/// for the default model.  Throws IoError that says where it looked and how to get the model.
std::filesystem::path find_model(const std::string& name);

/// --adapter-path.
void add_adapter_flag(CLI::App& app, std::string& adapter_path);

/// Loads it with all weights in memory, showing progress; `mtp`: with its head for further tokens.
/// Throws Interrupted on Ctrl-C.
lm::ModelContext load_model(const std::string& name,
                            const Chatter& chatter,
                            nn::Residency residency = nn::Residency::automatic,
                            const std::string& adapter_path = {},
                            bool mtp = false);

/// What a model's files say without its weights, whether its type is supported or not.
struct ModelFiles {
  std::filesystem::path path;
  std::optional<io::Gguf> gguf;  // present: it is the model
  lm::ConfigFile config;

  /// Throws TokenizerError when there is none.
  text::Tokenizer tokenizer() const;
};
ModelFiles open_model(const std::filesystem::path& path);

/// "1,2,3" or "1 2 3" as ids of at least 0.  Throws InputError naming `flag`.
std::vector<int> parse_ids(const std::string& flag, const std::string& text);

/// The tokenizer alone; a directory may hold nothing else.
text::Tokenizer load_tokenizer(const std::filesystem::path& path);

}  // namespace mlxcpp::apps
