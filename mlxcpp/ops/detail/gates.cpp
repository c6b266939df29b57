#include "mlxcpp/ops/detail/gates.h"

namespace mlxcpp::ops::detail {

cpu::Act act_of(Activation a) {
  switch (a) {
    case Activation::silu: return cpu::Act::silu;
    case Activation::gelu: return cpu::Act::gelu;
    case Activation::gelu_tanh: return cpu::Act::gelu_tanh;
    case Activation::relu2: return cpu::Act::relu2;
  }
  return cpu::Act::silu;
}

cpu::Gate gate_of(const Glu& g) {
  return {.act = act_of(g.act), .limit = g.limit, .slope = g.slope, .shift = g.shift};
}

}  // namespace mlxcpp::ops::detail
