// Products of activations with weights, over all threads.
#pragma once

#include "mlxcpp/ops/cpu/matrix.h"

#include <span>

namespace mlxcpp::cpu {

/// One weight that is used on the input, and where its outputs go.
struct Product {
  Matrix w;
  const float* bias = nullptr;      // (outputs)
  const float* residual = nullptr;  // rows of residual_stride: added last
  long residual_stride = 0;
  float* y = nullptr;  // rows of y_stride
  long y_stride = 0;
};

/// y = x w^T + bias + residual for each product.  x: (rows, columns) float32 in rows of x_stride.
/// Few rows are quantised to 16 bits and multiplied exactly; from a number that depends on the tier
/// on, weights and activations are rounded to bfloat16 where that is faster
/// (machine().deterministic: never).  Sums are float32 or exact; results do not depend on the
/// number of threads.
void linear(const float* x, long x_stride, int rows, std::span<const Product> products);

/// As linear(), but row m uses matrix which[m] of a stack: a router's experts.  w: the first
/// matrix, the others follow at multiples of the strides.
struct ExpertStack {
  Matrix w;
  int experts = 0;
  long stride = 0, scale_stride = 0;  // bytes from one expert to the next
  const float* bias = nullptr;        // (experts, outputs)
  const float* factors = nullptr;     // (experts): nvfp4's global scales
};
/// x: (rows, columns), which: (rows) -> y: (rows, outputs).  Row m of x is x + (m / repeat) *
/// x_stride.
void gather_linear(const float* x,
                   long x_stride,
                   int rows,
                   int repeat,
                   const unsigned* which,
                   const ExpertStack& stack,
                   float* y,
                   long y_stride);

/// Numbers of whole rows: out (count, columns), row i is rows[i] of w.
void rows_of(const Matrix& w, const int* rows, int count, float* out);

}  // namespace mlxcpp::cpu
