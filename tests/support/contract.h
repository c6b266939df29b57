// The names and shapes that a module binds.
#pragma once

#include "mlxcpp/base/error.h"
#include "mlxcpp/nn/weights.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

namespace mlxcpp::test {

using Shapes = std::map<std::string, mx::Shape>;

inline nn::WeightMap map_of(const Shapes& shapes) {
  nn::WeightMap map;
  int seed = 1;
  for (auto& [name, shape] : shapes) map.arrays.emplace(name, noise(shape, seed++));
  return map;
}

/// Each tensor left out, or of another shape, is an error that names it; one more is left over.
template <class Bind>
void expect_contract(const Shapes& shapes, Bind bind) {
  nn::WeightMap whole = map_of(shapes);
  whole.arrays.emplace("a.extra.weight", array(1.f));
  bind(nn::Scope(whole, "a"));
  EXPECT_EQ(whole.arrays.size(), 1u);
  for (auto& [name, shape] : shapes) {
    nn::WeightMap without = map_of(shapes);
    without.arrays.erase(name);
    EXPECT_EQ(
        message_of<WeightError>([&] { bind(nn::Scope(without, "a")); }),
        name + ": missing; expected shape " + nn::to_string(shape) + ", found no such tensor");
    nn::WeightMap wrong = map_of(shapes);
    mx::Shape other = shape;
    ++other.back();
    wrong.arrays.insert_or_assign(name, noise(other, 1));
    EXPECT_EQ(message_of<WeightError>([&] { bind(nn::Scope(wrong, "a")); }),
              name + ": wrong shape; expected " + nn::to_string(shape) + ", found " +
                  nn::to_string(other));
  }
}

}  // namespace mlxcpp::test
