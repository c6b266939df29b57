// Products of weights that have no small integers, with float32 activations.
namespace mlxcpp::cpu {
namespace {

struct DenseF32 {
  enum { kBytes = 4, kGroup = 0 };
  static F numbers(const uint8_t* p) { return load((const float*)p); }
};
struct DenseF16 {
  enum { kBytes = 2, kGroup = 0 };
  static F numbers(const uint8_t* p) { return load_f16(p); }
};
struct DenseBf16 {
  enum { kBytes = 2, kGroup = 0 };
  static F numbers(const uint8_t* p) { return load_bf16(p); }
};
struct Mxfp8 {
  enum { kBytes = 1, kGroup = 32 };
  static F numbers(const uint8_t* p) { return load_e4m3(p); }
};

/// n numbers of a row, 0 < n < kWidth: nothing behind them is read.
template <class T>
inline F last_numbers(const uint8_t* p, int n) {
  uint8_t t[kWidth * T::kBytes] = {};
  memcpy(t, p, n * T::kBytes);
  return T::numbers(t);
}

/// R outputs with M rows: sums of all columns.
template <class T, int M, int R>
MLXCPP_INLINE void dense_rows(const Matrix& w,
                              const int* rows,
                              const float* const* x,
                              F (&acc)[R][M]) {
  constexpr int kStep = T::kGroup > 0 ? T::kGroup : 2 * kWidth;
  const uint8_t *p[R], *scales[R];
  F odd[R][M];
  for (int r = 0; r < R; ++r) {
    p[r] = row_of(w, rows[r]);
    scales[r] = T::kGroup > 0 ? scales_of(w, rows[r]) : nullptr;
    for (int m = 0; m < M; ++m) acc[r][m] = odd[r][m] = zero();
  }
  // As in Walk: into the second cache, in the order of memory.
  long together = R * w.row_bytes;
  const uint8_t* next = p[0] + (8192 / together + 1) * together;
  int c = 0;
  for (; c + kStep <= w.columns; c += kStep, next += R * kStep * T::kBytes) {
    for (int b = 0; b < R * kStep * T::kBytes; b += 64) __builtin_prefetch(next + b, 0, 2);
    for (int r = 0; r < R; ++r) {
      const uint8_t* at = p[r] + (long)c * T::kBytes;
      F scale = T::kGroup > 0 ? set(from_e8m0(scales[r][c / 32])) : zero();
      for (int i = 0; i < kStep; i += 2 * kWidth) {
        F a = T::numbers(at + i * T::kBytes), b = T::numbers(at + (i + kWidth) * T::kBytes);
        if (T::kGroup > 0) a = a * scale, b = b * scale;
        for (int m = 0; m < M; ++m) {
          acc[r][m] = fma(a, load(x[m] + c + i), acc[r][m]);
          odd[r][m] = fma(b, load(x[m] + c + i + kWidth), odd[r][m]);
        }
      }
    }
  }
  for (; c < w.columns; c += kWidth) {
    int n = w.columns - c < kWidth ? w.columns - c : kWidth;
    for (int r = 0; r < R; ++r) {
      F a = last_numbers<T>(p[r] + (long)c * T::kBytes, n);
      for (int m = 0; m < M; ++m)
        acc[r][m] = fma(a, n < kWidth ? load_part(x[m] + c, n) : load(x[m] + c), acc[r][m]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int m = 0; m < M; ++m) acc[r][m] = acc[r][m] + odd[r][m];
}

template <class T, int M, int R>
void some_dense(const Matrix& w,
                const float* x,
                long x_stride,
                int rows,
                int from,
                int to,
                float* y,
                long stride) {
  const float* in[M];
  for (int m = 0; m < M; ++m) in[m] = x + (m < rows ? m : rows - 1) * x_stride;
  for (int n = from; n < to; n += R) {
    int which[R];
    for (int r = 0; r < R; ++r) which[r] = n + r < to ? n + r : to - 1;
    F acc[R][M];
    dense_rows<T, M, R>(w, which, in, acc);
    for (int r = 0; r < R; ++r)
      for (int m = 0; m < M; ++m)
        if (n + r < to && m < rows) y[m * stride + n + r] = sum(acc[r][m]) * w.factor;
  }
}

struct DenseDots {
  const Matrix& w;
  const float* x;
  long x_stride;
  int rows, from, to;
  float* y;
  long stride;
  template <class T>
  void run() const {
    if (rows == 1) return some_dense<T, 1, 2>(w, x, x_stride, rows, from, to, y, stride);
    if (rows == 2) return some_dense<T, 2, 2>(w, x, x_stride, rows, from, to, y, stride);
    some_dense<T, kMaxRows, 1>(w, x, x_stride, rows, from, to, y, stride);
  }
};

struct DenseNumbers {
  const Matrix& w;
  int row, column, count;
  float* out;
  template <class T>
  void run() const {
    const uint8_t* p = row_of(w, row) + (long)column * T::kBytes;
    F factor = set(w.factor);
    for (int i = 0; i < count; i += kWidth) {
      int n = count - i < kWidth ? count - i : kWidth;
      F v = n < kWidth ? last_numbers<T>(p + i * T::kBytes, n) : T::numbers(p + i * T::kBytes);
      if (T::kGroup > 0) v = v * set(from_e8m0(scales_of(w, row)[(column + i) / 32]));
      v = v * factor;
      if (n < kWidth)
        store_part(out + i, v, n);
      else
        store(out + i, v);
    }
  }
};

template <class Job>
bool for_dense_coding(const Matrix& w, const Job& job) {
  switch (w.coding) {
    case Coding::f32: return job.template run<DenseF32>(), true;
    case Coding::f16: return job.template run<DenseF16>(), true;
    case Coding::bf16: return job.template run<DenseBf16>(), true;
    case Coding::mxfp8: return job.template run<Mxfp8>(), true;
    default: return false;
  }
}

inline void dense_dots(const Matrix& w,
                       const float* x,
                       long x_stride,
                       int rows,
                       int from,
                       int to,
                       float* y,
                       long stride) {
  for_dense_coding(w, DenseDots{w, x, x_stride, rows, from, to, y, stride});
}

inline void unpack(const Matrix& w, int row, int column, int count, float* out) {
  if (!for_dense_coding(w, DenseNumbers{w, row, column, count, out}))
    for_coding(w, Numbers{w, row, column, count, out});
}

constexpr MatrixKernels kMatrix = {quantise, dots, dense_dots, unpack};

}  // namespace
}  // namespace mlxcpp::cpu
