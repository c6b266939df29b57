#include "mlxcpp/lm/detail/projections.h"

#include "mlxcpp/base/strings.h"

#include <algorithm>
#include <string_view>

namespace mlxcpp::lm::detail {
namespace {

/// The module of a tensor: without ".weight", which stacks of experts may lack.
std::string module_of(const std::string& tensor) {
  constexpr std::string_view leaf = ".weight";
  return tensor.ends_with(leaf) ? tensor.substr(0, tensor.size() - leaf.size()) : tensor;
}

}  // namespace

std::string decoder_name(const std::string& module) {
  std::string_view rest = module;
  constexpr std::string_view inside = "model.language_model.", before = "language_model.";
  if (rest.starts_with(inside)) return "model." + std::string(rest.substr(inside.size()));
  if (rest.starts_with(before)) return std::string(rest.substr(before.size()));
  return module;
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
