// Products of many rows in float32.  Activations are packed in blocks of kGemmRows rows, weights in
// panels of kGemmOutputs outputs; a panel of kGemmDepth columns stays in the first cache while all
// rows pass it.
namespace mlxcpp::cpu {
namespace {

// Sums in registers: 14 x 2 of 32, 6 x 2 of 16, 6 x 4 of 32.
#if defined(__AVX512F__)
constexpr int kGemmRows = 14, kGemmVectors = 2;
#elif defined(__ARM_NEON)
constexpr int kGemmRows = 6, kGemmVectors = 4;
#else
constexpr int kGemmRows = 6, kGemmVectors = 2;
#endif
constexpr int kGemmOutputs = kGemmVectors * kWidth;
constexpr int kGemmDepth = 256;  // a multiple of every block and group

/// Numbers [column, column + count) of a row; `count` is arbitrary where there are no groups.
inline void weights_f32(const Matrix& w, int row, int column, int count, float* out) {
  const char* p = (const char*)w.data + (long)row * w.row_bytes;
  int k = 0;
  switch (w.coding) {
    case Coding::f32: {
      const float* f = (const float*)p + column;
      for (; k + kWidth <= count; k += kWidth) store(out + k, load(f + k));
      for (; k < count; ++k) out[k] = f[k];
      return;
    }
    case Coding::bf16: {
      const uint16_t* h = (const uint16_t*)p + column;
      for (; k + kWidth <= count; k += kWidth) store(out + k, load_bf16(h + k));
      for (; k < count; ++k) out[k] = from_bf16(h[k]);
      return;
    }
    case Coding::f16: {
      const uint16_t* h = (const uint16_t*)p + column;
      for (; k + kWidth <= count; k += kWidth) store(out + k, load_f16(h + k));
      for (; k < count; ++k) out[k] = from_f16(h[k]);
      return;
    }
    default: kMatrix.unpack(w, row, column, count, out);
  }
}

/// Blocks of at most so many rows, and how many each but the last one has: about the same, since
/// few rows keep the units waiting for sums.
inline int row_blocks(int rows, int most) { return (rows + most - 1) / most; }
inline int rows_of_block(int rows, int most) {
  int blocks = row_blocks(rows, most);
  return (rows + blocks - 1) / blocks;
}

inline size_t gemm_f32_packed_bytes(int rows, int columns) {
  return sizeof(float) * (size_t)(row_blocks(rows, kGemmRows) * kGemmRows) * columns;
}

/// Block by block: [column][row].
inline void gemm_f32_pack(const InputRows& x, int block, void* packed) {
  int most = rows_of_block(x.rows, kGemmRows), from = block * most;
  int rows = x.rows - from < most ? x.rows - from : most;
  float* out = (float*)packed + (size_t)block * kGemmRows * x.columns;
  for (int i = 0; i < kGemmRows; ++i) {
    int m = i < rows ? from + i : from;  // rows that are not there are never read again
    const float* row = x.data + (x.index ? x.index[m] : m) * x.stride;
    for (int k = 0; k < x.columns; ++k) out[(size_t)k * kGemmRows + i] = row[k];
  }
}

struct MultiplyF32 {
  static F add(F x, F w, F sum) { return fma(x, w, sum); }
};

/// c[row][kGemmOutputs] += a[column][kGemmRows] b[column][kGemmOutputs], R rows.  What a number is,
/// a float or two bfloat16, Multiply knows.
template <class Multiply, int R>
inline void gemm_block(const float* a, const float* b, int depth, bool fresh, float* c) {
  F sums[R][kGemmVectors];
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kGemmVectors; ++j) sums[i][j] = zero();
  for (int k = 0; k < depth; ++k, a += kGemmRows, b += kGemmOutputs) {
    F v[kGemmVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kGemmVectors; ++j) v[j] = load(b + j * kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      F x = set(a[i]);
#pragma GCC unroll 4
      for (int j = 0; j < kGemmVectors; ++j) sums[i][j] = Multiply::add(x, v[j], sums[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kGemmVectors; ++j) {
      float* p = c + i * kGemmOutputs + j * kWidth;
      store(p, fresh ? sums[i][j] : load(p) + sums[i][j]);
    }
}

template <class Multiply, int R = kGemmRows>
inline void gemm_rows(int rows, const float* a, const float* b, int depth, bool fresh, float* c) {
  if (rows == R) return gemm_block<Multiply, R>(a, b, depth, fresh, c);
  if constexpr (R > 1) gemm_rows<Multiply, R - 1>(rows, a, b, depth, fresh, c);
}

/// Weights of outputs [from, from + count) as [column][kGemmOutputs]; zeros beyond.
inline void gemm_f32_weights(
    const Matrix& w, int from, int count, int column, int depth, float* out) {
  float rows[kWidth][kGemmDepth];
  // The next ones, of many rows, are fetched.
  long bytes = w.row_bytes * kGemmDepth / w.columns,
       next = w.row_bytes * column / w.columns + bytes;
  for (int j = 0; j < kGemmOutputs; j += kWidth) {
    for (int i = 0; i < kWidth; ++i) {
      const uint8_t* row = row_of(w, from + j + i);
      for (long b = 0; j + i < count && b < bytes; b += 64) __builtin_prefetch(row + next + b);
      if (j + i < count)
        weights_f32(w, from + j + i, column, depth, rows[i]);
      else
        memset(rows[i], 0, sizeof(float) * depth);
    }
    int k = 0;
    for (; k + kWidth <= depth; k += kWidth) {
      F t[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) t[i] = load(rows[i] + k);
      transpose(t);
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) store(out + (k + i) * kGemmOutputs + j, t[i]);
    }
    for (; k < depth; ++k)
      for (int i = 0; i < kWidth; ++i) out[k * kGemmOutputs + j + i] = rows[i][k];
  }
}

/// One row of a panel, from its sums.
inline void write_outputs(const float* sums, int m, int from, int count, const OutputRows& y) {
  float* out = y.data + (y.index ? y.index[m] : m) * y.stride + from;
  const float* bias = y.bias ? y.bias + from : nullptr;
  const float* residual = y.residual ? y.residual + m * y.residual_stride + from : nullptr;
  int n = 0;
  for (; n + kWidth <= count; n += kWidth) {
    F v = load(sums + n);
    if (bias) v = v + load(bias + n);
    if (residual) v = v + load(residual + n);
    store(out + n, v);
  }
  for (; n < count; ++n) {
    float v = sums[n];
    if (bias) v += bias[n];
    if (residual) v += residual[n];
    out[n] = v;
  }
}

inline size_t gemm_f32_scratch_bytes(int rows, int, int) {
  return sizeof(float) * kGemmOutputs * ((size_t)kGemmDepth + rows);
}

inline void gemm_f32_panel(const Matrix& w,
                           const void* packed,
                           int rows,
                           int from,
                           int to,
                           void* scratch,
                           const OutputRows& y) {
  float* weights = (float*)scratch;
  float* sums = weights + kGemmDepth * kGemmOutputs;
  int most = rows_of_block(rows, kGemmRows);
  for (int n = from; n < to; n += kGemmOutputs) {
    int count = to - n < kGemmOutputs ? to - n : kGemmOutputs;
    for (int k = 0; k < w.columns; k += kGemmDepth) {
      int depth = w.columns - k < kGemmDepth ? w.columns - k : kGemmDepth;
      gemm_f32_weights(w, n, count, k, depth, weights);
      const float* a = (const float*)packed + (size_t)k * kGemmRows;
      for (int m = 0; m < rows; m += most, a += (size_t)kGemmRows * w.columns) {
        int r = rows - m < most ? rows - m : most;
        gemm_rows<MultiplyF32>(r, a, weights, depth, k == 0, sums + m * kGemmOutputs);
      }
    }
    for (int m = 0; m < rows; ++m) write_outputs(sums + m * kGemmOutputs, m, n, count, y);
  }
}

#if defined(__AVX512VNNI__)
constexpr int kGemmLeastRows = 12;  // four rows at a time come near to panels
#else
constexpr int kGemmLeastRows = kMaxRows + 1;
#endif
constexpr GemmKernels kGemmF32 = {kGemmRows,
                                  kGemmLeastRows,
                                  kMaxRows + 1,
                                  gemm_f32_packed_bytes,
                                  gemm_f32_pack,
                                  gemm_f32_scratch_bytes,
                                  gemm_f32_panel};

}  // namespace
}  // namespace mlxcpp::cpu
