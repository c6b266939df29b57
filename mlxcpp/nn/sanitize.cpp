#include "mlxcpp/base/error.h"
#include "mlxcpp/nn/weights.h"

#include <mlx/ops.h>

#include <charconv>
#include <cstdint>

namespace mlxcpp::nn {
namespace {

/// Where `part` stands in a name as a whole piece, or npos.
size_t find_part(std::string_view name, std::string_view part) {
  for (size_t at = name.find(part); at != name.npos; at = name.find(part, at + 1)) {
    size_t end = at + part.size();
    if ((at == 0 || name[at - 1] == '.') && (end == name.size() || name[end] == '.')) return at;
  }
  return name.npos;
}

/// The number that a name goes on with, or nothing.
std::optional<int> number_at(std::string_view text) {
  int n = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  bool whole = end == text.data() + text.size() || *end == '.';
  return error == std::errc() && whole && n >= 0 ? std::optional(n) : std::nullopt;
}

template <class Map, class NewName>
void rename_keys(Map& map, NewName new_name) {
  Map renamed;
  for (auto& [name, value] : map) {
    std::string to = new_name(name);
    if (!renamed.emplace(to, value).second)
      throw WeightError(describe(name, "renamed to a name that is taken", "", to));
  }
  map = std::move(renamed);
}

void refuse_blocks(const Quantization& quantization, const std::string& name) {
  if (auto format = quantization.blocks_of(name))
    throw WeightError(describe(name,
                               "packed, where its numbers must be changed",
                               "F32, F16 or BF16",
                               ops::mode_of(*format)));
}

template <class Action>
void for_ending(WeightMap& map, std::string_view suffix, Action action) {
  for (auto& [name, value] : map.arrays) {
    if (!name.ends_with(suffix)) continue;
    refuse_blocks(map.quantization, name);
    action(name, value);
  }
}

}  // namespace

void WeightMap::drop_containing(std::string_view part) {
  std::erase_if(arrays, [&](auto& e) { return e.first.find(part) != std::string::npos; });
}

void WeightMap::drop_prefix(std::string_view prefix) {
  std::erase_if(arrays, [&](auto& e) { return e.first.starts_with(prefix); });
}

void WeightMap::drop_unused(std::string_view module) {
  for (auto& [name, value] : arrays)
    if (name.starts_with(module)) manifest.unused.emplace(name, origins_of(name)[0].tensor);
  manifest.unused.emplace(std::string(module) + "weight", "");  // if it is not there
  drop_prefix(module);
}

void WeightMap::drop_layers(std::string_view list, int from) {
  std::string prefix = std::string(list) + ".";
  std::erase_if(arrays, [&](auto& e) {
    if (!e.first.starts_with(prefix)) return false;
    auto layer = number_at(std::string_view(e.first).substr(prefix.size()));
    return layer && *layer >= from;
  });
}

std::vector<Origin> WeightMap::origins_of(const std::string& tensor) const {
  auto it = origins.find(tensor);
  return it == origins.end() ? std::vector<Origin>{{tensor}} : it->second;
}

template <class NewName>
void WeightMap::rename(NewName new_name) {
  decltype(origins) moved;
  for (auto& [name, value] : arrays) {
    std::string to = new_name(name);
    if (to != name || origins.count(name)) moved[to] = origins_of(name);
  }
  rename_keys(arrays, new_name);
  rename_keys(quantization.exceptions, new_name);
  origins = std::move(moved);
}

void WeightMap::rename_prefix(std::string_view from, std::string_view to) {
  rename([&](const std::string& name) {
    return name.starts_with(from) ? std::string(to) + name.substr(from.size()) : name;
  });
}

void WeightMap::rename_part(std::string_view from, std::string_view to) {
  rename([&](std::string name) {
    auto at = find_part(name, from);
    return at == name.npos ? name : name.replace(at, from.size(), to);
  });
}

void WeightMap::add_one(std::string_view suffix) {
  for_ending(*this, suffix, [](auto&, array& a) {
    a = mx::add(mx::astype(a, mx::float32), array(1.f));  // half types would lose what is small
  });
}

void WeightMap::scale(std::string_view suffix, const array& by) {
  for_ending(
      *this, suffix, [&](auto&, array& a) { a = mx::multiply(a, mx::astype(by, a.dtype())); });
}

void WeightMap::transpose_conv(std::string_view suffix) {
  for_ending(*this, suffix, [](auto& name, array& a) {
    if (a.ndim() != 3 || (a.shape(1) != 1 && a.shape(2) != 1))
      throw WeightError(
          describe(name, "wrong shape", "(C, 1, k) or (C, k, 1)", to_string(a.shape())));
    if (a.shape(2) != 1) a = mx::swapaxes(a, 1, 2);
  });
}

void WeightMap::split_rows(std::string_view part,
                           const std::vector<std::pair<std::string, int>>& into) {
  std::vector<std::string> fused;
  for (auto& [name, value] : arrays)
    if (find_part(name, part) != name.npos) fused.push_back(name);
  for (auto& name : fused) {
    array whole = arrays.at(name);
    bool has_rows = !name.ends_with(".global_scale");
    int axis = int(whole.ndim()) - (name.ends_with(".bias") ? 1 : 2);
    std::int64_t total = 0;  // each fits an int, their sum need not
    for (auto& [to, rows] : into) total += rows;
    if (has_rows && (axis < 0 || whole.shape(axis) != total))
      throw WeightError(describe(
          name, "wrong shape", std::to_string(total) + " outputs", to_string(whole.shape())));
    int from = 0;
    for (auto& [to, rows] : into) {
      mx::Shape start(whole.ndim(), 0), stop = whole.shape();
      auto sources = origins_of(name);
      for (auto& source : sources) source.row += from;
      if (has_rows) start[axis] = from, stop[axis] = from += rows;
      std::string target = name;
      target.replace(find_part(name, part), part.size(), to);
      origins[target] = std::move(sources);
      arrays.insert_or_assign(target, mx::slice(whole, start, stop));
    }
    arrays.erase(name);
  }
  auto entries = quantization.exceptions;
  for (auto& [path, quant] : entries) {
    auto at = find_part(path, part);
    if (at == path.npos) continue;
    for (auto& [to, rows] : into) {
      std::string target = path;
      quantization.exceptions.insert_or_assign(target.replace(at, part.size(), to), quant);
    }
  }
}

void WeightMap::stack_experts(std::string_view from, std::string_view to, int count) {
  std::map<std::string, std::map<int, std::string>> stacks;  // by the name of the whole
  for (auto& [name, value] : arrays) {
    auto at = find_part(name, from);
    if (at == name.npos || at + from.size() == name.size()) continue;
    std::string_view rest = std::string_view(name).substr(at + from.size() + 1);
    auto expert = number_at(rest);
    if (!expert) continue;
    auto dot = rest.find('.');
    std::string leaf = dot == rest.npos ? "" : std::string(rest.substr(dot));
    stacks[name.substr(0, at) + std::string(to) + leaf].emplace(*expert, name);
  }
  for (auto& [whole, names] : stacks) {
    std::vector<array> parts;
    for (int e = 0; e < count; ++e) {
      auto it = names.find(e);
      if (it == names.end())
        throw WeightError(describe(whole,
                                   "expert " + std::to_string(e) + " is missing",
                                   std::to_string(count) + " experts",
                                   std::to_string(names.size())));
      parts.push_back(arrays.at(it->second));
      if (parts.back().shape() != parts[0].shape() || parts.back().dtype() != parts[0].dtype())
        throw WeightError(describe(it->second,
                                   "another shape or type than expert 0",
                                   to_string(parts[0].shape()),
                                   to_string(parts.back().shape())));
      if (quantization.blocks_of(it->second) != quantization.blocks_of(names.at(0)))
        throw WeightError(describe(it->second, "packed in another way than expert 0"));
      for (auto source : origins_of(it->second)) {
        source.expert = e;
        origins[whole].push_back(std::move(source));
      }
      arrays.erase(it->second);
    }
    if (auto format = quantization.blocks_of(names.at(0)))
      quantization.exceptions[whole.substr(0, whole.rfind('.'))] = ops::quant_of_blocks(*format);
    arrays.insert_or_assign(whole, mx::stack(parts));
  }
}

}  // namespace mlxcpp::nn
