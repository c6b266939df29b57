#include "mlxcpp/ops/choose.h"

#include "mlxcpp/ops/cpu/elementwise.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/view.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <limits>
#include <vector>

namespace mlxcpp::ops {
namespace {

using Arrays = std::vector<array>;

/// A node over rows: f(numbers, rows, columns, output).
template <class F, class Composition>
array by_rows(const char* name, const array& x, F f, Composition of_mlx) {
  bool ours = own_kernels() && x.dtype() == mx::float32 && x.ndim() == 2 && x.size() > 0;
  if (!ours) return of_mlx(x);
  auto run = [f](const Arrays& in, Arrays& out) {
    auto v = detail::View<float>::in_order(in[0]);
    f(v.data(), in[0].shape(0), in[0].shape(1), out[0]);
  };
  return detail::kernel(
      name, x.shape(), {x}, run, [of_mlx](const Arrays& in) -> Arrays { return {of_mlx(in[0])}; });
}

array removed_where(const array& condition, const array& x) {
  return mx::where(condition, array(-std::numeric_limits<float>::infinity(), x.dtype()), x);
}

/// Columns [from, to) of a (R, V) array.
array columns(const array& a, int from, int to) {
  return mx::slice(a, {0, from}, {a.shape(0), to});
}

array keep_largest_of_mlx(const array& x, int k) {
  int vocab = x.shape(-1);
  if (k >= vocab) return x;
  auto order = mx::argpartition(mx::negative(x), k - 1, -1);
  return mx::put_along_axis(
      x, columns(order, k, vocab), array(-std::numeric_limits<float>::infinity(), x.dtype()), -1);
}

array keep_nucleus_of_mlx(const array& x, float p) {
  auto sorted = mx::sort(x, -1);
  auto probs = mx::exp(mx::astype(sorted, mx::float32));
  auto mass_before = mx::cumsum(probs, -1, /*reverse=*/true, /*inclusive=*/false);
  auto total = mx::add(columns(mass_before, 0, 1), columns(probs, 0, 1));
  auto dropped =
      mx::sum(mx::astype(mx::greater_equal(mass_before, mx::multiply(array(p), total)), mx::int32),
              -1,
              /*keepdims=*/true);
  // A row without any mass would drop all its tokens and read beyond the row.
  auto first_kept = mx::minimum(dropped, array(x.shape(-1) - 1));
  auto threshold = mx::take_along_axis(sorted, first_kept, -1);
  return removed_where(mx::less(x, threshold), x);
}

}  // namespace

array argmax(const array& x) {
  bool ours = own_kernels() && x.dtype() == mx::float32 && x.ndim() == 2 && x.size() > 0;
  if (!ours) return mx::argmax(x, -1);
  auto run = [](const Arrays& in, Arrays& out) {
    auto v = detail::View<float>::in_order(in[0]);
    cpu::argmax(v.data(), in[0].shape(0), in[0].shape(1), out[0].data<unsigned>());
  };
  return detail::kernel(
      "ArgMax",
      {x.shape(0)},
      {x},
      run,
      [](const Arrays& in) -> Arrays { return {mx::argmax(in[0], -1)}; },
      mx::uint32);
}

array log_softmax(const array& x) {
  return by_rows(
      "LogSoftmax",
      x,
      [](const float* v, int rows, int size, array& y) {
        cpu::log_softmax(v, rows, size, detail::floats(y));
      },
      [](const array& a) { return mx::subtract(a, mx::logsumexp(a, -1, true)); });
}

array keep_largest(const array& x, int k) {
  return by_rows(
      "KeepLargest",
      x,
      [k](const float* v, int rows, int size, array& y) {
        cpu::keep_largest(v, rows, size, k, detail::floats(y));
      },
      [k](const array& a) { return keep_largest_of_mlx(a, k); });
}

array keep_nucleus(const array& x, float p) {
  return by_rows(
      "KeepNucleus",
      x,
      [p](const float* v, int rows, int size, array& y) {
        cpu::keep_nucleus(v, rows, size, p, detail::floats(y));
      },
      [p](const array& a) { return keep_nucleus_of_mlx(a, p); });
}

}  // namespace mlxcpp::ops
