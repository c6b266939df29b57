// How large a checkpoint is, from the headers of its files.
#pragma once

#include "apps/common/model.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace mlxcpp::apps {

struct CheckpointSize {
  std::uint64_t parameters = 0;      // quantised ones counted as the numbers that they stand for
  std::uint64_t bytes = 0;           // of all tensors in the files
  std::uint64_t loaded_bytes = 0;    // of all tensors in memory
  std::map<std::string, int> types;  // how many tensors have which type
  double bits_per_weight() const {
    return parameters ? 8.0 * double(bytes) / double(parameters) : 0;
  }
};

/// Throws WeightError for malformed files.
CheckpointSize measure(const ModelFiles& files);

/// Bytes that the cache of one token takes: float32 on a CPU, half of that elsewhere.  Nothing when
/// the config does not say enough.
std::optional<std::uint64_t> kv_bytes_per_token(const lm::BaseConfig& config);

}  // namespace mlxcpp::apps
