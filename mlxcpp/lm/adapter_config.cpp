#include "mlxcpp/lm/adapter_config.h"

#include "mlxcpp/base/error.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <regex>
#include <string_view>

namespace mlxcpp::lm {
namespace {

constexpr std::size_t kExpressionLimit = 1000;

/// Fields of PEFT's LoraConfig that change nothing of what a trained adapter computes.
constexpr std::string_view kBenign[] = {"auto_mapping",
                                        "base_model_name_or_path",
                                        "ensure_weight_tying",
                                        "eva_config",
                                        "fan_in_fan_out",
                                        "inference_mode",
                                        "lora_dropout",
                                        "megatron_config",
                                        "megatron_core",
                                        "peft_type",
                                        "peft_version",
                                        "qalora_group_size",
                                        "revision",
                                        "runtime_config",
                                        "task_type"};
/// Fields that are read.
constexpr std::string_view kRead[] = {"r",
                                      "lora_alpha",
                                      "target_modules",
                                      "exclude_modules",
                                      "layers_to_transform",
                                      "layers_pattern",
                                      "rank_pattern",
                                      "alpha_pattern",
                                      "use_rslora",
                                      "use_dora",
                                      "bias",
                                      "init_lora_weights"};
/// Ways to begin a training that leave the base as it was.
constexpr std::string_view kInits[] = {
    "true", "false", "\"gaussian\"", "\"eva\"", "\"orthogonal\""};

bool ends_with_name(const std::string& path, const std::string& name) {
  return path == name || (path.size() > name.size() && path.ends_with(name) &&
                          path[path.size() - name.size() - 1] == '.');
}

/// Neither null, false, 0, nor empty.
bool is_active(const std::optional<std::string>& json) {
  if (!json) return false;
  for (auto idle : {"null", "false", "0", "0.0", "[]", "{}", "\"\""})
    if (*json == idle) return false;
  return true;
}

template <std::size_t N>
bool is_one_of(const std::string_view (&list)[N], const std::string& text) {
  return std::ranges::find(list, text) != std::end(list);
}

/// A regular expression, or a list of names.
void read_modules(io::Fields& f,
                  const char* key,
                  std::optional<std::vector<std::string>>& names,
                  std::optional<PathPattern>& pattern) {
  if (!f.has(key)) return;
  if (f.type(key) == io::JsonType::string) {
    std::string expression;
    f.need(key, &expression);
    pattern.emplace(expression, f.where(key));
  } else {
    f.need(key, &names.emplace());
  }
}

NumberPatterns read_numbers(const io::Fields& f, const char* key) {
  NumberPatterns numbers{.where = f.where(key), .patterns = {}};
  if (auto object = f.object(key))
    for (auto& expression : object->keys()) {
      float value = 0;
      object->need(expression, &value);
      if (!(value > 0))
        throw ConfigError(describe(
            object->where(expression), "out of range", "a positive number", std::to_string(value)));
      numbers.patterns.emplace_back(PathPattern("(?:.*\\.)?(?:" + expression + ")", numbers.where),
                                    value);
    }
  return numbers;
}

void refuse_active_fields(const io::Fields& f) {
  for (auto& key : f.keys()) {
    if (is_one_of(kBenign, key) || is_one_of(kRead, key)) continue;
    auto value = f.json_text(key);
    if (!is_active(value)) continue;
    throw UnsupportedError(describe(f.where(key),
                                    "asks for more than low-rank products of projections",
                                    "absent, null or empty",
                                    value->substr(0, 80)));
  }
}

void require_rank(const io::Fields& f, const char* key, int rank) {
  if (rank < 1)
    throw ConfigError(
        describe(f.where(key), "out of range", "a positive number", std::to_string(rank)));
}

}  // namespace

struct PathPattern::Impl {
  std::regex regex;
};

PathPattern::PathPattern(const std::string& expression, const std::string& where) {
  if (expression.size() > kExpressionLimit)
    throw UnsupportedError(describe(where,
                                    "regular expression too long",
                                    "at most " + std::to_string(kExpressionLimit) + " bytes",
                                    std::to_string(expression.size())));
  auto flags = std::regex::ECMAScript;
#ifdef __GLIBCXX__
  flags |= std::regex_constants::__polynomial;  // no expression takes exponential time
#endif
  try {
    impl_ = std::make_shared<const Impl>(Impl{std::regex(expression, flags)});
  } catch (const std::regex_error&) {
    throw UnsupportedError(describe(where,
                                    "regular expression not understood",
                                    "what ECMAScript has, without references back",
                                    expression.substr(0, 80)));
  }
}

bool PathPattern::matches(const std::string& path) const {
  return std::regex_match(path, impl_->regex);
}

std::optional<float> NumberPatterns::of(const std::string& module) const {
  std::optional<float> found;
  for (auto& [pattern, value] : patterns) {
    if (!pattern.matches(module)) continue;
    if (found && *found != value)
      throw UnsupportedError(describe(where, "several patterns with other numbers match", module));
    found = value;
  }
  return found;
}

std::optional<LayerPath> layer_of(const std::string& path) {
  constexpr std::string_view list = "layers.";
  for (std::size_t at = path.find(list); at != path.npos; at = path.find(list, at + 1)) {
    if (at != 0 && path[at - 1] != '.') continue;
    int layer = 0;
    const char *from = path.data() + at + list.size(), *end = path.data() + path.size();
    auto [stop, error] = std::from_chars(from, end, layer);
    if (error == std::errc() && layer >= 0 && stop != end && *stop == '.')
      return LayerPath{layer, std::string(stop + 1, end)};
  }
  return {};
}

bool ModuleSelection::selects(const std::string& module, int layers_of_model) const {
  auto ends_so = [&](const std::string& name) { return ends_with_name(module, name); };
  if (std::ranges::any_of(excluded, ends_so)) return false;
  if (excluded_pattern && excluded_pattern->matches(module)) return false;
  if (pattern) return pattern->matches(module);
  if (names && std::ranges::none_of(*names, ends_so)) return false;
  if (auto at = layer_of(module); at && last_layers > 0)
    return at->layer >= layers_of_model - last_layers ||
           (names && std::ranges::find(*names, module) != names->end());
  if (layers.empty()) return true;
  // The first number that stands behind one of the lists is the layer.
  for (std::size_t dot = module.find('.'); dot != module.npos; dot = module.find('.', dot + 1)) {
    int layer = 0;
    const char *from = module.data() + dot + 1, *end = module.data() + module.size();
    auto [stop, error] = std::from_chars(from, end, layer);
    if (error != std::errc() || stop == end || *stop != '.') continue;
    std::string before = module.substr(0, dot);
    bool is_list =
        layer_lists.empty()
            ? before.find('.') != before.npos
            : std::ranges::any_of(layer_lists, [&](auto& p) { return p.matches(before); });
    if (is_list) return std::ranges::find(layers, layer) != layers.end();
  }
  return false;
}

AdapterConfig AdapterConfig::read(io::Fields f) {
  AdapterConfig config;
  bool native = f.has("lora_parameters") || f.has("fine_tune_type");
  for (auto key : {"peft_type", "r", "lora_alpha", "target_modules"})
    if (!native && f.has(key)) config.format = Format::peft;
  if (config.format == Format::peft)
    config.read_peft(f);
  else
    config.read_mlx_lm(f);
  return config;
}

void AdapterConfig::read_mlx_lm(io::Fields& f) {
  std::string type = "lora";
  int layers = 16;
  f.may("fine_tune_type", &type).may("num_layers", &layers);
  if (type == "full")
    throw UnsupportedError(describe(
        f.where("fine_tune_type"), "whole weights, not an adapter", "lora or dora", "\"full\""));
  if (type != "lora" && type != "dora")
    throw ConfigError(
        describe(f.where("fine_tune_type"), "unknown", "lora or dora", "\"" + type + "\""));
  dora = type == "dora";
  selection.last_layers = std::max(layers, 0);
  auto parameters = f.object("lora_parameters");
  if (!parameters) return;
  parameters->may("rank", &rank_).may("scale", &scale_).may("alpha", &alpha_);
  require_rank(*parameters, "rank", rank_);
  bool use_dora = false;
  parameters->may("use_dora", &use_dora);
  dora |= use_dora;
  if (std::vector<std::string> keys; parameters->has("keys")) {
    parameters->need("keys", &keys);
    if (!keys.empty()) selection.names = std::move(keys);
  }
}

void AdapterConfig::read_peft(io::Fields& f) {
  std::string type = "LORA", bias = "none";
  f.may("peft_type", &type).may("bias", &bias);
  auto refuse = [&](const char* key, const char* what, const char* expected, std::string found) {
    throw UnsupportedError(describe(f.where(key), what, expected, found));
  };
  if (type != "LORA") refuse("peft_type", "not supported", "LORA", "\"" + type + "\"");
  if (bias != "none") refuse("bias", "trained biases", "none", "\"" + bias + "\"");
  auto init = f.json_text("init_lora_weights").value_or("true");
  if (!is_one_of(kInits, init))
    refuse("init_lora_weights",
           "a start that changed the base model",
           "true, false, gaussian, eva or orthogonal",
           init.substr(0, 80));
  refuse_active_fields(f);
  float alpha = 8;
  f.may("r", &rank_).may("lora_alpha", &alpha).may("use_rslora", &root_of_rank_);
  f.may("use_dora", &dora);
  require_rank(f, "r", rank_);
  alpha_ = alpha;
  ranks_ = read_numbers(f, "rank_pattern");
  alphas_ = read_numbers(f, "alpha_pattern");
  read_modules(f, "target_modules", selection.names, selection.pattern);
  if (f.json_text("target_modules").value_or("").size() == 12) {  // "all-linear" with its quotes
    std::string text = *f.json_text("target_modules");
    std::ranges::transform(
        text, text.begin(), [](unsigned char c) { return char(std::tolower(c)); });
    if (text == "\"all-linear\"") {
      selection.pattern.reset();
      selection.excluded.push_back("lm_head");
    }
  }
  std::optional<std::vector<std::string>> excluded;
  read_modules(f, "exclude_modules", excluded, selection.excluded_pattern);
  for (auto& name : excluded.value_or(std::vector<std::string>{}))
    selection.excluded.push_back(name);
  f.may_one_or_many("layers_to_transform", &selection.layers);
  std::vector<std::string> lists;
  f.may_one_or_many("layers_pattern", &lists);
  for (auto& list : lists)
    if (!list.empty())
      selection.layer_lists.emplace_back("(?:.*\\.)?(?:" + list + ")", f.where("layers_pattern"));
}

int AdapterConfig::rank(const std::string& module) const {
  return int(ranks_.of(module).value_or(float(rank_)));
}

float AdapterConfig::scale(const std::string& module) const {
  if (!alpha_) return scale_;
  float alpha = alphas_.of(module).value_or(*alpha_), r = float(rank(module));
  return root_of_rank_ ? alpha / std::sqrt(r) : alpha / r;
}

}  // namespace mlxcpp::lm
