// Arrays as plain numbers and back, for tests that write the mathematics out as loops.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

namespace mlxcpp::test {

/// A row-major block of doubles.  Loops read and write it by as many indices as it has axes.
class Numbers {
 public:
  explicit Numbers(const mx::Shape& s);
  /// Evaluates `a`, of any dtype.
  Numbers(const array& a);  // NOLINT: expected values and results are compared in one call

  template <class... Index>
  double& operator()(Index... index) {
    return data[place({int(index)...})];
  }
  template <class... Index>
  double operator()(Index... index) const {
    return data[place({int(index)...})];
  }
  array as(mx::Dtype dtype = mx::float32) const;

  mx::Shape shape;
  std::vector<double> data;

 private:
  size_t place(std::initializer_list<int> index) const;
};

/// Numbers in [-1, 1), the same for the same seed on every machine.
array noise(const mx::Shape& shape, int seed, mx::Dtype dtype = mx::float32);
Numbers zeros(const mx::Shape& shape);
array ints(const std::vector<int>& values, const mx::Shape& shape);
array ints(const std::vector<int>& values);

/// Largest |a - b|; infinite where shapes differ or one of the two is not finite.
double difference(const Numbers& a, const Numbers& b);
/// The same over the largest |b|.
double relative(const Numbers& a, const Numbers& b);
bool all_finite(const Numbers& a);

/// x: (rows, in), w: (out, in) -> (rows, out), in float64.
Numbers times_transposed(const Numbers& x, const Numbers& w);
Numbers map(Numbers x, const std::function<double(double)>& f);

}  // namespace mlxcpp::test
