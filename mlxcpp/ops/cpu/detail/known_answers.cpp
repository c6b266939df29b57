#include "mlxcpp/ops/cpu/detail/known_answers.h"

namespace mlxcpp::cpu::detail {

std::string wrong_answer(const Kernels&, const Kernels&) { return ""; }

}  // namespace mlxcpp::cpu::detail
