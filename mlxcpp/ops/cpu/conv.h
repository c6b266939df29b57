// Convolutions over images and signals, over all threads.
#pragma once

namespace mlxcpp::cpu {

/// x: (rows, height, width, channels), weight: (outputs, kernel_h, kernel_w, channels / groups) ->
/// y: (rows, (height + 2 pad_h - dilation_h (kernel_h - 1) - 1) / stride_h + 1, ..., outputs), all
/// float32 and in order.  A signal is an image of height one.
struct Conv {
  int rows, height, width, channels, outputs;
  int kernel_h = 1, kernel_w = 1, stride_h = 1, stride_w = 1, pad_h = 0, pad_w = 0;
  int dilation_h = 1, dilation_w = 1, groups = 1;
  const float *x, *weight;
  float* y;

  int out_height() const {
    return (height + 2 * pad_h - dilation_h * (kernel_h - 1) - 1) / stride_h + 1;
  }
  int out_width() const {
    return (width + 2 * pad_w - dilation_w * (kernel_w - 1) - 1) / stride_w + 1;
  }
};
/// float32 throughout.  Bits do not depend on the number of threads.
void conv(const Conv& c);

}  // namespace mlxcpp::cpu
