#include "mlxcpp/ops/linear.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/cpu/linear.h"
#include "mlxcpp/ops/detail/adapted.h"
#include "mlxcpp/ops/detail/kernel.h"
#include "mlxcpp/ops/detail/weights.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <algorithm>
#include <numeric>

namespace mlxcpp::ops {
namespace {

std::optional<array> value_of(const std::optional<Param>& p) {
  return p ? std::optional<array>(**p) : std::nullopt;
}

/// The microscaling formats keep their scales as bytes; their numbers are taken as bfloat16.
bool byte_scales(Format f) {
  return f == Format::mxfp4 || f == Format::mxfp8 || f == Format::nvfp4;
}

array product(const array& x, const WeightData& w, bool transpose = true) {
  if (w.dense()) {
    array m = mx::astype(*w.value, x.dtype());
    return mx::matmul(x, transpose ? mx::swapaxes(m, -1, -2) : m);
  }
  if (w.blocks()) {
    array m = mx::astype(dequantised(w), x.dtype());
    return mx::matmul(x, transpose ? mx::swapaxes(m, -1, -2) : m);
  }
  return with_global_scale(mx::quantized_matmul(x,
                                                *w.value,
                                                **w.scales,
                                                value_of(w.zeros),
                                                transpose,
                                                w.quant.group_size,
                                                w.quant.bits,
                                                mode_of(w.quant.format)),
                           w);
}

array composed_linear(const array& x, const WeightData& w, const std::optional<array>& residual) {
  array y = product(x, w);
  if (w.adapted()) y = detail::adapted(y, x, *w.adapters);
  if (w.bias) y = mx::add(y, mx::astype(**w.bias, y.dtype()));
  return residual ? mx::add(*residual, y) : y;
}

array composed_embed(const array& ids, const Weight& t) {
  mx::Dtype dtype = activation_dtype(t->dtype());
  if (t->blocks()) return mx::take(mx::astype(dequantised(*t), dtype), ids, 0);
  array rows = mx::take(*t->value, ids, 0);
  if (t->dense()) return mx::astype(rows, dtype);
  WeightData picked{.quant = t->quant,
                    .value = std::make_shared<array>(rows),
                    .scales = std::make_shared<array>(mx::take(**t->scales, ids, 0)),
                    .zeros = {},
                    .global_scale = t->global_scale,
                    .bias = {},
                    .adapters = {}};
  if (t->zeros) picked.zeros = std::make_shared<array>(mx::take(**t->zeros, ids, 0));
  if (!byte_scales(t->quant.format)) {  // widen first: dequantising in half precision rounds twice
    **picked.scales = mx::astype(**picked.scales, dtype);
    if (picked.zeros) **picked.zeros = mx::astype(**picked.zeros, dtype);
  }
  return mx::astype(dequantised(picked), dtype);
}

using Bound = std::vector<std::shared_ptr<const detail::BoundWeight>>;

/// GGUF's blocks as float32; no gradient goes through.
array numbers_of_blocks(const WeightData& w) {
  mx::Shape shape = w.value->shape();
  shape.back() = w.inputs();
  auto run = [format = w.quant.format](const std::vector<array>& in, std::vector<array>& out) {
    int columns = out[0].shape(-1), rows = columns ? int(out[0].size() / size_t(columns)) : 0;
    unpack_blocks(format, in[0].data<std::byte>(), rows, columns, out[0].data<float>());
  };
  // From the array, not from what it holds now: a file may be read after graphs were built.
  return detail::kernel(
      "Numbers", shape, {mx::contiguous(*w.value)}, run, [](const auto& in) { return in; });
}

/// What our kernels read of a weight; null where this product is MLX's.  A stack is used head by
/// head: (B, H or 1, L, in) by (H, out, in).
std::shared_ptr<const detail::BoundWeight> kernel_weight(const array& x, const Weight& w) {
  if (!own_kernels() || x.dtype() != mx::float32 || x.size() == 0) return {};
  auto bound = detail::BoundWeight::without_adapters(w);
  if (!bound || x.shape(-1) != bound->inputs()) return {};  // MLX says what does not fit
  if (!bound->stacked()) return bound;
  bool heads = x.ndim() == 4 && (x.shape(1) == 1 || x.shape(1) == bound->stacked());
  return heads && !bound->bias() ? bound : nullptr;
}

/// The same for linear_back.
std::shared_ptr<const detail::BoundWeight> turned_weight(const array& x, const Weight& w) {
  if (!own_kernels() || x.dtype() != mx::float32 || x.size() == 0) return {};
  auto bound = detail::BoundWeight::without_adapters(w);
  if (!bound || x.shape(-1) != bound->outputs()) return {};
  if (!bound->stacked()) return bound;
  bool heads = x.ndim() == 4 && (x.shape(1) == 1 || x.shape(1) == bound->stacked());
  return heads ? bound : nullptr;
}

/// Calls f(matrix, x, rows, y) for each matrix of a stack and each row of the batch, or once.
template <class F>
void for_heads(const array& x, array& y, const detail::BoundWeight& w, int columns, F f) {
  if (!w.stacked()) return f(0, x.data<float>(), int(x.size() / columns), y.data<float>());
  int batch = x.shape(0), heads = w.stacked(), rows = x.shape(2);
  size_t from = size_t(rows) * columns, to = y.size() / batch / heads;
  for (int b = 0; b < batch; ++b)
    for (int h = 0; h < heads; ++h) {
      size_t part = x.shape(1) == 1 ? b : size_t(b) * heads + h;
      f(h, x.data<float>() + part * from, rows, y.data<float>() + (size_t(b) * heads + h) * to);
    }
}

void product_by_heads(const array& x, array& y, const detail::BoundWeight& w) {
  int in = w.inputs(), out = w.outputs(), heads = w.stacked();
  if (x.shape(2) == 1 && x.shape(1) == heads) {  // one row for each matrix: all of them at once
    std::vector<unsigned> which(x.shape(0) * heads);
    for (size_t i = 0; i < which.size(); ++i) which[i] = unsigned(i % heads);
    cpu::gather_linear(
        x.data<float>(), in, int(which.size()), 1, which.data(), w.stack(), y.data<float>(), out);
    return;
  }
  for_heads(x, y, w, in, [&](int h, const float* part, int rows, float* to) {
    cpu::Product product{.w = w.matrix(h), .y = to, .y_stride = out};
    cpu::linear(part, in, rows, {&product, 1});
  });
}

std::vector<array> own_linear(const array& x,
                              const std::vector<Weight>& weights,
                              Bound bound,
                              const std::optional<array>& residual) {
  std::vector<std::pair<mx::Shape, mx::Dtype>> outputs;
  for (auto& b : bound) {
    mx::Shape shape = x.shape();
    shape.back() = b->outputs();
    if (b->stacked()) shape[1] = b->stacked();
    outputs.emplace_back(shape, mx::float32);
  }
  std::vector<array> inputs{detail::dense_float(x)};
  if (residual) inputs.push_back(detail::dense_float(*residual));
  auto run = [bound](const std::vector<array>& in, std::vector<array>& out) {
    int columns = bound[0]->inputs(), rows = int(in[0].size() / columns);
    if (bound[0]->stacked()) return product_by_heads(in[0], out[0], *bound[0]);
    std::vector<cpu::Product> products;
    for (size_t i = 0; i < bound.size(); ++i) {
      int n = bound[i]->outputs();
      products.push_back({.w = bound[i]->matrix(),
                          .bias = bound[i]->bias(),
                          .residual = in.size() > 1 ? in[1].data<float>() : nullptr,
                          .residual_stride = n,
                          .y = out[i].data<float>(),
                          .y_stride = n});
    }
    cpu::linear(in[0].data<float>(), columns, rows, products);
  };
  auto composition = [weights](const std::vector<array>& in) {
    std::vector<array> all;
    std::optional<array> add;
    if (in.size() > 1) add = in[1];
    for (auto& w : weights) all.push_back(composed_linear(in[0], *w, add));
    return all;
  };
  return detail::kernel("Linear", outputs, inputs, run, composition);
}

array own_linear_back(const array& x,
                      const Weight& w,
                      const std::shared_ptr<const detail::BoundWeight>& bound) {
  mx::Shape shape = x.shape();
  shape.back() = bound->inputs();
  if (bound->stacked()) shape[1] = bound->stacked();
  auto run = [bound](const std::vector<array>& in, std::vector<array>& out) {
    int from = bound->outputs(), to = bound->inputs();
    std::vector<float> numbers(size_t(from) * to), turned(numbers.size());
    std::vector<int> all(from);
    std::iota(all.begin(), all.end(), 0);
    for_heads(in[0], out[0], *bound, from, [&](int h, const float* part, int rows, float* y) {
      cpu::rows_of(bound->matrix(h), all.data(), from, numbers.data());
      for (int r = 0; r < from; ++r)
        for (int c = 0; c < to; ++c) turned[size_t(c) * from + r] = numbers[size_t(r) * to + c];
      cpu::Matrix m{.data = turned.data(),
                    .row_bytes = long(from * sizeof(float)),
                    .rows = to,
                    .columns = from};
      cpu::Product product{.w = m, .y = y, .y_stride = to};
      cpu::linear(part, from, rows, {&product, 1});
    });
  };
  auto composition = [w](const std::vector<array>& in) {
    return std::vector{product(in[0], *w, false)};
  };
  return detail::kernel("LinearBack", shape, {detail::dense_float(x)}, run, composition);
}

array own_rows(const array& ids,
               const Weight& table,
               const std::shared_ptr<const detail::BoundWeight>& bound) {
  mx::Shape shape = ids.shape();
  shape.push_back(bound->inputs());
  auto run = [bound](const std::vector<array>& in, std::vector<array>& out) {
    std::vector<int> rows(in[0].data<int>(), in[0].data<int>() + in[0].size());
    int count = bound->outputs();
    for (int& r : rows) r = std::clamp(r < 0 ? r + count : r, 0, count - 1);
    cpu::rows_of(bound->matrix(), rows.data(), int(rows.size()), out[0].data<float>());
  };
  auto composition = [table](const std::vector<array>& in) {
    return std::vector{composed_embed(in[0], table)};
  };
  return detail::kernel(
      "Rows", shape, {mx::contiguous(mx::astype(ids, mx::int32))}, run, composition);
}

}  // namespace

int WeightData::inputs() const {
  std::int64_t stored = value->shape(-1);
  if (dense()) return int(stored);
  if (auto block = block_layout(quant.format)) return int(stored / block->bytes * block->numbers);
  return int(stored * 32 / quant.bits);
}

mx::Dtype WeightData::dtype() const {
  if (dense()) return value->dtype();
  if (blocks()) return mx::float16;
  return byte_scales(quant.format) ? mx::bfloat16 : (*scales)->dtype();
}

array linear(const array& x, const Weight& w, const std::optional<array>& residual) {
  if (w->adapted() && w->value->ndim() != 2)
    throw UnsupportedError(describe("adapter", "of a weight that is used head by head"));
  auto bound = kernel_weight(x, w);
  if (bound && residual &&
      (bound->stacked() || residual->shape().back() != bound->outputs() ||
       residual->size() / bound->outputs() != x.size() / bound->inputs()))
    bound = nullptr;
  if (!bound) return composed_linear(x, *w, residual);
  if (w->adapted()) return detail::own_adapted(x, w, bound, residual, composed_linear);
  return own_linear(x, {w}, {bound}, residual)[0];
}

std::vector<array> linear_all(const array& x, const std::vector<Weight>& weights) {
  Bound bound;
  for (auto& w : weights)
    if (auto b = kernel_weight(x, w); b && !b->stacked() && !w->adapted())
      bound.push_back(std::move(b));
  if (bound.size() == weights.size()) return own_linear(x, weights, std::move(bound), {});
  std::vector<array> all;
  for (auto& w : weights) all.push_back(linear(x, w));
  return all;
}

array linear_back(const array& x, const Weight& w) {
  auto bound = turned_weight(x, w);
  return bound ? own_linear_back(x, w, bound) : product(x, *w, false);
}

array embed(const array& ids, const Weight& t) {
  auto bound =
      own_kernels() && t->value->ndim() == 2 ? detail::BoundWeight::without_adapters(t) : nullptr;
  array rows = bound ? own_rows(ids, t, bound) : composed_embed(ids, t);
  return t->adapted() ? detail::adapted_rows(rows, ids, *t->adapters) : rows;
}

array with_global_scale(const array& y, const WeightData& w, const std::optional<array>& expert) {
  if (!w.global_scale) return y;
  // In float32: a factor rounded to the dtype of activations would shift all numbers alike.
  array factor = mx::divide(mx::astype(**w.global_scale, mx::float32), array(6 * 448.f));
  if (expert && factor.ndim() > 0) factor = mx::take(factor, *expert, 0);
  if (factor.ndim() > 0) factor = mx::expand_dims(factor, std::vector<int>{-2, -1});
  return mx::astype(mx::multiply(mx::astype(y, mx::float32), factor), y.dtype());
}

array dequantised(const WeightData& w) {
  if (w.dense()) return *w.value;
  if (w.blocks()) return numbers_of_blocks(w);
  std::optional<mx::Dtype> dtype;
  if (byte_scales(w.quant.format)) dtype = activation_dtype(mx::bfloat16);
  return with_global_scale(mx::dequantize(*w.value,
                                          **w.scales,
                                          value_of(w.zeros),
                                          w.quant.group_size,
                                          w.quant.bits,
                                          mode_of(w.quant.format),
                                          std::nullopt,
                                          dtype),
                           w);
}

}  // namespace mlxcpp::ops
