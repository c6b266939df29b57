// What one layer keeps: a store for each of its attentions, and its recurrent states.
#pragma once

#include "mlxcpp/lm/cache/store.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace mlxcpp::lm {

struct Caches::LayerCaches {
  std::vector<std::unique_ptr<CacheStore>> kv;
  std::vector<ops::State> states;
  std::vector<mx::Shape> state_shapes;  // without the row axis

  LayerCaches() = default;
  LayerCaches(const LayerCaches& other) : states(other.states), state_shapes(other.state_shapes) {
    for (auto& store : other.kv) kv.push_back(store->clone());
  }
  /// Whether rows of the other may stand beside rows of this one.
  bool like(const LayerCaches& other) const {
    return state_shapes == other.state_shapes &&
           std::equal(kv.begin(), kv.end(), other.kv.begin(), other.kv.end(), [](auto& a, auto& b) {
             return a->like(*b);
           });
  }
};

}  // namespace mlxcpp::lm
