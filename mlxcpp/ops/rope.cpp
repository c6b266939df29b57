#include "mlxcpp/ops/rope.h"

#include "mlxcpp/ops/basic.h"

#include <mlx/fast.h>
#include <mlx/ops.h>

#include <algorithm>
#include <cmath>

namespace mlxcpp::ops {
namespace {

/// Base and frequencies that hold for a row of the given length.
struct Frequencies {
  float base;
  std::optional<array> freqs;
};
Frequencies at_length(const Rope& r, int length) {
  if (r.beyond && length > r.beyond->original) return {r.base, r.beyond->freqs};
  if (!r.dynamic) return {r.base, r.freqs};
  double n = std::max(length, r.dynamic->original), f = r.dynamic->factor;
  double grown = f * n / r.dynamic->original - (f - 1);
  return {float(r.base * std::pow(grown, r.dims / (r.dims - 2.0))), {}};
}

bool same_frequencies(const Rope& r, int a, int b) {
  if (r.beyond) return (a > r.beyond->original) == (b > r.beyond->original);
  if (r.dynamic) return std::max(a, r.dynamic->original) == std::max(b, r.dynamic->original);
  return true;
}

/// Cosine and sine of every angle: (B, 1, L, dims / 2).
std::pair<array, array> rotation(const Rope& r, const Frequencies& f, const array& positions) {
  array freqs =
      f.freqs ? *f.freqs
              : mx::power(array(f.base),
                          mx::divide(mx::arange(0, r.dims, 2, mx::float32), array(float(r.dims))));
  array t = mx::multiply(mx::astype(positions, mx::float32), array(r.scale));
  if (t.ndim() == 2) {
    t = mx::expand_dims(t, -1);
  } else {
    std::vector<int> axis = r.axis.empty() ? std::vector<int>(r.dims / 2, 0) : r.axis;
    t = mx::moveaxis(mx::take(t, array(axis.data(), {r.dims / 2}, mx::int32), 0), 0, -1);
  }
  array angle = mx::expand_dims(mx::divide(t, freqs), 1);
  return {mx::cos(angle), mx::sin(angle)};
}

/// What MLX's kernel has no form for: positions given from outside.
array rope_at(const array& x, const Rope& r, const Frequencies& f, const array& positions) {
  auto [c, s] = rotation(r, f, positions);
  int half = r.dims / 2;
  auto parts = split_at(x, {r.dims}, -1);
  array pairs = r.traditional ? mx::unflatten(parts[0], -1, {half, 2})
                              : mx::swapaxes(mx::unflatten(parts[0], -1, {2, half}), -1, -2);
  auto ab = mx::split(pairs, 2, -1);
  array a = mx::squeeze(ab[0], -1), b = mx::squeeze(ab[1], -1);
  array ra = mx::subtract(mx::multiply(a, c), mx::multiply(b, s));
  array rb = mx::add(mx::multiply(a, s), mx::multiply(b, c));
  array y =
      r.traditional ? mx::flatten(mx::stack({ra, rb}, -1), -2, -1) : mx::concatenate({ra, rb}, -1);
  y = mx::astype(y, x.dtype());
  return r.dims == x.shape(-1) ? y : mx::concatenate({y, parts[1]}, -1);
}

/// Rotates rows [from, to), which share frequencies.
array rotated(const array& x, const Rope& r, const Rows& rows, int from, int to) {
  Frequencies f = at_length(r, rows.end(from));
  bool all = from == 0 && to == rows.batch;
  auto cut = [&](const array& a, int axis) {
    if (all) return a;
    mx::Shape start(a.ndim(), 0), stop = a.shape();
    start[axis] = from, stop[axis] = to;
    return mx::slice(a, start, stop);
  };
  array part = cut(x, 0);
  if (rows.positions) return rope_at(part, r, f, cut(*rows.positions, rows.positions->ndim() - 2));
  std::optional<float> base;
  if (!f.freqs) base = f.base;
  if (rows.same_offset)
    return mx::fast::rope(part, r.dims, r.traditional, base, r.scale, rows.offsets[from], f.freqs);
  return mx::fast::rope(part, r.dims, r.traditional, base, r.scale, cut(rows.offset, 0), f.freqs);
}

}  // namespace

array rope(const array& x, const Rope& r, const Layer& layer) {
  if (r.dims == 0) return x;
  const Rows& rows = *layer.rows;
  array y = x;
  if (r.magnitude != 1) {
    if (r.dims == x.shape(-1)) {
      y = scale(x, r.magnitude);
    } else {
      auto parts = split_at(x, {r.dims}, -1);
      y = mx::concatenate({scale(parts[0], r.magnitude), parts[1]}, -1);
    }
  }
  std::vector<array> pieces;
  for (int from = 0; from < rows.batch;) {
    int to = from + 1;
    while (to < rows.batch && same_frequencies(r, rows.end(from), rows.end(to))) ++to;
    pieces.push_back(rotated(y, r, rows, from, to));
    from = to;
  }
  return pieces.size() == 1 ? pieces[0] : mx::concatenate(pieces, 0);
}

array scale_by_place(const array& x, int every, float by, const Layer& layer) {
  array place = mx::astype(mx::add(layer.rows->index, array(1)), mx::float32);
  array steps = mx::floor(mx::divide(place, array(float(every))));
  array scale = mx::add(mx::multiply(mx::log1p(steps), array(by)), array(1.f));
  return mx::multiply(x, mx::astype(mx::expand_dims(scale, std::vector<int>{1, 3}), x.dtype()));
}

}  // namespace mlxcpp::ops
