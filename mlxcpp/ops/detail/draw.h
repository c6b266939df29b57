// The operations of choose.h composed of MLX's: what GPUs run, and the reference of our kernels.
#pragma once

#include "mlxcpp/ops/choose.h"

namespace mlxcpp::ops::detail {

Drawn draw_of_mlx(const array& x, const std::vector<Draw>& rows, const std::optional<array>& mu);
array filtered_of_mlx(const array& x,
                      const std::vector<Draw>& rows,
                      const std::optional<array>& mu);
array edited_of_mlx(const array& x, const std::vector<std::vector<Edit>>& rows);

}  // namespace mlxcpp::ops::detail
