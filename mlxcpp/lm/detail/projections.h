// The projections of a model by every name that they have: its own, and those of its checkpoint.
#pragma once

#include "mlxcpp/nn/weights.h"

#include <map>
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
  /// Every name of a weight, its own first.
  std::vector<std::string> names_of(const std::string& path) const;
  /// ", such as x", the known name that is nearest to an unknown one.
  std::string near(const std::string& module) const;

 private:
  const nn::Manifest& manifest_;
  std::map<std::string, std::vector<Projection>> by_name_;
};

/// A decoder's own name for what stands inside of a whole model: "language_model.model.x" and
/// "model.language_model.x" are "model.x".
std::string decoder_name(const std::string& module);

}  // namespace mlxcpp::lm::detail
