// The table of model types: aliases, the registry, and this room's rows.
#include "mlxcpp/base/error.h"
#include "mlxcpp/base/strings.h"
#include "mlxcpp/lm/factory.h"
#include "mlxcpp/lm/models/models.h"

#include <algorithm>
#include <array>
#include <utility>

namespace mlxcpp::lm {
namespace {

// mlx-lm utils.py, MODEL_REMAPPING (0.32.2).
constexpr std::array<std::pair<std::string_view, std::string_view>, 12> kAliases = {{
    {"deepseek_v41_text", "deepseek_v41"},
    {"falcon_mamba", "mamba"},
    {"gemma4_unified", "gemma4"},
    {"iquestcoder", "llama"},
    {"joyai_llm_flash", "deepseek_v3"},
    {"kimi_k2", "deepseek_v3"},
    {"llava", "mistral3"},
    {"minimax_m2", "minimax"},
    {"mistral", "llama"},
    {"phi-msft", "phixtral"},
    {"qwen2_5_vl", "qwen2_vl"},
    {"xverse", "llama"},
}};

struct Row {
  std::string_view model_type;
  MakeModel make;
};
constexpr std::array kModels = {
    Row{"deepseek_v3", make_deepseek_v3},
    Row{"deepseek_v32", make_deepseek_v32},
    Row{"falcon_h1", make_falcon_h1},
    Row{"gemma3", make_gemma3},
    Row{"gemma3_text", make_gemma3_text},
    Row{"gemma3n", make_gemma3n},
    Row{"gemma4", make_gemma4},
    Row{"gemma4_text", make_gemma4_text},
    Row{"glm_moe_dsa", make_glm_moe_dsa},
    Row{"gpt_oss", make_gpt_oss},
    Row{"lfm2", make_lfm2},
    Row{"llama", make_llama},
    Row{"llama4", make_llama4},
    Row{"mamba2", make_mamba2},
    Row{"nemotron_h", make_nemotron_h},
    Row{"phi3", make_phi3},
    Row{"qwen2", make_qwen2},
    Row{"qwen3", make_qwen3},
    Row{"qwen3_5", make_qwen3_5},
    Row{"qwen3_5_moe", make_qwen3_5_moe},
    Row{"qwen3_5_moe_text", make_qwen3_5_moe},
    Row{"qwen3_5_text", make_qwen3_5},
    Row{"qwen3_moe", make_qwen3_moe},
    Row{"qwen3_next", make_qwen3_next},
};

/// Types that a misspelling or another version may have meant.
std::string near_matches(std::string_view wanted, const std::vector<std::string>& known) {
  std::string out;
  if (wanted.size() > 64) return out;
  for (auto& name : known) {
    auto shared = std::mismatch(wanted.begin(), wanted.end(), name.begin(), name.end());
    bool near = shared.first - wanted.begin() >= 4 || edit_distance(wanted, name) <= 2;
    if (near) out += (out.empty() ? "" : ", ") + name;
  }
  return out;
}

}  // namespace

std::string_view remap_model_type(std::string_view model_type) {
  for (auto& [from, to] : kAliases)
    if (from == model_type) return to;
  return model_type;
}

std::optional<ModelConstructor> ModelTypeRegistry::add(std::string_view model_type,
                                                       ModelConstructor constructor) {
  auto [it, fresh] = constructors_.try_emplace(std::string(remap_model_type(model_type)));
  auto displaced = std::exchange(it->second, std::move(constructor));
  return fresh ? std::nullopt : std::optional(std::move(displaced));
}

ModelTypeRegistry ModelTypeRegistry::with(std::string_view model_type,
                                          ModelConstructor constructor) && {
  add(model_type, std::move(constructor));
  return std::move(*this);
}

bool ModelTypeRegistry::contains(std::string_view model_type) const {
  return constructors_.count(std::string(remap_model_type(model_type))) > 0;
}

void ModelTypeRegistry::require(std::string_view model_type) const {
  if (contains(model_type)) return;
  auto known = model_types(), names = known;
  for (auto& [from, to] : kAliases)
    if (constructors_.count(std::string(to))) names.emplace_back(from);
  std::string near = near_matches(model_type, names), expected;
  if (!near.empty())
    expected = "a supported one, such as " + near;
  else if (known.size() <= 5)
    for (auto& name : known) expected += (expected.empty() ? "" : ", ") + name;
  throw UnsupportedError(describe("model_type",
                                  "not supported",
                                  expected,
                                  "\"" + std::string(model_type) + "\"",
                                  "`mlxcpp models` for all that are"));
}

std::unique_ptr<LanguageModel> ModelTypeRegistry::create(const LoadedModel& loaded) const {
  require(loaded.config.model_type);
  return constructors_.at(std::string(remap_model_type(loaded.config.model_type)))(loaded);
}

std::vector<std::string> ModelTypeRegistry::model_types() const {
  std::vector<std::string> names;
  for (auto& [name, constructor] : constructors_) names.push_back(name);
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::string> ModelTypeRegistry::aliases_of(std::string_view model_type) {
  std::vector<std::string> names;
  for (auto& [from, to] : kAliases)
    if (to == model_type) names.emplace_back(from);
  return names;
}

MakeModel find_model(std::string_view model_type) {
  auto row = std::ranges::find(kModels, model_type, &Row::model_type);
  return row == kModels.end() ? nullptr : row->make;
}

void add_models(ModelTypeRegistry& registry) {
  for (const Row& row : kModels)
    registry.add(row.model_type,
                 [make = row.make](const LoadedModel& loaded) { return bind(loaded, make); });
}

}  // namespace mlxcpp::lm
