#include "mlxcpp/ops/rope.h"

#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/cpu/attention.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/view.h"
#include "mlxcpp/ops/device.h"

#include <mlx/fast.h>
#include <mlx/ops.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <tuple>
#include <utility>

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

array rope_of_mlx(const array& x, const Rope& r, const Rows& rows) {
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

using Arrays = std::vector<array>;
using Table = std::shared_ptr<const std::vector<float>>;

/// What a position is multiplied with, for each pair.  Models ask for the same again and again.
Table turns_of_base(const Rope& r, float base) {
  using Key = std::tuple<int, float, float>;
  static std::mutex guard;
  static std::map<Key, Table> known;
  std::lock_guard lock(guard);
  if (known.size() > 100) known.clear();  // dynamic bases are new at every length
  Table& table = known[{r.dims, base, r.scale}];
  if (table) return table;
  std::vector<float> inverse;
  for (int d = 0; d < r.dims; d += 2)
    inverse.push_back(float(r.scale / std::pow(double(base), double(d) / r.dims)));
  return table = std::make_shared<const std::vector<float>>(std::move(inverse));
}

/// Where the frequencies of a row come from: input `wavelengths`, or else a table.
struct RowTurns {
  int wavelengths = -1;
  Table table;
};

/// Positions of each token: (B, L), or what the rows bring, (streams, B, L).
std::vector<int> positions_of(const Rows& rows) {
  std::vector<int> at;
  for (int b = 0; b < rows.batch; ++b)
    for (int t = 0; t < rows.length; ++t) at.push_back(rows.offsets[b] + t);
  return at;
}

array rope_of_ours(const array& x, const Rope& r, const std::shared_ptr<const Rows>& rows) {
  Arrays inputs = {x};
  int places = -1;
  if (rows->positions)
    places = int(inputs.size()), inputs.push_back(mx::astype(*rows->positions, mx::int32));
  std::vector<RowTurns> turns;
  for (int b = 0; b < rows->batch; ++b) {
    if (b > 0 && same_frequencies(r, rows->end(b - 1), rows->end(b))) {
      turns.push_back(turns.back());
      continue;
    }
    Frequencies f = at_length(r, rows->end(b));
    RowTurns own;
    if (f.freqs)
      own.wavelengths = int(inputs.size()), inputs.push_back(mx::astype(*f.freqs, mx::float32));
    else
      own.table = turns_of_base(r, f.base);
    turns.push_back(own);
  }
  auto run = [places,
              turns,
              rows,
              dims = r.dims,
              scale = r.scale,
              axis = r.axis,
              traditional = r.traditional,
              magnitude = r.magnitude](const Arrays& in, Arrays& out) {
    int pairs = dims / 2, B = in[0].shape(0), H = in[0].shape(1), L = in[0].shape(2),
        size = in[0].shape(3);
    std::vector<float> inverse;
    for (auto& row : turns) {
      if (row.table) {
        inverse.insert(inverse.end(), row.table->begin(), row.table->end());
        continue;
      }
      auto waves = detail::View<float>::in_order(in[row.wavelengths]);
      for (int p = 0; p < pairs; ++p) inverse.push_back(scale / waves.data()[p]);
    }
    std::vector<int> own;
    std::optional<detail::View<int>> given;
    if (places < 0)
      own = positions_of(*rows);
    else
      given = detail::View<int>::in_order(in[places]);
    bool streams = places >= 0 && in[places].ndim() == 3 && !axis.empty();
    detail::View<float> v(in[0]);
    cpu::rotate({.rows = B,
                 .heads = H,
                 .tokens = L,
                 .size = size,
                 .dims = dims,
                 .x = {v.data(), v.stride(0), v.stride(1), v.stride(2)},
                 .out = detail::floats(out[0]),
                 .out_row = long(H) * L * size,
                 .out_head = long(L) * size,
                 .out_token = size,
                 .traditional = traditional,
                 .magnitude = magnitude,
                 .inverse = inverse.data(),
                 .inverse_row = pairs,
                 .positions = given ? given->data() : own.data(),
                 .axis = streams ? axis.data() : nullptr});
  };
  auto composition = [r, rows](const Arrays& in) -> Arrays {
    return {rope_of_mlx(in[0], r, *rows)};
  };
  return detail::kernel("Rope", x.shape(), inputs, run, composition);
}

}  // namespace

array rope(const array& x, const Rope& r, const Layer& layer) {
  if (r.dims == 0) return x;
  bool ours =
      own_kernels() && x.dtype() == mx::float32 && x.ndim() == 4 && x.size() > 0 && r.dims % 2 == 0;
  return ours ? rope_of_ours(x, r, layer.rows) : rope_of_mlx(x, r, *layer.rows);
}

array scale_by_place(const array& x, int every, float by, const Layer& layer) {
  array place = mx::astype(mx::add(layer.rows->index, array(1)), mx::float32);
  array steps = mx::floor(mx::divide(place, array(float(every))));
  array scale = mx::add(mx::multiply(mx::log1p(steps), array(by)), array(1.f));
  return mx::multiply(x, mx::astype(mx::expand_dims(scale, std::vector<int>{1, 3}), x.dtype()));
}

}  // namespace mlxcpp::ops
