// `rope_scaling` and `rope_parameters` of a config, and the rotation that they describe.
// Source: transformers modeling_rope_utils.py (the formulas), mlx-lm models/rope_utils.py.
// Differs from mlx-lm: yarn's attention_factor and truncate, longrope's short factors, dynamic.
#pragma once

#include "mlxcpp/io/fields.h"
#include "mlxcpp/ops/rope.h"

#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::nn {

struct RopeScaling {
  std::string type = "default";
  std::optional<float> rope_theta, partial_rotary_factor;  // the newer spelling has them in here
  std::optional<float> factor, attention_factor, mscale, mscale_all_dim;
  std::optional<int> original_max_position_embeddings;
  float low_freq_factor = 1, high_freq_factor = 4;  // llama3
  float beta_fast = 32, beta_slow = 1;              // yarn
  bool truncate = true;                             // yarn: the ramp starts and ends at whole dims
  std::vector<float> short_factor, long_factor;     // longrope
  std::string where = "config.rope_scaling";        // for messages

  void fields(io::Fields& f);
};

struct RopeShape {
  int dims;
  float base = 10000;
  bool traditional = false;
  int max_positions = 2048;  // config's max_position_embeddings
  /// Of the config itself, beside the scaling: the window that longrope's factors stretch.
  std::optional<int> original_max_positions = {};
};

/// Frequencies in float64 on the host.  Throws ConfigError for values out of range,
/// UnsupportedError for a type that is not known.
ops::Rope make_rope(const RopeShape& shape, const RopeScaling& scaling = {});

/// What mscale_all_dim does to the scale of the softmax, in models that read it for that, too
/// (DeepSeek's).  Throws ConfigError when `factor` is missing beside it.
float mscale_of_softmax(const RopeScaling& scaling);

}  // namespace mlxcpp::nn
