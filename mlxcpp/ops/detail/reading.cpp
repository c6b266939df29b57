#include "mlxcpp/ops/detail/reading.h"

#include <algorithm>

namespace mlxcpp::ops::detail {
namespace {

float number(const array& x, long at) {
  if (x.dtype() == mx::float32) return x.data<float>()[at];
  if (x.dtype() == mx::bfloat16) return float(x.data<mx::bfloat16_t>()[at]);
  return float(x.data<mx::float16_t>()[at]);
}

/// In order, whatever the strides of axes with one entry are.
bool dense(const array& x) {
  long expected = 1;
  for (int i = int(x.ndim()) - 1; i >= 0; expected *= x.shape(i), --i)
    if (x.shape(i) != 1 && long(x.strides(i)) != expected) return false;
  return true;
}

}  // namespace

cpu::Sequence Reading::sequence(const Part& p) {
  auto& v = views_.emplace_back(p.of);
  bool headed = p.of.ndim() == 4;
  return {v.data() + (headed ? 0 : p.from),
          v.stride(0),
          v.stride(1),
          headed ? v.stride(2) : long(p.size)};
}

const float* Reading::numbers(const array& x) {
  if (x.dtype() == mx::float32 && dense(x)) return x.data<float>();
  auto& copy = copies_.emplace_back(x.size());
  for (size_t i = 0; i < copy.size(); ++i) copy[i] = number(x, long(i) * long(x.strides(0)));
  return copy.data();
}

cpu::Stored Reading::stored(const array& x) {
  if (dense(x)) {
    if (x.dtype() == mx::float32) return {x.data<float>(), cpu::Number::f32};
    if (x.dtype() == mx::float16) return {x.data<mx::float16_t>(), cpu::Number::f16};
    if (x.dtype() == mx::bfloat16) return {x.data<mx::bfloat16_t>(), cpu::Number::bf16};
  }
  // A convolution's weight that was turned: (C, k, 1).
  auto& copy = copies_.emplace_back(x.size());
  int inner = x.ndim() > 1 ? x.shape(1) : 1;
  for (size_t i = 0; i < copy.size(); ++i) {
    long at = long(i) / inner * long(x.strides(0));
    if (x.ndim() > 1) at += long(i) % inner * long(x.strides(1));
    copy[i] = number(x, at);
  }
  return {copy.data(), cpu::Number::f32};
}

void dense_rows(const cpu::Sequence& x, int rows, int tokens, int size, float* out) {
  for (int b = 0; b < rows; ++b)
    for (int t = 0; t < tokens; ++t)
      std::copy_n(x.data + b * x.row + t * x.token, size, out + (size_t(b) * tokens + t) * size);
}

}  // namespace mlxcpp::ops::detail
