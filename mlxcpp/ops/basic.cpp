#include "mlxcpp/ops/basic.h"

#include "mlxcpp/ops/cpu/elementwise.h"
#include "mlxcpp/ops/detail/gates.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/view.h"
#include "mlxcpp/ops/device.h"

#include <mlx/fast.h>
#include <mlx/ops.h>

#include <cmath>
#include <utility>

namespace mlxcpp::ops {

namespace {

using detail::RowsView;
using Arrays = std::vector<array>;

/// Whether our kernels compute this: float32 that is not empty.
bool ours(const array& x) {
  return x.dtype() == mx::float32 && x.size() > 0 && x.ndim() > 0 && own_kernels();
}

/// A node that maps the numbers of one array in order.
template <class F>
array mapped(const char* name, const array& x, F f, detail::Composition composition) {
  auto run = [f](const Arrays& in, Arrays& out) {
    auto v = detail::View<float>::in_order(in[0]);
    f(v.data(), long(out[0].size()), detail::floats(out[0]));
  };
  return detail::kernel(name, x.shape(), {x}, run, std::move(composition));
}

array rms_norm_of_mlx(const array& x, const std::optional<array>& w, float eps) {
  return mx::fast::rms_norm(x, w, eps);
}

array activate_of_mlx(const array& x, Activation a);
array gated_of_mlx(const array& gate, const array& up, const Glu& how);
array softcap_of_mlx(const array& x, float cap);

}  // namespace

array rms_norm(const array& x, const Param& weight, float eps) {
  std::optional<array> w;
  if (weight) w = mx::astype(*weight, x.dtype());
  if (!ours(x) || (w && w->shape() != mx::Shape{x.shape(-1)})) return rms_norm_of_mlx(x, w, eps);
  auto run = [eps](const Arrays& in, Arrays& out) {
    auto v = detail::View<float>::in_order(in[0]);
    int size = in[0].shape(-1), rows = int(in[0].size() / size_t(size));
    if (in.size() == 1)
      return cpu::rms_norm(v.data(), nullptr, eps, rows, size, detail::floats(out[0]));
    auto scale = detail::View<float>::in_order(in[1]);
    cpu::rms_norm(v.data(), scale.data(), eps, rows, size, detail::floats(out[0]));
  };
  auto composition = [eps](const Arrays& in) -> Arrays {
    return {
        rms_norm_of_mlx(in[0], in.size() > 1 ? std::optional<array>(in[1]) : std::nullopt, eps)};
  };
  return detail::kernel("RmsNorm", x.shape(), w ? Arrays{x, *w} : Arrays{x}, run, composition);
}

array layer_norm(const array& x, const Param& weight, const Param& bias, float eps) {
  array w = mx::astype(*weight, x.dtype()), b = mx::astype(*bias, x.dtype());
  mx::Shape last{x.shape(-1)};
  if (!ours(x) || w.shape() != last || b.shape() != last) return mx::fast::layer_norm(x, w, b, eps);
  auto run = [eps](const Arrays& in, Arrays& out) {
    auto v = detail::View<float>::in_order(in[0]), scale = detail::View<float>::in_order(in[1]),
         shift = detail::View<float>::in_order(in[2]);
    int size = in[0].shape(-1), rows = int(in[0].size() / size_t(size));
    cpu::layer_norm(v.data(), scale.data(), shift.data(), eps, rows, size, detail::floats(out[0]));
  };
  auto composition = [eps](const Arrays& in) -> Arrays {
    return {mx::fast::layer_norm(in[0], in[1], in[2], eps)};
  };
  return detail::kernel("LayerNorm", x.shape(), {x, w, b}, run, composition);
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
  if (!ours(x)) return activate_of_mlx(x, a);
  return mapped(
      "Activate",
      x,
      [act = detail::act_of(a)](const float* v, long n, float* y) { cpu::activate(v, act, n, y); },
      [a](const Arrays& in) -> Arrays { return {activate_of_mlx(in[0], a)}; });
}

array gated(const array& gate, const array& up, const Glu& how) {
  if (!ours(gate) || up.dtype() != mx::float32 || gate.shape() != up.shape())
    return gated_of_mlx(gate, up, how);
  auto run = [how](const Arrays& in, Arrays& out) {
    RowsView g(in[0]), u(in[1]);
    cpu::Gate kind = detail::gate_of(how);
    cpu::gated(g.data(),
               g.stride(),
               u.data(),
               u.stride(),
               kind,
               g.rows(),
               g.size(),
               detail::floats(out[0]),
               g.size());
  };
  auto composition = [how](const Arrays& in) -> Arrays {
    return {gated_of_mlx(in[0], in[1], how)};
  };
  return detail::kernel("Gated", gate.shape(), {gate, up}, run, composition);
}

namespace {

array activate_of_mlx(const array& x, Activation a) {
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

array gated_of_mlx(const array& gate, const array& up, const Glu& how) {
  auto c = [&](float v) { return array(v, gate.dtype()); };
  array g = how.limit ? mx::minimum(gate, c(how.limit)) : gate;
  array u = how.limit ? mx::clip(up, c(-how.limit), c(how.limit)) : up;
  if (how.shift) u = mx::add(u, c(how.shift));
  array a = how.slope == 1 ? activate_of_mlx(g, how.act)
                           : mx::multiply(g, mx::sigmoid(mx::multiply(g, c(how.slope))));
  return mx::multiply(a, u);
}

array softcap_of_mlx(const array& x, float cap) {
  array c(cap, x.dtype());
  return mx::multiply(c, mx::tanh(mx::divide(x, c)));
}

}  // namespace

array add(const array& a, const array& b) { return mx::add(a, b); }

std::vector<array> split_at(const array& x, const std::vector<int>& cuts, int axis) {
  return mx::split(x, mx::Shape(cuts.begin(), cuts.end()), axis);
}

array take_columns(const array& x, int from, int to, int axis) {
  if (from == 0 && to == x.shape(axis)) return x;
  mx::Shape start(x.ndim(), 0), stop = x.shape();
  std::size_t at = axis < 0 ? x.ndim() - std::size_t(-axis) : std::size_t(axis);
  start[at] = from, stop[at] = to;
  return mx::slice(x, std::move(start), std::move(stop));
}

array take_row(const array& x, int row) { return take_columns(x, row, row + 1, 0); }

array scale(const array& x, float by) {
  return by == 1 ? x : mx::multiply(x, array(by, x.dtype()));
}

array softcap(const array& x, float cap) {
  if (!ours(x)) return softcap_of_mlx(x, cap);
  return mapped(
      "Softcap",
      x,
      [cap](const float* v, long n, float* y) { cpu::softcap(v, cap, n, y); },
      [cap](const Arrays& in) -> Arrays { return {softcap_of_mlx(in[0], cap)}; });
}

array softplus(const array& x) { return mx::logaddexp(x, array(0.f, x.dtype())); }

}  // namespace mlxcpp::ops
