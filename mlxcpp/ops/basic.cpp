#include "mlxcpp/ops/basic.h"

#include <mlx/fast.h>
#include <mlx/ops.h>

#include <cmath>

namespace mlxcpp::ops {

array rms_norm(const array& x, const Param& weight, float eps) {
  std::optional<array> w;
  if (weight) w = mx::astype(*weight, x.dtype());
  return mx::fast::rms_norm(x, w, eps);
}

array layer_norm(const array& x, const Param& weight, const Param& bias, float eps) {
  return mx::fast::layer_norm(x, mx::astype(*weight, x.dtype()), mx::astype(*bias, x.dtype()), eps);
}

std::optional<Activation> activation_of(const std::string& name) {
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new" || name == "gelu_fast")
    return Activation::gelu_tanh;
  if (name == "relu2") return Activation::relu2;
  return {};
}

array activate(const array& x, Activation a) {
  auto c = [&](double v) { return array(float(v), x.dtype()); };
  switch (a) {
    case Activation::silu: return mx::multiply(x, mx::sigmoid(x));
    case Activation::gelu:
      return mx::multiply(mx::multiply(c(0.5), x),
                          mx::add(c(1), mx::erf(mx::multiply(x, c(std::sqrt(0.5))))));
    case Activation::relu2: return mx::square(mx::maximum(x, c(0)));
    case Activation::gelu_tanh: break;
  }
  array cubed = mx::multiply(x, mx::square(x));
  array inner = mx::multiply(c(std::sqrt(2 / M_PI)), mx::add(x, mx::multiply(c(0.044715), cubed)));
  return mx::multiply(mx::multiply(c(0.5), x), mx::add(c(1), mx::tanh(inner)));
}

array gated(const array& gate, const array& up, const Glu& how) {
  auto c = [&](float v) { return array(v, gate.dtype()); };
  array g = how.limit ? mx::minimum(gate, c(how.limit)) : gate;
  array u = how.limit ? mx::clip(up, c(-how.limit), c(how.limit)) : up;
  if (how.shift) u = mx::add(u, c(how.shift));
  array a = how.slope == 1 ? activate(g, how.act)
                           : mx::multiply(g, mx::sigmoid(mx::multiply(g, c(how.slope))));
  return mx::multiply(a, u);
}

array add(const array& a, const array& b) { return mx::add(a, b); }

std::vector<array> split_at(const array& x, const std::vector<int>& cuts, int axis) {
  return mx::split(x, mx::Shape(cuts.begin(), cuts.end()), axis);
}

array scale(const array& x, float by) {
  return by == 1 ? x : mx::multiply(x, array(by, x.dtype()));
}

array softcap(const array& x, float cap) {
  array c(cap, x.dtype());
  return mx::multiply(c, mx::tanh(mx::divide(x, c)));
}

array softplus(const array& x) { return mx::logaddexp(x, array(0.f, x.dtype())); }

}  // namespace mlxcpp::ops
