#include "mlxcpp/lm/factory.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/lm/adapters.h"
#include "mlxcpp/lm/detail/memory.h"
#include "mlxcpp/lm/gguf.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/nn/checkpoint.h"
#include "mlxcpp/nn/foreign.h"
#include "mlxcpp/ops/device.h"

#include <mlx/transforms.h>

#include <filesystem>
#include <utility>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;

/// The existing path that an identifier means.
fs::path locate(const Identifier& id, const Resolver& resolver) {
  std::error_code ignored;
  fs::path path = id.directory();
  if (!id.text().empty() && fs::exists(path, ignored)) return path;
  if (id.is_id() && resolver)
    if (auto found = resolver(id.text())) return *found;
  throw IoError(describe("model \"" + id.text() + "\"",
                         "not found",
                         id.is_id() ? "a directory, a .gguf file or a model in the local cache"
                                    : "a directory or a .gguf file",
                         "nothing at that path",
                         id.is_id() ? "`hf download " + id.text() + "`" : ""));
}

/// The GGUF file that is this model, when it is one.
std::optional<fs::path> gguf_of(const fs::path& path) {
  std::error_code error;
  auto type = fs::status(path, error).type();
  if (type != fs::file_type::directory) {
    bool nothing = type == fs::file_type::not_found;
    if (!nothing && path.extension() == ".gguf") return path;
    throw IoError(describe(path.string(),
                           "not a model",
                           "a directory or a .gguf file",
                           nothing ? "nothing at that path" : "another kind of file"));
  }
  if (fs::status(path / "config.json", error).type() != fs::file_type::not_found) return {};
  std::optional<fs::path> found;
  for (auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() != ".gguf") continue;
    if (found) return {};
    found = entry.path();
  }
  if (error) throw IoError(path.string() + ": cannot read the directory: " + error.message());
  return found;
}

/// What a path holds, but for the tokenizer: nothing is constructed yet.
struct Source {
  fs::path path;
  std::optional<io::Gguf> gguf;  // present: it is the model, its tokenizer included
  LoadedModel loaded;
  GenerationDefaults generation_defaults;
  std::optional<nn::FileTensors> tensors;  // hold numbers only after read()
};

/// Where the weights are to lie, if they may stay as they are in the file.
nn::FileTensors file_tensors(std::uint64_t bytes, const LoadOptions& options) {
  return nn::FileTensors(detail::choose_residency(options.residency, bytes, options.memory_limit));
}

void add_gguf_weights(Source& s, const io::Gguf& file, const LoadOptions& options) {
  s.tensors = file_tensors(nn::loaded_bytes(file), options);
  auto weights = weights_from_gguf(file, &*s.tensors);
  s.loaded.weights = std::move(weights.arrays);
  s.loaded.quantization = std::move(weights.quantization);
}

Source read_gguf(const fs::path& path,
                 const ModelTypeRegistry& registry,
                 const LoadOptions& options) {
  Source s{path, io::Gguf::open(path), {}, {}, {}};
  s.loaded.config_json = config_from_gguf(*s.gguf);
  s.loaded.config = parse_config(s.loaded.config_json);
  registry.require(s.loaded.config.model_type);
  add_gguf_weights(s, *s.gguf, options);
  return s;
}

Source read_directory(const fs::path& directory,
                      const ModelTypeRegistry& registry,
                      const LoadOptions& options) {
  auto [config, json, generation_defaults] = load_config(directory);
  registry.require(config.model_type);
  auto fields = io::Fields::parse(json);
  auto foreign = nn::Foreign::read(fields);
  auto quantization = foreign ? nn::Quantization{} : nn::Quantization::read(fields);
  auto files = io::find_weight_files(directory);
  Source s{directory, {}, {config, json, {}, quantization}, generation_defaults, {}};
  bool safetensors = files.kind == io::WeightFiles::Kind::safetensors;
  if (files.kind == io::WeightFiles::Kind::gguf) {
    add_gguf_weights(s, io::Gguf::open(files.paths.at(0)), options);
  } else if (safetensors && !foreign && ops::on_cpu()) {
    s.tensors = file_tensors(nn::tensor_bytes(files), options);
    s.loaded.weights = nn::load_safetensors(files, nn::Fp8::refused, &*s.tensors);
  } else {
    detail::require_memory(
        foreign && safetensors ? nn::converted_bytes(files, *foreign) : nn::tensor_bytes(files),
        options.memory_limit);
    if (foreign) {
      auto weights = nn::load_foreign(files, *foreign);
      s.loaded.weights = std::move(weights.arrays);
      s.loaded.quantization = std::move(weights.quantization);
    } else if (safetensors) {
      s.loaded.weights = nn::load_safetensors(files);
    } else {
      s.loaded.weights = nn::load_npz(files.paths.at(0));
    }
  }
  return s;
}

/// After everything else that may fail has not.
std::shared_ptr<const LanguageModel> create(Source& s,
                                            const ModelTypeRegistry& registry,
                                            const LoadOptions& options) {
  std::optional<Adapter> adapter;
  if (!options.adapter_path.empty()) adapter = Adapter::read(options.adapter_path);
  std::shared_ptr<const LanguageModel> model = registry.create(s.loaded);
  AdapterSet adapters(model);
  if (adapter) adapters.choose(adapters.add(options.adapter_path, *adapter));
  s.loaded.weights.clear();  // what the model has not taken needs not be read
  if (s.tensors) s.tensors->read(options.progress);
  adapters.materialize();
  return model;
}

Source read_source(const ModelConfiguration& configuration,
                   const ModelTypeRegistry& registry,
                   const LoadOptions& options) {
  fs::path path = locate(configuration.id(), options.resolver);
  auto gguf = gguf_of(path);
  if (gguf && options.mtp)
    throw UnsupportedError(
        describe("mtp", "heads for further tokens are not read from GGUF files"));
  Source s = gguf ? read_gguf(*gguf, registry, options) : read_directory(path, registry, options);
  s.loaded.mtp = options.mtp;
  return s;
}

}  // namespace

ModelConfiguration ModelConfiguration::with_tokenizer_source(std::string directory) && {
  tokenizer_source_ = std::move(directory);
  return std::move(*this);
}

LoadedModelContext load(const ModelConfiguration& configuration,
                        const ModelTypeRegistry& registry,
                        const LoadOptions& options) {
  Source s = read_source(configuration, registry, options);
  bool own = s.gguf && !configuration.tokenizer_source();
  auto tokenizer =
      own ? tokenizer_from_gguf(*s.gguf)
          : text::Tokenizer::from_directory(configuration.tokenizer_source().value_or(s.path),
                                            s.loaded.config.eos_token_ids);
  return {create(s, registry, options),
          std::move(tokenizer),
          std::move(s.loaded.config),
          std::move(s.generation_defaults)};
}

std::shared_ptr<const LanguageModel> load_model(const ModelConfiguration& configuration,
                                                const ModelTypeRegistry& registry,
                                                const LoadOptions& options) {
  Source s = read_source(configuration, registry, options);
  return create(s, registry, options);
}

ModelContext::ModelContext(std::shared_ptr<const LanguageModel> model,
                           text::Tokenizer tokenizer,
                           BaseConfig config)
    : parts_{std::move(model), std::move(tokenizer), std::move(config), {}} {}

ModelContext::ModelContext(LoadedModelContext loaded) : parts_(std::move(loaded)) {}

ModelContext ModelContext::load(const ModelConfiguration& configuration,
                                const ModelTypeRegistry& registry,
                                const LoadOptions& options) {
  return ModelContext(lm::load(configuration, registry, options));
}

void ModelContext::materialize(const LoadProgress& progress) const {
  constexpr std::uint64_t kBatch = 64 << 20;  // bytes between two reports
  std::uint64_t total = model().nbytes(), done = 0, pending = 0;
  std::vector<array> batch;
  auto flush = [&] {
    mx::eval(batch);
    batch.clear();
    done += std::exchange(pending, 0);
    if (progress) progress(done, total);
  };
  for (auto& [path, param] : model().manifest().params) {
    batch.push_back(*param);
    pending += param->nbytes();
    if (pending >= kBatch) flush();
  }
  if (!batch.empty()) flush();
}

TokenStream ModelContext::stream_generate(std::vector<TokenId> prompt,
                                          const GenerateOptions& options) const {
  return TokenStream(parts_.model,
                     tokenizer(),
                     std::move(prompt),
                     options,
                     config().max_position_embeddings.value_or(0));
}

Generated ModelContext::generate(std::vector<TokenId> prompt,
                                 const GenerateOptions& options) const {
  return collect(stream_generate(std::move(prompt), options));
}

}  // namespace mlxcpp::lm
