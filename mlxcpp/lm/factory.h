// The load factory: a model directory's model_type picks a constructor from a registry; config,
// weights and tokenizer come together into a context that encodes, applies the chat template and
// generates.
// Source: mlxrs 0.1.0 lm/factory.rs, mlx-lm utils.py.  Differs: docs/deviations.md.
#pragma once

#include "mlxcpp/lm/config.h"
#include "mlxcpp/lm/stream.h"
#include "mlxcpp/nn/file_tensors.h"
#include "mlxcpp/text/tokenizer.h"

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace mlxcpp::lm {

class LanguageModel;  // model.h
struct LoadedModel;   // loaded_model.h

/// The id under which an architecture is registered: "mistral" is served by "llama".
std::string_view remap_model_type(std::string_view model_type);

/// Assembles a model from what was read.  May be called from several threads, does no I/O and
/// evaluates nothing.
using ModelConstructor = std::function<std::unique_ptr<LanguageModel>(const LoadedModel&)>;

/// model_type -> constructor.  Ids are canonicalised on registration and on lookup.
class ModelTypeRegistry {
 public:
  /// The last one wins; returns the constructor that it displaced.
  std::optional<ModelConstructor> add(std::string_view model_type, ModelConstructor constructor);
  ModelTypeRegistry with(std::string_view model_type, ModelConstructor constructor) &&;
  bool contains(std::string_view model_type) const;
  /// Throws UnsupportedError naming the id as the checkpoint has it, and near ones.
  std::unique_ptr<LanguageModel> create(const LoadedModel& loaded) const;
  /// Throws what create() would for an id that is not there.
  void require(std::string_view model_type) const;
  std::vector<std::string> model_types() const;  ///< sorted, canonical
  /// Ids that are served by the given one.
  static std::vector<std::string> aliases_of(std::string_view model_type);

 private:
  std::unordered_map<std::string, ModelConstructor> constructors_;
};

/// Every language model architecture that this room has.
void add_models(ModelTypeRegistry& registry);

/// Where an id that is no local path is found, or nothing.
using Resolver = std::function<std::optional<std::string>(const std::string& id)>;

/// A model's location: a directory or .gguf file, or an id such as org/name.
class Identifier {
 public:
  static Identifier id(std::string name) { return Identifier(std::move(name), true); }
  static Identifier directory(std::string path) { return Identifier(std::move(path), false); }
  /// The local path that this names; an id is taken as one.  No I/O.
  const std::string& directory() const { return text_; }
  bool is_id() const { return is_id_; }
  const std::string& text() const { return text_; }

 private:
  Identifier(std::string text, bool is_id) : text_(std::move(text)), is_id_(is_id) {}
  std::string text_;
  bool is_id_;
};

/// Where to load a model from and, optionally, its tokenizer.
class ModelConfiguration {
 public:
  static ModelConfiguration from_directory(std::string path) {
    return ModelConfiguration(Identifier::directory(std::move(path)));
  }
  static ModelConfiguration from_id(std::string id) {
    return ModelConfiguration(Identifier::id(std::move(id)));
  }
  ModelConfiguration with_tokenizer_source(std::string directory) &&;

  const Identifier& id() const { return id_; }
  const std::optional<std::string>& tokenizer_source() const { return tokenizer_source_; }
  const std::string& model_directory() const { return id_.directory(); }
  std::string tokenizer_directory() const { return tokenizer_source_.value_or(model_directory()); }

 private:
  explicit ModelConfiguration(Identifier id) : id_(std::move(id)) {}
  Identifier id_;
  std::optional<std::string> tokenizer_source_;
};

/// Bytes done and in all.
using LoadProgress = std::function<void(std::uint64_t done, std::uint64_t total)>;

struct LoadOptions {
  /// Asked for an id that is not a local path.
  Resolver resolver;
  /// The most bytes that weights may take; 0: what the machine has free.  More is a CapacityError.
  std::uint64_t memory_limit = 0;
  /// On the CPU: whether weights are read into memory, in large pages where the system has them,
  /// or stay in the map of their file: loading is instant then, pages come from the disk as they
  /// are used and can be given back, but each pass reads more slowly.  automatic: read when they
  /// take at most half of the memory that is free.  What must be converted is in memory anyway.
  nn::Residency residency = nn::Residency::automatic;
  /// Also loads the head that guesses further tokens (multi-token prediction), for speculation.
  /// Throws WeightError where the checkpoint does not keep it, UnsupportedError for other models.
  bool mtp = false;
  /// Told while weights are read, on the loading thread; an exception ends the load.
  LoadProgress progress;
  /// A folder with a low-rank adapter (adapters.h), which all rows then have that name none.
  std::string adapter_path;
};

/// What load() makes.
struct LoadedModelContext {
  std::shared_ptr<const LanguageModel> model;
  text::Tokenizer tokenizer;
  BaseConfig config;
  GenerationDefaults generation_defaults;
};

/// config.json, once -> is its model_type registered? -> names and places of weights -> tokenizer,
/// once -> constructor -> weights are read.  Nothing is evaluated but an adapter.  A .gguf file, or
/// a folder with exactly one and no config.json, is a model too.  Call it on the thread that will
/// generate.
LoadedModelContext load(const ModelConfiguration& configuration,
                        const ModelTypeRegistry& registry,
                        const LoadOptions& options = {});

/// Only the model: a directory needs no tokenizer.  Otherwise as load().
std::shared_ptr<const LanguageModel> load_model(const ModelConfiguration& configuration,
                                                const ModelTypeRegistry& registry,
                                                const LoadOptions& options = {});

/// A loaded model with its tokenizer and config.  Holds no cache: each generation has a fresh one.
class ModelContext {
 public:
  ModelContext(std::shared_ptr<const LanguageModel> model,
               text::Tokenizer tokenizer,
               BaseConfig config);
  explicit ModelContext(LoadedModelContext loaded);
  static ModelContext load(const ModelConfiguration& configuration,
                           const ModelTypeRegistry& registry,
                           const LoadOptions& options = {});

  const LanguageModel& model() const { return *parts_.model; }
  std::shared_ptr<const LanguageModel> shared_model() const { return parts_.model; }
  const text::Tokenizer& tokenizer() const { return parts_.tokenizer; }
  text::Tokenizer& tokenizer() { return parts_.tokenizer; }
  const BaseConfig& config() const { return parts_.config; }
  const GenerationDefaults& generation_defaults() const { return parts_.generation_defaults; }
  LoadedModelContext into_parts() && { return std::move(parts_); }

  std::vector<text::TokenId> encode(std::string_view text, bool add_special_tokens = true) const {
    return tokenizer().encode(text, add_special_tokens);
  }
  std::string decode(std::span<const text::TokenId> ids, bool skip_special_tokens = false) const {
    return tokenizer().decode(ids, skip_special_tokens);
  }
  std::string apply_chat_template(std::string_view messages_json,
                                  const text::ChatOptions& options = {}) const {
    return tokenizer().apply_chat_template(messages_json, options);
  }
  std::vector<text::TokenId> apply_chat_template_ids(std::string_view messages_json,
                                                     const text::ChatOptions& options = {}) const {
    return tokenizer().apply_chat_template_ids(messages_json, options);
  }

  /// Reads all weights into memory now, instead of during the first forward pass.
  void materialize(const LoadProgress& progress = {}) const;

  TokenStream stream_generate(std::vector<text::TokenId> prompt,
                              const GenerateOptions& options = {}) const;
  Generated generate(std::vector<text::TokenId> prompt, const GenerateOptions& options = {}) const;

 private:
  LoadedModelContext parts_;
};

}  // namespace mlxcpp::lm
