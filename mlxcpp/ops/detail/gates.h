// Activations by the names that our kernels have for them.
#pragma once

#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/cpu/elementwise.h"

namespace mlxcpp::ops::detail {

cpu::Act act_of(Activation a);
cpu::Gate gate_of(const Glu& glu);

}  // namespace mlxcpp::ops::detail
