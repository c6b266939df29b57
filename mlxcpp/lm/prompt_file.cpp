#include "mlxcpp/lm/prompt_file.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/strings.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/io/safetensors.h"
#include "mlxcpp/lm/detail/prompt_form.h"
#include "mlxcpp/nn/safetensors_file.h"
#include "mlxcpp/ops/borrowed.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <string_view>
#include <utility>

namespace mlxcpp::lm {
namespace {

constexpr const char* kFingerprint = "mlxcpp_model";
constexpr const char* kIds = "mlxcpp_tokens";
constexpr const char* kAdapter = "mlxcpp_adapter";

const std::pair<std::string_view, mx::Dtype> kDtypes[] = {{"F32", mx::float32},
                                                          {"F16", mx::float16},
                                                          {"BF16", mx::bfloat16},
                                                          {"U32", mx::uint32},
                                                          {"I32", mx::int32},
                                                          {"I64", mx::int64}};

io::Safetensors open(const std::filesystem::path& path, std::uint64_t max_bytes) {
  auto file = io::Safetensors::open(path);
  if (file.file->bytes().size() > max_bytes)
    throw IoError(describe(path.string(),
                           "file is too large",
                           "at most " + std::to_string(max_bytes) + " bytes",
                           std::to_string(file.file->bytes().size())));
  return file;
}

/// A copy, so that the file may be replaced while its caches are in use.
array copied(const io::Safetensors& file,
             const io::SafetensorsTensor& t,
             const std::string& where) {
  auto known = std::ranges::find(kDtypes, t.dtype, [](auto& d) { return d.first; });
  if (known == std::end(kDtypes))
    throw InputError(describe(where + ": cache " + io::printable(t.name),
                              "dtype that no cache has",
                              "F32, F16, BF16, U32, I32 or I64",
                              t.dtype));
  mx::Shape shape;
  for (auto extent : t.shape) {
    if (extent > INT32_MAX)
      throw InputError(describe(where + ": cache " + io::printable(t.name), "extent too large"));
    shape.push_back(int(extent));
  }
  auto [a, to] = ops::blank(shape, known->second);
  auto bytes = file.bytes(t);
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  return a;
}

std::string text_of(const std::vector<TokenId>& ids) {
  std::string text;
  for (auto id : ids) {
    if (!text.empty()) text += ' ';
    text += std::to_string(id);
  }
  return text;
}

std::vector<TokenId> ids_of(std::string_view text) {
  std::vector<TokenId> ids;
  const char *at = text.data(), *end = at + text.size();
  while (at < end) {
    TokenId id = 0;
    auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc{} || (next < end && *next != ' '))
      throw InputError(describe(kIds, "no list of tokens", "numbers with a blank between"));
    ids.push_back(id);
    at = next < end ? next + 1 : end;
  }
  return ids;
}

bool keeps_nothing(const CacheState& s) { return s.class_name == "CacheList" && s.parts.empty(); }

/// Recurrent states in what the device computes with.
void settle_states(CacheState& s) {
  for (auto& part : s.parts) settle_states(part);
  if (s.class_name != "ArraysCache") return;
  for (auto& a : s.arrays)
    if (a && mx::issubdtype(a->dtype(), mx::floating))
      a = mx::astype(*a, ops::activation_dtype(a->dtype()));
}

/// Values without width: an indexer's, which has keys only.
void widen_values(CacheState& s, const ops::LayerLayout& layout) {
  if (s.parts.size() != layout.kv.size() || !layout.states.empty()) return;
  for (size_t i = 0; i < s.parts.size(); ++i) {
    auto& arrays = s.parts[i].arrays;
    if (arrays.size() != 2 || !arrays[0] || !arrays[1] || arrays[1]->shape(3)) continue;
    auto shape = arrays[0]->shape();
    shape[3] = layout.kv[i].v_dim;
    arrays[1] = mx::zeros(shape, arrays[0]->dtype());
  }
}

void read_options(const CacheState& s, const ops::KvLayout& kv, CacheOptions& options) {
  if (s.class_name.starts_with("Quantized") && s.numbers.size() >= 3) {
    bool ring = s.class_name != "QuantizedKVCache";
    size_t at = ring ? 4 : 1;
    if (s.numbers.size() < at + 2) return;
    options.quant = {
        .k_bits = s.numbers[at + 1], .v_bits = s.numbers.back(), .group_size = s.numbers[at]};
  }
  if (s.class_name.ends_with("RotatingKVCache") && s.numbers.size() >= 4) {
    int keep = s.numbers[1], max_size = s.numbers[2];
    if (!kv.window || max_size < kv.window || keep) {
      options.max_kv_size = max_size;
      options.keep = keep;
    }
  } else if (s.class_name == "KVCache" && kv.window) {
    options.rotate = false;
  }
}

}  // namespace

PromptFile PromptFile::read(const std::filesystem::path& path, std::uint64_t max_bytes) {
  auto file = open(path, max_bytes);
  PromptTree tree;
  tree.texts = file.metadata;
  user_metadata(tree.texts, path.string());  // before much is copied: is it one?
  for (auto& t : file.tensors) tree.arrays.emplace(t.name, copied(file, t, path.string()));
  return tree.file(path.string());
}

void PromptFile::write(const std::filesystem::path& path, PromptFileForm form) const {
  auto tree = PromptTree::of(*this, form);
  nn::write_safetensors(
      path, {tree.arrays.begin(), tree.arrays.end()}, {tree.texts.begin(), tree.texts.end()});
}

PromptFileInfo PromptFileInfo::of(const std::map<std::string, std::string>& metadata) {
  auto find = [&](const char* key) -> std::optional<std::string> {
    auto it = metadata.find(key);
    if (it == metadata.end()) return {};
    return it->second;
  };
  PromptFileInfo info{find("model"), find("tokenizer_config"), find(kFingerprint), {}};
  if (auto ids = find(kIds)) info.ids = ids_of(*ids);
  info.adapter = find(kAdapter);
  return info;
}

std::map<std::string, std::string> PromptFileInfo::metadata() const {
  std::map<std::string, std::string> all;
  if (model) all["model"] = *model;
  if (tokenizer_config) all["tokenizer_config"] = *tokenizer_config;
  if (fingerprint) all[kFingerprint] = *fingerprint;
  if (ids) all[kIds] = text_of(*ids);
  if (adapter) all[kAdapter] = *adapter;
  return all;
}

std::map<std::string, std::string> prompt_metadata(const std::filesystem::path& path) {
  return user_metadata(open(path, kPromptFileLimit).metadata, path.string());
}

std::string fingerprint_text(const LanguageModel& model) { return hex(model.fingerprint()); }

void save_prompt(const std::filesystem::path& path,
                 const LanguageModel& model,
                 const CachedPrompt& prompt,
                 PromptFileInfo info,
                 PromptFileForm form) {
  info.fingerprint = fingerprint_text(model);
  info.ids = prompt.ids;
  PromptFile{without_empty_layers(prompt.caches.state()), info.metadata()}.write(path, form);
}

LoadedPrompt load_prompt(const std::filesystem::path& path,
                         const LanguageModel& model,
                         TokenId stand_in,
                         std::uint64_t max_bytes) {
  auto file = PromptFile::read(path, max_bytes);
  try {
    LoadedPrompt loaded{{}, PromptFileInfo::of(file.metadata)};
    auto& info = loaded.info;
    if (info.fingerprint && *info.fingerprint != fingerprint_text(model))
      throw InputError(describe("prompt cache",
                                "of another model",
                                fingerprint_text(model),
                                *info.fingerprint + (info.model ? " (" + *info.model + ")" : "")));
    auto layout = model.layout();
    auto layers = with_empty_layers(std::move(file.caches), model.make_caches().state());
    for (size_t i = 0; i < layers.size(); ++i) {
      widen_values(layers[i], layout[i]);
      settle_states(layers[i]);
    }
    auto prompt = std::make_shared<CachedPrompt>(model, options_for(layers, layout));
    prompt->caches.set_state(layers, info.ids ? int(info.ids->size()) : 0);
    mx::eval(prompt->caches.arrays());
    int consumed = prompt->caches.consumed()[0];
    if (info.ids && info.ids->size() != size_t(consumed))
      throw InputError(describe("prompt cache",
                                "names of tokens do not match what was consumed",
                                std::to_string(consumed),
                                std::to_string(info.ids->size())));
    prompt->ids = info.ids.value_or(std::vector<TokenId>(size_t(consumed), stand_in));
    loaded.prompt = std::move(prompt);
    return loaded;
  } catch (const InputError& e) {
    throw InputError(path.string() + ": " + e.what());
  }
}

std::vector<CacheState> without_empty_layers(std::vector<CacheState> layers) {
  std::erase_if(layers, keeps_nothing);
  return layers;
}

std::vector<CacheState> with_empty_layers(std::vector<CacheState> caches,
                                          const std::vector<CacheState>& like) {
  auto wanted = size_t(std::ranges::count_if(like, [](auto& s) { return !keeps_nothing(s); }));
  if (caches.size() != wanted)
    throw InputError(describe("prompt cache",
                              "another number of caches than the model's layers have",
                              std::to_string(wanted),
                              std::to_string(caches.size())));
  std::vector<CacheState> layers;
  auto next = caches.begin();
  for (auto& s : like) layers.push_back(keeps_nothing(s) ? s : std::move(*next++));
  return layers;
}

CacheOptions options_for(const std::vector<CacheState>& layers, const CacheLayout& layout) {
  CacheOptions options;
  for (size_t i = 0; i < layout.size() && i < layers.size(); ++i) {
    auto& kv = layout[i].kv;
    std::vector<CacheState> parts =
        layers[i].class_name == "CacheList" ? layers[i].parts : std::vector{layers[i]};
    size_t skip = layout[i].states.empty() ? 0 : 1;
    for (size_t k = 0; k < kv.size() && k + skip < parts.size(); ++k)
      read_options(parts[k + skip], kv[k], options);
  }
  return options;
}

}  // namespace mlxcpp::lm
