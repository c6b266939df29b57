#include "mlxcpp/nn/rope.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/checks.h"

#include <mlx/ops.h>

#include <algorithm>
#include <cmath>

namespace mlxcpp::nn {
namespace {

constexpr double kTau = 2 * M_PI;
using Wavelengths = std::vector<double>;  // of each pair of dims, over 2 pi

Wavelengths plain(const RopeShape& s) {
  Wavelengths w(s.dims / 2);
  for (size_t i = 0; i < w.size(); ++i) w[i] = std::pow(double(s.base), 2.0 * i / s.dims);
  return w;
}

array as_array(const Wavelengths& w, const RopeScaling& c) {
  std::vector<float> f(w.begin(), w.end());
  for (float v : f)
    if (!std::isfinite(v) || v <= 0)
      throw ConfigError(describe(
          c.where, "a frequency is out of range", "a positive finite number", std::to_string(v)));
  return array(f.data(), {int(f.size())}, mx::float32);
}

/// Of the whole head, though only the first pairs turn.
array proportional(const RopeShape& s, const RopeScaling& c) {
  float part = c.partial_rotary_factor.value_or(1), factor = c.factor.value_or(1);
  io::require_in_range(c.where + ".partial_rotary_factor", part, 0, 1);
  io::require_positive(c.where + ".factor", factor);
  Wavelengths turning = plain(s);
  turning.resize(size_t(part * s.dims / 2));
  for (double& w : turning) w *= factor;
  int still = s.dims / 2 - int(turning.size());
  return mx::concatenate({as_array(turning, c), mx::full({still}, INFINITY)});
}

float needed(const std::optional<float>& value, const RopeScaling& c, const char* key) {
  if (!value) throw ConfigError(describe(c.where + "." + key, "missing for rope type " + c.type));
  io::require_positive(c.where + "." + key, *value);
  return *value;
}

int original_of(const RopeShape& s, const RopeScaling& c) {
  int n = c.original_max_position_embeddings.value_or(
      s.original_max_positions.value_or(s.max_positions));
  io::require_positive(c.where + ".original_max_position_embeddings", n);
  return n;
}

void scale_llama3(Wavelengths& w, const RopeShape& s, const RopeScaling& c) {
  double factor = needed(c.factor, c, "factor"), old = original_of(s, c);
  if (!(c.low_freq_factor > 0 && c.high_freq_factor > c.low_freq_factor))
    throw ConfigError(describe(c.where + ".high_freq_factor",
                               "out of range",
                               "more than low_freq_factor, and both positive",
                               std::to_string(c.high_freq_factor)));
  for (double& f : w) {
    double wave = kTau * f;
    if (wave > old / c.low_freq_factor) {
      f *= factor;
    } else if (wave >= old / c.high_freq_factor) {
      double smooth = (old / wave - c.low_freq_factor) / (c.high_freq_factor - c.low_freq_factor);
      f /= (1 - smooth) / factor + smooth;
    }
  }
}

double yarn_magnitude(double factor, double m) {
  return factor <= 1 ? 1 : 0.1 * m * std::log(factor) + 1;
}

/// The softmax scale's stretch.  As in transformers: mscale counts only together with
/// mscale_all_dim.
double yarn_attention(const RopeScaling& c, double factor) {
  if (c.attention_factor) return *c.attention_factor;
  if (c.mscale.value_or(0) != 0 && c.mscale_all_dim.value_or(0) != 0)
    return yarn_magnitude(factor, *c.mscale) / yarn_magnitude(factor, *c.mscale_all_dim);
  return yarn_magnitude(factor, 1);
}

float scale_yarn(Wavelengths& w, const RopeShape& s, const RopeScaling& c) {
  double factor = needed(c.factor, c, "factor"), old = original_of(s, c);
  io::require_positive(c.where + ".beta_fast", c.beta_fast);
  io::require_positive(c.where + ".beta_slow", c.beta_slow);
  auto dim_at = [&](double rotations) {
    return s.dims * std::log(old / (rotations * kTau)) / (2 * std::log(double(s.base)));
  };
  double low = dim_at(c.beta_fast), high = dim_at(c.beta_slow);
  if (c.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, s.dims - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < w.size(); ++i) {
    double keep = 1 - std::clamp((double(i) - low) / (high - low), 0.0, 1.0);
    w[i] = 1 / ((1 - keep) / (factor * w[i]) + keep / w[i]);
  }
  return float(yarn_attention(c, factor));
}

void scale_by(Wavelengths& w,
              const std::vector<float>& factors,
              const RopeScaling& c,
              const char* key) {
  if (factors.size() != w.size())
    throw ConfigError(describe(c.where + "." + key,
                               "wrong length",
                               std::to_string(w.size()),
                               std::to_string(factors.size())));
  for (size_t i = 0; i < w.size(); ++i) w[i] *= factors[i];
}

void set_longrope(ops::Rope& r, const RopeShape& s, const RopeScaling& c) {
  int old = original_of(s, c);
  Wavelengths inside = plain(s), beyond = inside;
  scale_by(inside, c.short_factor, c, "short_factor");
  scale_by(beyond, c.long_factor, c, "long_factor");
  double grow = c.factor ? *c.factor : double(s.max_positions) / old;
  r.freqs = as_array(inside, c);
  r.beyond = ops::LongFrequencies{as_array(beyond, c), old};
  if (c.attention_factor)
    r.magnitude = *c.attention_factor;
  else if (grow > 1 && old > 1)
    r.magnitude = float(std::sqrt(1 + std::log(grow) / std::log(double(old))));
}

}  // namespace

void RopeScaling::fields(io::Fields& f) {
  where = f.where();
  f.may("type", &type).may("rope_type", &type);
  f.may("rope_theta", &rope_theta)
      .may("partial_rotary_factor", &partial_rotary_factor)
      .may("factor", &factor)
      .may("attention_factor", &attention_factor)
      .may("mscale", &mscale)
      .may("mscale_all_dim", &mscale_all_dim)
      .may("original_max_position_embeddings", &original_max_position_embeddings)
      .may("low_freq_factor", &low_freq_factor)
      .may("high_freq_factor", &high_freq_factor)
      .may("beta_fast", &beta_fast)
      .may("beta_slow", &beta_slow)
      .may("truncate", &truncate)
      .may("short_factor", &short_factor)
      .may("long_factor", &long_factor);
}

ops::Rope make_rope(const RopeShape& s, const RopeScaling& c) {
  io::require_positive("config.rope_theta", s.base);
  if (s.dims < 2 || s.dims % 2)
    throw ConfigError(describe(
        "config.head_dim", "can not be rotated", "an even number of dims", std::to_string(s.dims)));
  ops::Rope r{.dims = s.dims, .base = s.base, .scale = 1, .traditional = s.traditional};
  if (c.type == "default" || c.type == "mrope") return r;
  if (c.type == "linear") {
    r.scale = 1 / needed(c.factor, c, "factor");
  } else if (c.type == "dynamic") {
    if (s.dims < 4) throw ConfigError(describe(c.where, "dynamic needs at least 4 dims"));
    r.dynamic = ops::DynamicNtk{needed(c.factor, c, "factor"), s.max_positions};
  } else if (c.type == "longrope" || c.type == "su") {
    set_longrope(r, s, c);
  } else if (c.type == "proportional") {
    r.freqs = proportional(s, c);
  } else if (c.type == "llama3" || c.type == "yarn") {
    Wavelengths w = plain(s);
    if (c.type == "llama3")
      scale_llama3(w, s, c);
    else
      r.magnitude = scale_yarn(w, s, c);
    r.freqs = as_array(w, c);
  } else {
    throw UnsupportedError(describe(c.where + ".rope_type",
                                    "rope type not supported",
                                    "default, linear, dynamic, llama3, yarn, longrope or "
                                    "proportional",
                                    "\"" + c.type + "\""));
  }
  io::require_positive(c.where + ".factor", r.scale);
  io::require_positive(c.where + ".attention_factor", r.magnitude);
  return r;
}

float mscale_of_softmax(const RopeScaling& c) {
  if (c.type == "default" || c.mscale_all_dim.value_or(0) == 0) return 1;
  double m = yarn_magnitude(needed(c.factor, c, "factor"), *c.mscale_all_dim);
  io::require_positive(c.where + ".mscale_all_dim", float(m * m));
  return float(m * m);
}

}  // namespace mlxcpp::nn
