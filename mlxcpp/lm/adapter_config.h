// adapter_config.json: what kind of low-rank adapter a folder holds, for which projections, and how
// strong it is.
// Source: mlx-lm tuner/utils.py (0.32.2), PEFT tuners/lora/config.py, tuners_utils.py (0.21.2), and
// mlxrs 0.1.0 for what is refused.
#pragma once

#include "mlxcpp/io/fields.h"

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace mlxcpp::lm {

/// A regular expression that must match a whole path.
class PathPattern {
 public:
  /// Throws UnsupportedError opening with `where`: one that ECMAScript does not know, or too long.
  PathPattern(const std::string& expression, const std::string& where);
  bool matches(const std::string& path) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

/// Numbers of modules that differ from the others'.
struct NumberPatterns {
  std::string where;
  std::vector<std::pair<PathPattern, float>> patterns;

  /// Throws UnsupportedError when patterns disagree: their order is lost in JSON.
  std::optional<float> of(const std::string& module) const;
};

/// Which modules an adapter is for.
struct ModuleSelection {
  /// The ends of paths, or whole ones; nothing: any.
  std::optional<std::vector<std::string>> names;
  std::optional<PathPattern> pattern;  // instead of names
  std::vector<std::string> excluded;
  std::optional<PathPattern> excluded_pattern;
  int last_layers = 0;                   // mlx-lm: only so many of the last; 0: all
  std::vector<int> layers;               // PEFT, with names: only these; empty: all
  std::vector<PathPattern> layer_lists;  // what stands before a layer's number; empty: anything

  bool selects(const std::string& module, int layers_of_model) const;
  bool is_explicit() const { return names || pattern; }
};

struct AdapterConfig {
  enum class Format { mlx_lm, peft };
  Format format = Format::mlx_lm;
  bool dora = false;
  ModuleSelection selection;

  /// Throws ConfigError for wrong types and values, UnsupportedError for what would have to change
  /// the model in other ways than by low-rank products, saying which field asks for it.
  static AdapterConfig read(io::Fields fields);

  int rank(const std::string& module) const;
  float scale(const std::string& module) const;

 private:
  void read_mlx_lm(io::Fields& f);
  void read_peft(io::Fields& f);

  int rank_ = 8;
  float scale_ = 20;            // mlx-lm
  std::optional<float> alpha_;  // scale = alpha / rank
  bool root_of_rank_ = false;   // scale = alpha / sqrt(rank)
  NumberPatterns ranks_, alphas_;
};

/// The N of the first "layers.N." in a path, and what stands behind it.
struct LayerPath {
  int layer;
  std::string rest;
};
std::optional<LayerPath> layer_of(const std::string& path);

}  // namespace mlxcpp::lm
