#include "mlxcpp/ops/cpu/elementwise.h"

#include "mlxcpp/ops/cpu/detail/split.h"
#include "mlxcpp/ops/cpu/features.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace mlxcpp::cpu {
namespace {

using detail::split;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

const ElementwiseKernels& kernels() { return machine().kernels->elementwise; }

/// f(row) for each row; `number` is what one number of it takes in nanoseconds.
template <class F>
void each_row(int rows, long size, double number, F f) {
  split(rows, 20 + number * double(size), [&](long from, long to) {
    for (long r = from; r < to; ++r) f(r);
  });
}

/// Largest of a row and the sum of e^(x - largest).  A row that is all minus infinity has 0 for its
/// largest: then all its powers are 0.
struct Mass {
  float shift, sum;
};
Mass mass_of(const float* x, int size, float* powers) {
  auto& k = kernels();
  float m = k.largest(x, size);
  if (m == -kInfinity) m = 0;
  return {m, k.exp_shifted(x, m, size, powers)};
}

}  // namespace

void rms_norm(const float* x,
              const float* weight,
              float eps,
              int rows,
              int size,
              float* y,
              const float* add,
              float* sum) {
  auto& k = kernels();
  each_row(rows, size, 0.15, [&](long r) {
    long at = r * size;
    k.rms_norm(
        x + at, add ? add + at : nullptr, weight, eps, size, sum ? sum + at : nullptr, y + at);
  });
}

void layer_norm(const float* x,
                const float* weight,
                const float* bias,
                float eps,
                int rows,
                int size,
                float* y) {
  auto& k = kernels();
  each_row(rows, size, 0.2, [&](long r) {
    k.layer_norm(x + r * size, weight, bias, eps, size, y + r * size);
  });
}

void gated(const float* gate,
           long gate_stride,
           const float* up,
           long up_stride,
           const Gate& how,
           int rows,
           int size,
           float* y,
           long y_stride) {
  auto& k = kernels();
  each_row(rows, size, 0.4, [&](long r) {
    k.gated(gate + r * gate_stride, up + r * up_stride, how, size, y + r * y_stride);
  });
}

namespace {

/// Stretches of a long array.
template <class F>
void each_stretch(long size, F f) {
  constexpr long kStretch = 1024;
  split((size + kStretch - 1) / kStretch, 0.4 * kStretch, [&](long from, long to) {
    f(from * kStretch, std::min(size, to * kStretch));
  });
}

}  // namespace

void activate(const float* x, Act act, long size, float* y) {
  auto& k = kernels();
  each_stretch(size, [&](long from, long to) { k.activate(x + from, act, to - from, y + from); });
}

void to_half(const float* x, long size, unsigned short* y) {
  machine().kernels->elementwise.to_half(x, size, y);
}

void softcap(const float* x, float cap, long size, float* y) {
  auto& k = kernels();
  each_stretch(size, [&](long from, long to) { k.softcap(x + from, cap, to - from, y + from); });
}

void softmax(const float* x, int rows, int size, float* y) {
  auto& k = kernels();
  each_row(rows, size, 0.3, [&](long r) {
    float* to = y + r * size;
    k.scale_shift(to, 1 / mass_of(x + r * size, size, to).sum, 0, size, to);
  });
}

void logsumexp(const float* x, int rows, int size, float* y) {
  each_row(rows, size, 0.25, [&](long r) {
    Mass m = mass_of(x + r * size, size, nullptr);
    y[r] = m.shift + std::log(m.sum);
  });
}

void log_softmax(const float* x, int rows, int size, float* y) {
  auto& k = kernels();
  each_row(rows, size, 0.3, [&](long r) {
    Mass m = mass_of(x + r * size, size, nullptr);
    k.scale_shift(x + r * size, 1, -(m.shift + std::log(m.sum)), size, y + r * size);
  });
}

void argmax(const float* x, int rows, int size, unsigned* index) {
  auto& k = kernels();
  each_row(rows, size, 0.08, [&](long r) { index[r] = k.argmax(x + r * size, size); });
}

namespace {

float kth_of_row(const float* x, int size, int rank) {
  auto& k = kernels();
  constexpr int kBlock = 64;
  int blocks = (size + kBlock - 1) / kBlock;
  auto larger = std::greater<float>();
  auto* found = static_cast<float*>(thread_scratch(sizeof(float) * (size + blocks)));
  float low = -kInfinity;
  if (rank <= blocks) {  // so many blocks have one that is as large
    float* maxima = found + size;
    k.block_maxima(x, size, kBlock, maxima);
    std::nth_element(maxima, maxima + rank - 1, maxima + blocks, larger);
    low = maxima[rank - 1];
  }
  long n = k.at_least(x, size, low, found);
  if (n < rank) return -kInfinity;  // the others are no numbers
  std::nth_element(found, found + rank - 1, found + n, larger);
  return found[rank - 1];
}

/// Of numbers in [first, last), the smallest of the fewest largest whose powers sum to `mass`.
float last_within(float* first, float* last, float shift, double mass) {
  while (last - first > 1) {
    float a = *first, b = first[(last - first) / 2], c = last[-1];
    float pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
    float* above = std::partition(first, last, [=](float v) { return v > pivot; });
    double sum = 0;
    for (float* p = first; p < above; ++p) sum += std::exp(*p - shift);
    if (sum >= mass) {
      last = above;
      continue;
    }
    mass -= sum;
    float* equal = std::partition(above, last, [=](float v) { return v == pivot; });
    double same = double(equal - above) * std::exp(pivot - shift);
    if (same >= mass || equal == last) return pivot;
    mass -= same;
    first = equal;
  }
  return *first;
}

float nucleus_of_row(const float* x, int size, float p) {
  auto& k = kernels();
  Mass all = mass_of(x, size, nullptr);
  double mass = double(p) * all.sum;
  auto* found = static_cast<float*>(thread_scratch(sizeof(float) * size));
  // Few numbers reach the mass nearly always.
  for (float depth : {6.f, 8.f, 10.f, 12.f, 14.f, kInfinity}) {
    long n = k.at_least(x, size, all.shift - depth, found);
    if (n == 0) return all.shift;
    if (depth != kInfinity && k.exp_shifted(found, all.shift, n, nullptr) < mass * 1.0001) continue;
    return last_within(found, found + n, all.shift, mass);
  }
  return -kInfinity;
}

}  // namespace

void kth_largest(const float* x, int rows, int size, int k, float* value) {
  each_row(rows, size, 0.15, [&](long r) { value[r] = kth_of_row(x + r * size, size, k); });
}

void nucleus(const float* x, int rows, int size, float p, float* value) {
  each_row(rows, size, 0.5, [&](long r) { value[r] = nucleus_of_row(x + r * size, size, p); });
}

void keep_largest(const float* x, int rows, int size, int k, float* y) {
  auto& kernels_of = kernels();
  each_row(rows, size, 0.25, [&](long r) {
    const float* from = x + r * size;
    float *to = y + r * size, low = kth_of_row(from, size, k);
    auto* found = static_cast<float*>(thread_scratch(sizeof(float) * size));
    long extra = kernels_of.at_least(from, size, low, found) - k;
    kernels_of.keep_from(from, low, size, to);
    for (int i = size - 1; extra > 0 && i >= 0; --i)
      if (to[i] == low) to[i] = -kInfinity, --extra;
  });
}

void keep_nucleus(const float* x, int rows, int size, float p, float* y) {
  auto& k = kernels();
  each_row(rows, size, 0.5, [&](long r) {
    k.keep_from(x + r * size, nucleus_of_row(x + r * size, size, p), size, y + r * size);
  });
}

}  // namespace mlxcpp::cpu
