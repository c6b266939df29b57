#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <stdexcept>

namespace mlxcpp::test {
namespace {

size_t count(const mx::Shape& shape) {
  size_t n = 1;
  for (int extent : shape) n *= size_t(extent);
  return n;
}

}  // namespace

Numbers::Numbers(const mx::Shape& s) : shape(std::move(s)), data(count(shape)) {}

Numbers::Numbers(const array& a) : shape(a.shape()), data(a.size()) {
  array plain = mx::contiguous(mx::astype(a, mx::float32));
  plain.eval();
  std::copy_n(plain.data<float>(), plain.size(), data.begin());
}

array Numbers::as(mx::Dtype dtype) const {
  std::vector<float> f(data.begin(), data.end());
  return mx::astype(array(f.data(), shape, mx::float32), dtype);
}

size_t Numbers::place(std::initializer_list<int> index) const {
  if (index.size() != shape.size()) throw std::logic_error("wrong number of indices");
  size_t at = 0, axis = 0;
  for (int i : index) {
    if (i < 0 || i >= shape[axis]) throw std::logic_error("index out of range");
    at = at * size_t(shape[axis++]) + size_t(i);
  }
  return at;
}

array noise(const mx::Shape& shape, int seed, mx::Dtype dtype) {
  std::vector<float> values(count(shape));
  auto state = std::uint64_t(seed + 1) * 0x9e3779b97f4a7c15u;
  for (float& v : values) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    v = float(state >> 40) / float(1 << 23) - 1;
  }
  return mx::astype(array(values.data(), shape, mx::float32), dtype);
}

Numbers zeros(const mx::Shape& shape) { return Numbers(shape); }

array ints(const std::vector<int>& values, const mx::Shape& shape) {
  return array(values.data(), shape, mx::int32);
}

array ints(const std::vector<int>& values) { return ints(values, {int(values.size())}); }

double difference(const Numbers& a, const Numbers& b) {
  if (a.shape != b.shape) return std::numeric_limits<double>::infinity();
  double worst = 0;
  for (size_t i = 0; i < a.data.size(); ++i) {
    double d = std::abs(a.data[i] - b.data[i]);
    if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
    worst = std::max(worst, d);
  }
  return worst;
}

double relative(const Numbers& a, const Numbers& b) {
  double largest = 0;
  for (double v : b.data) largest = std::max(largest, std::abs(v));
  return difference(a, b) / largest;
}

bool all_finite(const Numbers& a) {
  return std::all_of(a.data.begin(), a.data.end(), [](double v) { return std::isfinite(v); });
}

Numbers times_transposed(const Numbers& x, const Numbers& w) {
  Numbers y = zeros({x.shape[0], w.shape[0]});
  for (int r = 0; r < x.shape[0]; ++r)
    for (int o = 0; o < w.shape[0]; ++o)
      for (int i = 0; i < x.shape[1]; ++i) y(r, o) += x(r, i) * w(o, i);
  return y;
}

Numbers map(Numbers x, const std::function<double(double)>& f) {
  for (double& v : x.data) v = f(v);
  return x;
}

}  // namespace mlxcpp::test
