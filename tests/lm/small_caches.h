// Caches of one row without a model: so many tokens of one number each.
#pragma once

#include "mlxcpp/lm/caches.h"
#include "mlxcpp/text/vocab.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace mlxcpp::test {

using Ids = std::vector<text::TokenId>;

/// Keys and values are the ids, so that what a cache holds can be asked.
inline lm::Caches blank_kv() { return {lm::CacheLayout{{.kv = {{1, 1, 1}}, .states = {}}}, {}}; }
inline lm::Caches kv_caches(const Ids& ids) {
  std::vector<float> numbers(ids.begin(), ids.end());
  auto made = [&] { return array(numbers.data(), {1, 1, int(ids.size()), 1}, mx::float32); };
  lm::CacheState s{.class_name = "KVCache",
                   .arrays = {made(), made()},
                   .numbers = {int(ids.size())},
                   .parts = {}};
  auto caches = blank_kv();
  caches.set_state({s});
  mx::eval(caches.arrays());
  return caches;
}

/// A recurrent state: it can not be trimmed.
inline lm::Caches blank_states() { return {lm::CacheLayout{{.kv = {}, .states = {{1}}}}, {}}; }
inline lm::Caches state_caches(const Ids& ids) {
  float sum = 0;
  for (auto id : ids) sum = sum * 2 + float(id);
  lm::CacheState s{.class_name = "ArraysCache",
                   .arrays = {mx::full({1, 1}, sum, mx::float32)},
                   .numbers = {},
                   .parts = {}};
  auto caches = blank_states();
  caches.set_state({s}, int(ids.size()));
  mx::eval(caches.arrays());
  return caches;
}

/// What kv_caches holds.
inline Ids held(const lm::Caches& caches) {
  auto k = caches.state().at(0).arrays.at(0);
  if (!k) return {};
  array flat = mx::contiguous(mx::flatten(*k));
  flat.eval();
  Ids ids;
  for (int i = 0; i < int(flat.size()); ++i) ids.push_back(text::TokenId(flat.data<float>()[i]));
  return ids;
}

inline Ids first(const Ids& ids, std::size_t n) { return {ids.begin(), ids.begin() + long(n)}; }
inline Ids joined(Ids a, const Ids& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace mlxcpp::test
