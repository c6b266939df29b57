// What matrix_test.cpp asks, without a test library: for a tier of another architecture, run by an
// emulator (tools/check-neon).
#include "mlxcpp/ops/cpu/kernels.h"
#include "mlxcpp/ops/cpu/quantised.h"
#include "tests/cpu/weights.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace mlxcpp::cpu {

extern const Kernels MLXCPP_TIER;

namespace {

constexpr double kError = 1e-4;  // as in matrix_test.cpp
int wrong = 0;

void check(bool good, const Layout& layout, const char* what, int columns, double found) {
  if (good) return;
  std::printf("%s, columns %d: %s, found %g\n", name_of(layout).c_str(), columns, what, found);
  ++wrong;
}

void multiply(const Layout& layout, int columns, int rows) {
  constexpr int kOutputs = 5;
  const MatrixKernels& k = MLXCPP_TIER.matrix;
  auto all = random_weights(layout, kOutputs, columns, unsigned(columns));
  const Matrix& w = all.w;
  Fenced memory(sizeof(float) * std::size_t(rows) * columns);
  auto* x = reinterpret_cast<float*>(memory.data());
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (int i = 0; i < rows * columns; ++i) x[i] = normal(random);
  std::vector<float> y(std::size_t(rows) * kOutputs), numbers;
  numbers.resize(std::size_t(columns));
  if (layout.coding <= Coding::bf16 || layout.coding == Coding::mxfp8) {
    k.dense_dots(w, x, columns, rows, 0, kOutputs, y.data(), kOutputs);
  } else {
    Fenced place((quantised_bytes(rows, columns) + 63) / 64 * 64);
    auto q = quantised_rows(place.data(), rows, columns);
    for (int m = 0; m < rows; ++m) k.quantise(x + long(m) * columns, m, q);
    k.dots(w, q, 0, kOutputs, y.data(), kOutputs);
  }
  double off = 0, size = 0;
  for (int n = 0; n < kOutputs; ++n) {
    k.unpack(w, n, 0, columns, numbers.data());
    for (int i = 0; i < columns; ++i)
      check(numbers[std::size_t(i)] == number_at(w, n, i), layout, "unpacked number", columns, i);
    for (int m = 0; m < rows; ++m) {
      double exact = 0;
      for (int i = 0; i < columns; ++i) {
        double product = double(number_at(w, n, i)) * x[long(m) * columns + i];
        exact += product, size += product * product;
      }
      double d = y[std::size_t(m * kOutputs + n)] - exact;
      off += d * d;
    }
  }
  double error = std::sqrt(off / size);
  check(error < kError, layout, "product", columns, error);
}

}  // namespace
}  // namespace mlxcpp::cpu

int main() {
  using namespace mlxcpp::cpu;
  int count = 0;
  for (auto& layout : layouts())
    for (int base : {64, 96, 1056})
      for (int rows : {1, 2, 3}) {
        int unit = unit_of(layout);
        multiply(layout, (base + unit - 1) / unit * unit, rows);
        ++count;
      }
  std::printf("%d products, %d wrong\n", count, wrong);
  return wrong ? EXIT_FAILURE : EXIT_SUCCESS;
}
