#include "mlxcpp/ops/conv.h"

#include "mlxcpp/ops/cpu/conv.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/view.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

namespace mlxcpp::ops {
namespace {

/// `c` has what an array does not say.
array node(const array& x, const array& weight, cpu::Conv c, const detail::Composition& compose) {
  std::vector<array> in = {mx::astype(x, mx::float32), mx::astype(weight, mx::float32)};
  auto shape = compose(in)[0].shape();  // and MLX's checks; nothing is computed
  c.rows = x.shape(0), c.channels = x.shape(-1), c.outputs = weight.shape(0);
  c.height = x.ndim() == 4 ? x.shape(1) : 1, c.width = x.shape(-2);
  c.kernel_h = x.ndim() == 4 ? weight.shape(1) : 1, c.kernel_w = weight.shape(-2);
  auto run = [c](const std::vector<array>& given, std::vector<array>& out) {
    auto image = detail::View<float>::in_order(given[0]);
    auto taps = detail::View<float>::in_order(given[1]);
    cpu::Conv job = c;
    job.x = image.data(), job.weight = taps.data(), job.y = out[0].data<float>();
    cpu::conv(job);
  };
  return mx::astype(detail::kernel("conv", shape, in, run, compose), x.dtype());
}

}  // namespace

array conv1d(
    const array& x, const array& weight, int stride, int padding, int dilation, int groups) {
  auto compose = [=](const std::vector<array>& in) -> std::vector<array> {
    return {mx::conv1d(in[0], in[1], stride, padding, dilation, groups)};
  };
  if (!own_kernels()) return compose({x, weight})[0];
  cpu::Conv c{};
  c.stride_w = stride, c.pad_w = padding, c.dilation_w = dilation, c.groups = groups;
  return node(x, weight, c, compose);
}

array conv2d(const array& x,
             const array& weight,
             std::pair<int, int> stride,
             std::pair<int, int> padding,
             std::pair<int, int> dilation,
             int groups) {
  auto compose = [=](const std::vector<array>& in) -> std::vector<array> {
    return {mx::conv2d(in[0], in[1], stride, padding, dilation, groups)};
  };
  if (!own_kernels()) return compose({x, weight})[0];
  cpu::Conv c{};
  c.stride_h = stride.first, c.stride_w = stride.second;
  c.pad_h = padding.first, c.pad_w = padding.second;
  c.dilation_h = dilation.first, c.dilation_w = dilation.second, c.groups = groups;
  return node(x, weight, c, compose);
}

}  // namespace mlxcpp::ops
