#include "mlxcpp/ops/linear.h"

#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

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

array adapted(const array& y, const array& x, const Adapters& adapters) {
  if (!*adapters.rows) return y;
  array a = mx::take(adapters.a, **adapters.rows, 0), b = mx::take(adapters.b, **adapters.rows, 0);
  return mx::add(y, mx::matmul(mx::matmul(x, mx::swapaxes(a, 1, 2)), mx::swapaxes(b, 1, 2)));
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
  array y = product(x, *w);
  if (w->adapters) y = adapted(y, x, *w->adapters);
  if (w->bias) y = mx::add(y, mx::astype(**w->bias, y.dtype()));
  return residual ? mx::add(*residual, y) : y;
}

array linear_back(const array& x, const Weight& w) { return product(x, *w, false); }

array embed(const array& ids, const Weight& t) {
  mx::Dtype dtype = activation_dtype(t->dtype());
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
