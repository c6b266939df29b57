// A tier is used after it has answered a few small questions right: a compiler or a CPU may be
// wrong where our tests could not run.
#pragma once

#include "mlxcpp/ops/cpu/kernels.h"

#include <string>

namespace mlxcpp::cpu::detail {

/// Empty when `kernels` answers as `plain` does, a few microseconds' work; else which question it
/// got wrong.
std::string wrong_answer(const Kernels& kernels, const Kernels& plain);

}  // namespace mlxcpp::cpu::detail
