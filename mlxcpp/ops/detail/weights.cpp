#include "mlxcpp/ops/detail/weights.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <initializer_list>
#include <utility>

namespace mlxcpp::ops::detail {
namespace {

/// Evaluated, with its last axis in one piece; false for a tracer.  What had to be copied takes the
/// slot's place, so that it is copied once.
bool settle(array& a) {
  if (a.is_tracer()) return false;
  a.eval();
  bool rows_in_order = a.ndim() > 0 && a.strides().back() == 1;
  if (a.ndim() == 3) rows_in_order &= a.strides()[0] == a.strides()[1] * a.shape(1);
  if (!rows_in_order && a.size() > 1) {
    a = mx::contiguous(a);
    a.eval();
  }
  return true;
}

std::optional<cpu::Coding> coding_of(const WeightData& w) {
  switch (w.quant.format) {
    case Format::dense:
      if (w.value->dtype() == mx::float32) return cpu::Coding::f32;
      if (w.value->dtype() == mx::float16) return cpu::Coding::f16;
      if (w.value->dtype() == mx::bfloat16) return cpu::Coding::bf16;
      return {};
    case Format::affine: return affine_coding(w.quant.bits);
    case Format::mxfp4: return cpu::Coding::mxfp4;
    case Format::mxfp8: return cpu::Coding::mxfp8;
    case Format::nvfp4: return cpu::Coding::nvfp4;
    case Format::q4_0: return cpu::Coding::q4_0;
    case Format::q4_1: return cpu::Coding::q4_1;
    case Format::q5_0: return cpu::Coding::q5_0;
    case Format::q5_1: return cpu::Coding::q5_1;
    case Format::q8_0: return cpu::Coding::q8_0;
    case Format::q2_k: return cpu::Coding::q2_k;
    case Format::q3_k: return cpu::Coding::q3_k;
    case Format::q4_k: return cpu::Coding::q4_k;
    case Format::q5_k: return cpu::Coding::q5_k;
    case Format::q6_k: return cpu::Coding::q6_k;
    case Format::iq4_nl: return cpu::Coding::iq4_nl;
    case Format::iq4_xs: return cpu::Coding::iq4_xs;
  }
  return {};
}

/// Which arrays the slots hold.
std::vector<std::uintptr_t> ids(const WeightData& w) {
  std::vector<std::uintptr_t> all{w.value->id()};
  for (auto* p : std::initializer_list<const std::optional<Param>*>{
           &w.scales, &w.zeros, &w.global_scale, &w.bias})
    all.push_back(*p ? (**p)->id() : 0);
  return all;
}

long row_stride(const array& a) { return a.strides()[a.ndim() - 2] * long(a.itemsize()); }
long stack_stride(const array& a) { return a.strides()[0] * long(a.itemsize()); }

}  // namespace

std::optional<cpu::Number> number_of(mx::Dtype d) {
  if (d == mx::float32) return cpu::Number::f32;
  if (d == mx::float16) return cpu::Number::f16;
  if (d == mx::bfloat16) return cpu::Number::bf16;
  return {};
}

std::optional<cpu::Coding> affine_coding(int bits) {
  switch (bits) {
    case 2: return cpu::Coding::affine2;
    case 3: return cpu::Coding::affine3;
    case 4: return cpu::Coding::affine4;
    case 5: return cpu::Coding::affine5;
    case 6: return cpu::Coding::affine6;
    case 8: return cpu::Coding::affine8;
    default: return {};
  }
}

std::optional<array> float_values(const array& x) {
  if (x.is_tracer()) return {};
  array f = mx::contiguous(mx::astype(x, mx::float32));
  f.eval();
  return f;
}

std::shared_ptr<const BoundWeight> BoundWeight::of(const Weight& w) {
  return w->adapted() ? nullptr : without_adapters(w);
}

std::shared_ptr<const BoundWeight> BoundWeight::without_adapters(const Weight& w) {
  auto bound = std::atomic_load(&w->bound);
  if (bound && bound->made_from_ == ids(*w)) return bound;
  bound = make(*w);
  std::atomic_store(&w->bound, bound);
  return bound;
}

std::shared_ptr<const BoundWeight> BoundWeight::make(WeightData& data) {
  auto coding = coding_of(data);
  if (!coding || data.value->ndim() < 2 || data.value->ndim() > 3) return {};
  for (auto* p : std::initializer_list<const std::optional<Param>*>{&data.scales, &data.zeros})
    if (*p && !settle(***p)) return {};
  if (!settle(*data.value)) return {};
  auto made = std::make_shared<BoundWeight>();
  BoundWeight& b = *made;
  const WeightData* w = &data;
  b.made_from_ = ids(data);
  const array& value = *w->value;
  cpu::Matrix& m = b.matrix_;
  m.coding = *coding;
  m.data = value.data<void>();
  m.row_bytes = row_stride(value);
  m.rows = value.shape(-2), m.columns = w->inputs();
  m.group = w->quant.group_size;
  b.kept_.push_back(value);
  if (w->scales) {
    const array& s = **w->scales;
    if (w->quant.format == Format::affine) {
      auto type = number_of(s.dtype());
      if (!type || !w->zeros || (**w->zeros).dtype() != s.dtype() ||
          (**w->zeros).strides() != s.strides())
        return {};
      m.scale_type = *type;
      m.zeros = (**w->zeros).data<void>();
      b.kept_.push_back(**w->zeros);
    }
    m.scales = s.data<void>();
    m.scale_row_bytes = row_stride(s);
    b.kept_.push_back(s);
  }
  if (value.ndim() == 3) {
    b.stacked_ = value.shape(0);
    b.stride_ = stack_stride(value);
    if (w->scales) b.scale_stride_ = stack_stride(**w->scales);
  }
  if (w->global_scale) {
    auto g = float_values(**w->global_scale);
    if (!g) return {};
    for (size_t i = 0; i < g->size(); ++i) b.factors_.push_back(g->data<float>()[i] / (6 * 448.f));
    m.factor = b.factors_[0];
    if (g->size() == 1) b.factors_.assign(std::max(1, b.stacked_), m.factor);
  }
  if (w->bias) {
    b.bias_ = float_values(**w->bias);
    if (!b.bias_) return {};
  }
  return made;
}

cpu::ExpertStack BoundWeight::stack() const {
  cpu::Matrix first = matrix_;
  first.factor = 1;  // `factors` has it
  return {.w = first,
          .experts = stacked_,
          .stride = stride_,
          .scale_stride = scale_stride_,
          .bias = bias(),
          .factors = factors_.empty() ? nullptr : factors_.data()};
}

cpu::Matrix BoundWeight::matrix(int i) const {
  cpu::Matrix m = matrix_;
  auto moved = [&](const void* p, long by) {
    return p ? static_cast<const char*>(p) + long(i) * by : nullptr;
  };
  m.data = moved(m.data, stride_);
  m.scales = moved(m.scales, scale_stride_);
  m.zeros = moved(m.zeros, scale_stride_);
  if (!factors_.empty()) m.factor = factors_[i];
  return m;
}

}  // namespace mlxcpp::ops::detail
