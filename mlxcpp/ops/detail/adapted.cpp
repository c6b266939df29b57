#include "mlxcpp/ops/detail/adapted.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/cpu/linear.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/scratch.h"

#include <mlx/ops.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

namespace mlxcpp::ops::detail {
namespace {

/// Which entries of the stacks rows use, and whether they use one at all.
struct Lanes {
  array on, index;

  explicit Lanes(const array& rows)
      : on(mx::greater(rows, array(0))),
        index(mx::maximum(mx::subtract(rows, array(1)), array(0))) {}
};

/// (B, ...) with axes of one added behind the first, up to `ndim` in all; the last stays last.
array spread(const array& x, int ndim) {
  mx::Shape shape(size_t(ndim), 1);
  shape[0] = x.shape(0);
  if (x.ndim() > 1) shape.back() = x.shape(-1);
  return mx::reshape(x, shape);
}

array where_on(const array& on, const array& x, float otherwise) {
  return mx::where(on, x, array(otherwise, x.dtype()));
}

/// A matrix of float32 numbers, row after row.
cpu::Matrix matrix(const float* data, int rows, int columns) {
  return {
      .data = data, .row_bytes = long(columns * sizeof(float)), .rows = rows, .columns = columns};
}

void multiply(const float* x, int rows, const cpu::Matrix& w, const float* add, float* y) {
  cpu::Product product{
      .w = w, .residual = add, .residual_stride = w.rows, .y = y, .y_stride = w.rows};
  cpu::linear(x, w.columns, rows, {&product, 1});
}

struct Pass {
  const float* x;
  const float* residual;  // null: none
  const int* rows;
  int batch, length;  // length tokens of each row
};

/// delta = b a x + residual, for each run of rows with the same adapter.
void deltas(const Pass& p, const array& a, const array& b, float* z, float* delta) {
  int rank = a.shape(1), in = a.shape(2), out = b.shape(1);
  for (int from = 0, to = 0; from < p.batch; from = to) {
    while (to < p.batch && p.rows[to] == p.rows[from]) ++to;
    size_t first = size_t(from) * p.length;
    int count = (to - from) * p.length, entry = p.rows[from] - 1;
    const float* add = p.residual ? p.residual + first * out : nullptr;
    float* d = delta + first * out;
    if (entry < 0) {
      if (add)
        std::memcpy(d, add, size_t(count) * out * sizeof(float));
      else
        std::fill(d, d + size_t(count) * out, 0.f);
      continue;
    }
    multiply(p.x + first * in,
             count,
             matrix(a.data<float>() + size_t(entry) * rank * in, rank, in),
             nullptr,
             z);
    multiply(z, count, matrix(b.data<float>() + size_t(entry) * out * rank, out, rank), add, d);
  }
}

/// in: x, rows, a, b, [factor], [residual].
void run_adapted(const BoundWeight& w, bool scaled, const std::vector<array>& in, array& out) {
  int size = w.inputs(), n = w.outputs(), batch = int(in[1].size());
  int tokens = int(in[0].size() / size_t(size));
  const float* residual = in.size() > (scaled ? 5u : 4u) ? in.back().data<float>() : nullptr;
  Pass pass{.x = in[0].data<float>(),
            .residual = scaled ? nullptr : residual,
            .rows = in[1].data<int>(),
            .batch = batch,
            .length = tokens / batch};
  Scratch scratch(size_t(tokens) * (n + in[2].shape(1)) + 32);
  float* delta = scratch.take(size_t(tokens) * n);
  deltas(pass, in[2], in[3], scratch.take(size_t(tokens) * in[2].shape(1)), delta);
  float* y = out.data<float>();
  cpu::Product product{.w = w.matrix(),
                       .bias = scaled ? nullptr : w.bias(),
                       .residual = delta,
                       .residual_stride = n,
                       .y = y,
                       .y_stride = n};
  cpu::linear(pass.x, size, tokens, {&product, 1});
  if (!scaled) return;
  for (int t = 0; t < tokens; ++t) {
    int entry = pass.rows[t / pass.length] - 1;
    const float* factor = entry < 0 ? nullptr : in[4].data<float>() + size_t(entry) * n;
    float* to = y + size_t(t) * n;
    for (int i = 0; i < n; ++i) {
      if (factor) to[i] *= factor[i];
      if (w.bias()) to[i] += w.bias()[i];
      if (residual) to[i] += residual[size_t(t) * n + i];
    }
  }
}

}  // namespace

array rows_of(const Adapters& adapters, int count) {
  array rows = **adapters.rows;
  if (int(rows.size()) == count) return rows;
  rows.eval();
  auto *first = rows.data<int>(), *end = first + rows.size();
  if (std::all_of(first, end, [&](int r) { return r == *first; })) return mx::full({count}, *first);
  throw InputError(describe("input.adapters",
                            "of other rows than what is computed",
                            std::to_string(count),
                            std::to_string(rows.size())));
}

array adapted(const array& y, const array& x, const Adapters& adapters) {
  if (x.size() == 0) return y;
  int batch = x.shape(0);
  Lanes lanes(rows_of(adapters, batch));
  array a = mx::take(adapters.a, lanes.index, 0), b = mx::take(adapters.b, lanes.index, 0);
  array tokens = mx::reshape(x, {batch, -1, x.shape(-1)});
  array delta = mx::matmul(mx::matmul(tokens, mx::swapaxes(a, 1, 2)), mx::swapaxes(b, 1, 2));
  delta = mx::reshape(where_on(spread(lanes.on, 3), delta, 0), y.shape());
  array sum = mx::add(y, mx::astype(delta, y.dtype()));
  if (!adapters.factor) return sum;
  array factor =
      where_on(mx::expand_dims(lanes.on, 1), mx::take(*adapters.factor, lanes.index, 0), 1);
  return mx::multiply(sum, mx::astype(spread(factor, int(y.ndim())), y.dtype()));
}

array adapted_rows(const array& y, const array& ids, const Adapters& adapters) {
  if (ids.size() == 0) return y;
  int batch = ids.shape(0), count = adapters.b.shape(1), rank = adapters.b.shape(2);
  Lanes lanes(rows_of(adapters, batch));
  array known = mx::astype(ids, mx::int32);
  array place = mx::add(known, spread(mx::multiply(lanes.index, array(count)), int(ids.ndim())));
  array b = mx::take(mx::reshape(adapters.b, {-1, rank}), place, 0);  // (B, ..., r)
  array tokens = mx::reshape(b, {batch, -1, rank});
  array delta = mx::matmul(tokens, mx::take(adapters.a, lanes.index, 0));
  delta = mx::reshape(where_on(spread(lanes.on, 3), delta, 0), y.shape());
  array sum = mx::add(y, mx::astype(delta, y.dtype()));
  if (!adapters.factor) return sum;
  array factor = mx::take(mx::flatten(*adapters.factor), place);
  factor = where_on(spread(lanes.on, int(ids.ndim())), factor, 1);
  return mx::multiply(sum, mx::astype(mx::expand_dims(factor, -1), y.dtype()));
}

array adapted_experts(const array& y,
                      const array& x,
                      const Adapters& adapters,
                      const array& expert,
                      const array& lane) {
  Lanes lanes(lane);
  int experts = adapters.a.shape(1);
  array index =
      mx::astype(mx::add(mx::multiply(lanes.index, array(experts)), mx::astype(expert, mx::int32)),
                 mx::uint32);
  auto gathered = [&](const array& rows, const array& stack) {
    return mx::gather_mm(
        rows, mx::swapaxes(mx::flatten(stack, 0, 1), -1, -2), std::nullopt, index, false);
  };
  array delta = gathered(gathered(mx::astype(x, adapters.a.dtype()), adapters.a), adapters.b);
  delta = where_on(mx::expand_dims(lanes.on, std::vector<int>{-1, -2}), delta, 0);
  return mx::add(y, mx::astype(delta, y.dtype()));
}

array own_adapted(const array& x,
                  const Weight& w,
                  const std::shared_ptr<const BoundWeight>& bound,
                  const std::optional<array>& residual,
                  const ComposeLinear& compose) {
  const Adapters& adapters = *w->adapters;
  std::vector<array> inputs{dense_float(x),
                            mx::contiguous(rows_of(adapters, x.shape(0))),
                            dense_float(adapters.a),
                            dense_float(adapters.b)};
  bool scaled = adapters.factor.has_value(), added = residual.has_value();
  if (scaled) inputs.push_back(dense_float(*adapters.factor));
  if (added) inputs.push_back(dense_float(*residual));
  mx::Shape shape = x.shape();
  shape.back() = bound->outputs();
  auto run = [bound, scaled](const std::vector<array>& in, std::vector<array>& out) {
    run_adapted(*bound, scaled, in, out[0]);
  };
  auto composition = [w, compose, scaled, added](const std::vector<array>& in) {
    WeightData data = *w;
    data.adapters = Adapters{.a = in[2],
                             .b = in[3],
                             .rows = std::make_shared<const std::optional<array>>(in[1]),
                             .factor = scaled ? std::optional(in[4]) : std::nullopt};
    return std::vector{compose(in[0], data, added ? std::optional(in.back()) : std::nullopt)};
  };
  return kernel("AdaptedLinear", shape, std::move(inputs), run, composition);
}

ExpertAdapters ExpertAdapters::of(const array& a, const array& b) {
  return {.a = a.data<float>(),
          .b = b.data<float>(),
          .adapters = a.shape(0),
          .experts = a.shape(1),
          .rank = a.shape(2),
          .in = a.shape(3),
          .out = b.shape(2)};
}

void ExpertAdapters::add(
    const float* x, int repeat, int rows, const unsigned* which, const int* lane, float* y) const {
  std::vector<int> from;
  std::vector<unsigned> entry;
  for (int m = 0; m < rows; ++m) {
    if (lane[m] == 0) continue;
    from.push_back(m);
    entry.push_back(unsigned(lane[m] - 1) * unsigned(experts) + which[m]);
  }
  int count = int(from.size());
  if (count == 0) return;
  std::vector<float> picked(size_t(count) * in), z(size_t(count) * rank),
      delta(size_t(count) * out);
  for (int i = 0; i < count; ++i)
    std::memcpy(&picked[size_t(i) * in], x + size_t(from[i] / repeat) * in, in * sizeof(float));
  auto gather = [&](const float* input, const float* data, int r, int c, float* to) {
    cpu::ExpertStack stack{.w = matrix(data, r, c),
                           .experts = adapters * experts,
                           .stride = long(size_t(r) * c * sizeof(float))};
    cpu::gather_linear(input, c, count, 1, entry.data(), stack, to, r);
  };
  gather(picked.data(), a, rank, in, z.data());
  gather(z.data(), b, out, rank, delta.data());
  for (int i = 0; i < count; ++i)
    for (int o = 0; o < out; ++o) y[size_t(from[i]) * out + o] += delta[size_t(i) * out + o];
}

}  // namespace mlxcpp::ops::detail
