#include "mlxcpp/lm/detail/projections.h"

#include "mlxcpp/base/strings.h"

#include <algorithm>
#include <string_view>
#include <utility>

namespace mlxcpp::lm::detail {
namespace {

/// The module of a tensor: without ".weight", which stacks of experts may lack.
std::string module_of(const std::string& tensor) {
  constexpr std::string_view leaf = ".weight";
  return tensor.ends_with(leaf) ? tensor.substr(0, tensor.size() - leaf.size()) : tensor;
}

}  // namespace

std::string decoder_name(const std::string& module) {
  std::string name = module;
  for (auto [from, to] : {std::pair<std::string_view, std::string_view>{"language_model.", ""},
                          {"model.language_model.", "model."},
                          {"backbone.", "model."}})
    if (name.starts_with(from)) {
      name = std::string(to) + name.substr(from.size());
      break;
    }
  for (auto [from, to] :
       {std::pair<std::string_view, std::string_view>{"switch_mlp.fc1", "switch_mlp.up_proj"},
        {"switch_mlp.fc2", "switch_mlp.down_proj"}})
    if (name.ends_with(from)) name.replace(name.size() - from.size(), from.size(), to);
  return name;
}

Projections::Projections(const nn::Manifest& manifest) : manifest_(manifest) {
  for (auto& [path, weight] : manifest.linears) {
    by_name_[path] = {{path, weight}};
    auto origins = manifest.origins.find(path);
    if (origins == manifest.origins.end()) continue;
    for (auto& origin : origins->second) {
      std::string module = module_of(origin.tensor);
      if (manifest.linears.count(module)) continue;  // a weight of the model has that name
      by_name_[module].push_back({path, weight, origin.row, origin.expert});
    }
  }
  auto named = by_name_;
  for (auto& [name, parts] : named) by_name_.emplace(decoder_name(name), parts);
  for (auto& [name, tensor] : manifest.unused)
    if (name.ends_with(".weight"))
      for (auto& known : {module_of(name), module_of(tensor), decoder_name(module_of(tensor))})
        unused_.emplace(known, tensor);
}

std::optional<std::string> Projections::unused(const std::string& module) const {
  auto it = unused_.find(module);
  if (it == unused_.end()) it = unused_.find(decoder_name(module));
  return it == unused_.end() ? std::nullopt : std::optional(it->second);
}

std::vector<Projection> Projections::find(const std::string& module) const {
  auto it = by_name_.find(module);
  if (it == by_name_.end()) it = by_name_.find(decoder_name(module));
  return it == by_name_.end() ? std::vector<Projection>{} : it->second;
}

std::vector<std::string> Projections::names_of(const std::string& path) const {
  std::vector<std::string> names{path};
  auto origins = manifest_.origins.find(path);
  if (origins != manifest_.origins.end())
    for (auto& origin : origins->second) names.push_back(module_of(origin.tensor));
  return names;
}

std::string Projections::near(const std::string& module) const {
  constexpr std::size_t kLongest = 200;
  std::string best;
  std::size_t distance = SIZE_MAX;
  if (module.size() > kLongest) return {};
  for (auto& [name, parts] : by_name_) {
    if (name.size() > kLongest) continue;
    std::size_t d = edit_distance(name, module);
    if (d < distance) distance = d, best = name;
  }
  return best.empty() ? "" : ", such as " + best;
}

}  // namespace mlxcpp::lm::detail
