// Evaluated arrays as kernels read them: in place where their strides allow, else from a copy.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <vector>

namespace mlxcpp::ops::detail {

/// Numbers of T whose last axis is contiguous.
template <class T>
class View {
 public:
  /// Strides of all but the last axis as the array has them; a copy where the last has another one.
  explicit View(const array& a);
  View(View&&) = default;
  View& operator=(View&&) = default;

  const T* data() const { return data_; }
  long stride(int axis) const { return strides_[axis]; }

  /// The array as one block in order: a copy unless it is one.
  static View in_order(const array& a);

 private:
  void pack(const array& a);

  const T* data_;
  std::vector<long> strides_;
  std::vector<T> copy_;
};

extern template class View<float>;
extern template class View<int>;
extern template class View<unsigned char>;

/// All but the last axis of an array together: rows of one stride.
class RowsView {
 public:
  explicit RowsView(const array& a);
  const float* data() const { return view_.data(); }
  long stride() const { return stride_; }
  int rows() const { return rows_; }
  int size() const { return size_; }

 private:
  View<float> view_;
  long stride_;
  int rows_, size_;
};

}  // namespace mlxcpp::ops::detail
