// Matrices in every coding, and what their numbers are, written from the formats' definitions.
#pragma once

#include "mlxcpp/ops/cpu/matrix.h"

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mlxcpp::cpu {

/// Bytes that end where memory ends: what lies behind them can not be read.
class Fenced {
 public:
  explicit Fenced(std::size_t size);
  ~Fenced();
  Fenced(const Fenced&) = delete;
  Fenced& operator=(const Fenced&) = delete;
  std::uint8_t* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::uint8_t* data_ = nullptr;
  void* mapping_ = nullptr;
  std::size_t size_ = 0, mapped_ = 0;
};

/// One way to store a matrix.
struct Layout {
  Coding coding;
  int group = 0;  // of MLX's formats
  Number scale_type = Number::f32;
};
std::string name_of(const Layout& layout);
/// Every coding, with every group and some types of scales.
std::vector<Layout> layouts();
/// Columns must be a multiple of this.
int unit_of(const Layout& layout);

struct Weights {
  std::unique_ptr<Fenced> data, scales, zeros;
  Matrix w;
};
/// Random codes; scales of ordinary size.
Weights random_weights(const Layout& layout, int rows, int columns, unsigned seed);
/// The number as its format defines it, times the factor; rounded once, to float.
float number_at(const Matrix& w, int row, int column);

}  // namespace mlxcpp::cpu
