// The one place where MLX's namespace is opened.
#pragma once

#include <mlx/array.h>

namespace mlxcpp {
namespace mx = mlx::core;
using mx::array;
}  // namespace mlxcpp
