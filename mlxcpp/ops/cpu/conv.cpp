#include "mlxcpp/ops/cpu/conv.h"

#include "mlxcpp/ops/cpu/linear.h"
#include "mlxcpp/ops/cpu/pool.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

namespace mlxcpp::cpu {
namespace {

constexpr long kPanel = 1 << 18;  // numbers that are unfolded at a time

/// Where an output pixel looks.
struct Pixel {
  const float* image;  // of its row
  int top, left;
};
Pixel pixel(const Conv& c, long index) {
  int width = c.out_width(), height = c.out_height();
  long line = index / width;
  return {c.x + line / height * c.height * c.width * c.channels,
          int(line % height) * c.stride_h - c.pad_h,
          int(index % width) * c.stride_w - c.pad_w};
}

/// Channels under tap (i, j) of the kernel, or null outside of the image.
const float* tap(const Conv& c, const Pixel& p, int i, int j) {
  int line = p.top + i * c.dilation_h, column = p.left + j * c.dilation_w;
  if (line < 0 || line >= c.height || column < 0 || column >= c.width) return nullptr;
  return p.image + (long(line) * c.width + column) * c.channels;
}

/// One row of the matrix that is multiplied with a group's weights.
void unfold(const Conv& c, const Pixel& p, int group, float* out) {
  int each = c.channels / c.groups;
  for (int i = 0; i < c.kernel_h; ++i)
    for (int j = 0; j < c.kernel_w; ++j, out += each) {
      if (auto* x = tap(c, p, i, j))
        std::memcpy(out, x + long(group) * each, sizeof(float) * each);
      else
        std::memset(out, 0, sizeof(float) * each);
    }
}

/// One channel in, one out: too thin for a product of matrices.
void depthwise(const Conv& c, long pixels) {
  int taps = c.kernel_h * c.kernel_w, channels = c.channels;
  std::vector<float> turned(size_t(taps) * channels);
  for (int ch = 0; ch < channels; ++ch)
    for (int k = 0; k < taps; ++k) turned[size_t(k) * channels + ch] = c.weight[ch * taps + k];
  int block = int(std::clamp(kPanel / 8 / std::max(1, taps * channels), 1L, pixels));
  Pool::instance().run(int((pixels + block - 1) / block), [&](int n) {
    for (long at = long(n) * block; at < std::min(pixels, long(n + 1) * block); ++at) {
      Pixel p = pixel(c, at);
      float* y = c.y + at * channels;
      std::fill_n(y, channels, 0.f);
      for (int i = 0; i < c.kernel_h; ++i)
        for (int j = 0; j < c.kernel_w; ++j) {
          const float *x = tap(c, p, i, j), *w = &turned[size_t(i * c.kernel_w + j) * channels];
          for (int ch = 0; x && ch < channels; ++ch) y[ch] += w[ch] * x[ch];
        }
    }
  });
}

}  // namespace

void conv(const Conv& c) {
  long pixels = long(c.rows) * c.out_height() * c.out_width();
  if (pixels == 0 || c.outputs == 0) return;
  if (c.groups == c.channels && c.groups == c.outputs) return depthwise(c, pixels);
  int columns = c.kernel_h * c.kernel_w * (c.channels / c.groups), outputs = c.outputs / c.groups;
  long panel = std::min(pixels, std::max(64L, kPanel / std::max(1, columns) / 64 * 64));
  std::unique_ptr<float[]> unfolded(new float[size_t(panel) * columns]);
  constexpr int kTogether = 16;  // pixels that one thread unfolds
  for (int group = 0; group < c.groups; ++group) {
    Matrix w{.data = c.weight + long(group) * outputs * columns,
             .row_bytes = long(sizeof(float)) * columns,
             .rows = outputs,
             .columns = columns};
    for (long first = 0; first < pixels; first += panel) {
      long count = std::min(panel, pixels - first);
      Pool::instance().run(int((count + kTogether - 1) / kTogether), [&](int n) {
        for (long i = long(n) * kTogether; i < std::min(count, long(n + 1) * kTogether); ++i)
          unfold(c, pixel(c, first + i), group, unfolded.get() + i * columns);
      });
      Product product{
          .w = w, .y = c.y + first * c.outputs + long(group) * outputs, .y_stride = c.outputs};
      linear(unfolded.get(), columns, int(count), {&product, 1});
    }
  }
}

}  // namespace mlxcpp::cpu
