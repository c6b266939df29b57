#include "mlxcpp/ops/detail/view.h"

#include <cstddef>

namespace mlxcpp::ops::detail {
namespace {

template <class T>
T* copy_axis(const array& a, int axis, const T* from, T* to) {
  long stride = a.strides(axis);
  for (int i = 0; i < a.shape(axis); ++i, from += stride) {
    if (axis + 1 == int(a.ndim()))
      *to++ = *from;
    else
      to = copy_axis(a, axis + 1, from, to);
  }
  return to;
}

/// The one stride of all rows, or -1.
long stride_of_rows(const array& a) {
  int last = int(a.ndim()) - 1;
  if (last < 0 || (a.shape(last) > 1 && a.strides(last) != 1)) return -1;
  long stride = a.shape(last), rows = 1;
  bool first = true;
  for (int i = last - 1; i >= 0; --i) {
    if (a.shape(i) == 1) continue;
    if (first)
      stride = a.strides(i);
    else if (a.strides(i) != stride * rows)
      return -1;
    first = false;
    rows *= a.shape(i);
  }
  return stride;
}

}  // namespace

template <class T>
View<T>::View(const array& a)
    : data_(a.data<T>()), strides_(a.strides().begin(), a.strides().end()) {
  if (a.ndim() > 0 && a.shape(-1) > 1 && strides_.back() != 1) pack(a);
}

template <class T>
View<T> View<T>::in_order(const array& a) {
  View v(a);
  if (v.copy_.empty() && !a.flags().row_contiguous) v.pack(a);
  return v;
}

template <class T>
void View<T>::pack(const array& a) {
  copy_.resize(a.size());
  if (a.size() > 0) copy_axis(a, 0, a.data<T>(), copy_.data());
  data_ = copy_.data();
  long stride = 1;
  for (int i = int(a.ndim()) - 1; i >= 0; --i) strides_[i] = stride, stride *= a.shape(i);
}

template class View<float>;
template class View<int>;
template class View<unsigned char>;

RowsView::RowsView(const array& a)
    : view_(stride_of_rows(a) < 0 ? View<float>::in_order(a) : View<float>(a)),
      stride_(stride_of_rows(a)),
      size_(a.ndim() ? a.shape(-1) : 1) {
  if (stride_ < 0) stride_ = size_;
  rows_ = size_ ? int(a.size() / std::size_t(size_)) : 0;
}

}  // namespace mlxcpp::ops::detail
