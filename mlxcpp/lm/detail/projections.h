// The projections of a model by every name that they have: its own, and those of its checkpoint.
#pragma once

#include "mlxcpp/nn/weights.h"

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::lm::detail {

/// Rows of a module that one weight of the model holds.
struct Projection {
  std::string path;
  ops::Weight weight;
  int row = 0;      // the module's first of them
  int expert = -1;  // the module is this entry of the stack; -1: all of it
};

class Projections {
 public:
  explicit Projections(const nn::Manifest& manifest);

  /// Empty for an unknown module.
  std::vector<Projection> find(const std::string& module) const;
  /// The checkpoint's tensor (or an empty name) of a module that no layer uses, if it is one.
  std::optional<std::string> unused(const std::string& module) const;
  /// Every name of a weight, its own first.
  std::vector<std::string> names_of(const std::string& path) const;
  /// ", such as x", the known name that is nearest to an unknown one.
  std::string near(const std::string& module) const;

 private:
  const nn::Manifest& manifest_;
  std::map<std::string, std::vector<Projection>> by_name_;
  std::map<std::string, std::string> unused_;  // tensors by modules
};

/// Our name for what others name otherwise: "language_model.model.x", "model.language_model.x" and
/// "backbone.x" are "model.x", mlx-lm's "switch_mlp.fc1" and "fc2" are "up_proj" and "down_proj".
std::string decoder_name(const std::string& module);

}  // namespace mlxcpp::lm::detail
