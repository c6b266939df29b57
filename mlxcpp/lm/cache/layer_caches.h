// What one layer keeps: a store for each of its attentions, and its recurrent states.
#pragma once

#include <memory>
#include <vector>

#include "mlxcpp/lm/cache/store.h"

namespace mlxcpp::lm {

struct Caches::LayerCaches {
  std::vector<std::unique_ptr<CacheStore>> kv;
  std::vector<ops::State> states;

  LayerCaches() = default;
  LayerCaches(const LayerCaches& other) : states(other.states) {
    for (auto& store : other.kv) kv.push_back(store->clone());
  }
};

}  // namespace mlxcpp::lm
