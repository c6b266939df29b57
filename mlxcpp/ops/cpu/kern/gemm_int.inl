// Products of many rows in 16-bit integers: activations as dots.inl has them, codes as they are,
// sums of a group exact.  An instruction makes twice as many products as one of float32.
#if defined(__AVX2__) && !defined(__AVX512F__)
namespace mlxcpp::cpu {
namespace {

constexpr int kIntRows = 6, kIntVectors = 2, kIntOutputs = kIntVectors * kWidth;
constexpr int kIntDepth = 256;  // columns of a panel: every block divides it

// Of a chunk of 64 columns, block by block: 32 pairs of activations for each row, then the scale
// of each row, then the sums of 16, 32 and 64 columns.
constexpr int kIntScale = 32, kIntSums = 33, kIntWords = 40;
template <int kPer>
constexpr int kIntSumsFrom = kIntSums + (kPer == 4   ? 0
                                         : kPer == 2 ? 4
                                                     : 6);

inline int chunks_of(int columns) { return (columns + 63) / 64; }

inline size_t gemm_int_packed_bytes(int rows, int columns) {
  return sizeof(int) * (size_t)row_blocks(rows, kIntRows) * kIntRows * kIntWords *
         chunks_of(columns);
}

/// Columns c and c + 4 of each eight: what masks and shifts give of codes, whose even columns come
/// first in some formats.
inline void pairs_of_64(const float* values, int* pairs) {
  for (int i = 0; i < 64; i += 8) {
    __m256i v = _mm256_cvtps_epi32(_mm256_loadu_ps(values + i));
    __m128i low = _mm_and_si128(_mm256_castsi256_si128(v), _mm_set1_epi32(0xffff));
    __m128i high = _mm_slli_epi32(_mm256_extracti128_si256(v, 1), 16);
    _mm_storeu_si128((__m128i*)(pairs + i / 2), _mm_or_si128(low, high));
  }
}

inline void gemm_int_pack(const InputRows& x, int block, void* packed) {
  int most = rows_of_block(x.rows, kIntRows), from = block * most;
  int rows = x.rows - from < most ? x.rows - from : most, chunks = chunks_of(x.columns);
  int* out = (int*)packed + (size_t)block * kIntRows * kIntWords * chunks;
  for (int i = 0; i < rows; ++i) {
    int m = from + i;
    const float* row = x.data + (x.index ? x.index[m] : m) * x.stride;
    for (int c = 0; c < chunks; ++c) {
      float rest[64], values[64], s[4];
      const float* p = row + 64 * c;
      if (int n = x.columns - 64 * c; n < 64) {
        memset(rest, 0, sizeof rest);
        memcpy(rest, p, sizeof(float) * n);
        p = rest;
      }
      float scale = quantise_chunk(p, values, s);
      int pairs[32];
      pairs_of_64(values, pairs);
      int* to = out + (size_t)c * kIntWords * kIntRows + i;
      for (int k = 0; k < 32; ++k) to[k * kIntRows] = pairs[k];
      float* f = (float*)(to + kIntScale * kIntRows);
      f[0] = scale;
      float a = s[0] + s[1], b = s[2] + s[3];
      const float sums[7] = {s[0], s[1], s[2], s[3], a, b, a + b};
      for (int k = 0; k < 7; ++k) f[(k + 1) * kIntRows] = sums[k] * scale;
    }
  }
}

/// Of a chunk: 32 pairs of codes for each output, then the scales of its groups, then their zeros.
template <int kPer>
constexpr int kChunkWords = kIntOutputs*(32 + 2 * kPer);

/// R rows of sums, kIntOutputs each: c += x * w over some chunks.
template <int kPer, bool kZeros, int R>
inline void int_block(const int* x, const int* w, int chunks, float* c) {
  for (; chunks > 0; --chunks, x += kIntWords * kIntRows, w += kChunkWords<kPer>) {
    const float* of_x = (const float*)x;
    const float* scales = (const float*)(w + 32 * kIntOutputs);
    const int *a = x, *b = w;
    for (int g = 0; g < kPer; ++g) {
      __m256i sums[R][kIntVectors];
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 4
        for (int j = 0; j < kIntVectors; ++j) sums[i][j] = _mm256_setzero_si256();
#pragma GCC unroll 2
      for (int k = 0; k < 32 / kPer; ++k, a += kIntRows, b += kIntOutputs) {
        __m256i v = load32(b), u = load32(b + kWidth);
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i)
          add_products(sums[i][0], sums[i][1], _mm256_set1_epi32(a[i]), v, u);
      }
      F s[kIntVectors], z[kIntVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kIntVectors; ++j) {
        s[j] = load(scales + g * kIntOutputs + j * kWidth);
        z[j] = load(scales + (kPer + g) * kIntOutputs + j * kWidth);
      }
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) {
        F scale = set(of_x[kIntScale * kIntRows + i]);
        F sum = set(of_x[(kIntSumsFrom<kPer> + g) * kIntRows + i]);
#pragma GCC unroll 4
        for (int j = 0; j < kIntVectors; ++j) {
          float* to = c + i * kIntOutputs + j * kWidth;
          F before = kZeros ? fma(z[j], sum, load(to)) : load(to);
          store(to, fma(floats(sums[i][j]), s[j] * scale, before));
        }
      }
    }
  }
}

template <int kPer, bool kZeros, int R = kIntRows>
inline void int_rows(int rows, const int* x, const int* w, int chunks, float* c) {
  if (rows == R) return int_block<kPer, kZeros, R>(x, w, chunks, c);
  if constexpr (R > 1) int_rows<kPer, kZeros, R - 1>(rows, x, w, chunks, c);
}

MLXCPP_INLINE void transpose_ints(__m256i* r) {
  F f[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) f[i].v = _mm256_castsi256_ps(r[i]);
  transpose(f);
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = _mm256_castps_si256(f[i].v);
}

template <int kCentre>
MLXCPP_INLINE void store_pairs(__m256i pairs, int* out) {
  _mm256_storeu_si256((__m256i*)out, _mm256_sub_epi16(pairs, _mm256_set1_epi16(kCentre)));
}
/// Codes of eight rows, less the centre, as pairs: 32 columns, or those of 64 that are even or odd.
template <int kCentre, bool kSplit>
MLXCPP_INLINE void pairs_of_codes(__m256i* r, int* out) {
  transpose_ints(r);
  const __m256i mask = _mm256_set1_epi16(255);
#pragma GCC unroll 8
  for (int d = 0; d < 8; d += kSplit ? 1 : 2, out += 4 * kIntOutputs) {
    if constexpr (kSplit) {
      store_pairs<kCentre>(_mm256_and_si256(r[d], mask), out);
      store_pairs<kCentre>(_mm256_srli_epi16(r[d], 8), out + 2 * kIntOutputs);
    } else {
      __m256i a = _mm256_and_si256(r[d], mask), b = _mm256_and_si256(r[d + 1], mask);
      __m256i c = _mm256_srli_epi16(r[d], 8), e = _mm256_srli_epi16(r[d + 1], 8);
      store_pairs<kCentre>(_mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa), out);
      store_pairs<kCentre>(_mm256_blend_epi16(c, _mm256_slli_epi32(e, 16), 0xaa),
                           out + kIntOutputs);
      store_pairs<kCentre>(_mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xaa),
                           out + 2 * kIntOutputs);
      store_pairs<kCentre>(_mm256_blend_epi16(_mm256_srli_epi32(c, 16), e, 0xaa),
                           out + 3 * kIntOutputs);
    }
  }
}

/// The i-th 64 columns from p on, n of them there.
template <class T, int i>
MLXCPP_INLINE Bytes codes_of_64(const uint8_t* p, int n) {
  uint8_t rest[T::kPhases == 1 ? 128 : 1];
  if constexpr (T::kPhases == 1)
    if (n < 64) {
      memset(rest, 0, sizeof rest);
      memcpy(rest, p, bytes_of<T>(n));
      p = rest;
    }
  return T::template codes<i>(p);
}

/// 64 codes of four bits, of eight rows: eight columns in each word once these are side by side.
MLXCPP_INLINE void pairs_of_nibbles(const uint8_t* const* rows, long at, int* out) {
  __m256i r[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) r[i] = load32(rows[i] + at);
  transpose_ints(r);
  const __m256i mask = _mm256_set1_epi16(15);
#pragma GCC unroll 8
  for (int d = 0; d < 8; ++d, out += 4 * kIntOutputs) {
    store_pairs<0>(_mm256_and_si256(r[d], mask), out);
    store_pairs<0>(_mm256_and_si256(_mm256_srli_epi16(r[d], 4), mask), out + kIntOutputs);
    store_pairs<0>(_mm256_and_si256(_mm256_srli_epi16(r[d], 8), mask), out + 2 * kIntOutputs);
    store_pairs<0>(_mm256_srli_epi16(r[d], 12), out + 3 * kIntOutputs);
  }
}

template <class T, int i>
inline void int_chunk(const uint8_t* const* rows, long at, int n, int* out) {
  constexpr int kSecond = (T::kSplit ? 1 : 16) * kIntOutputs;
  if constexpr (kIsAffine4<T>)
    if (n >= 64) {
      for (int j = 0; j < kIntVectors; ++j) pairs_of_nibbles(rows + 8 * j, at, out + j * kWidth);
      return;
    }
  for (int j = 0; j < kIntVectors; ++j) {
    __m256i a[8], b[8];
#pragma GCC unroll 8
    for (int r = 0; r < 8; ++r) {
      Bytes codes = codes_of_64<T, i>(rows[8 * j + r] + at, n);
      a[r] = codes.a, b[r] = codes.b;
    }
    pairs_of_codes<T::kCentre, T::kSplit>(a, out + j * kWidth);
    pairs_of_codes<T::kCentre, T::kSplit>(b, out + j * kWidth + kSecond);
  }
}

/// Sixteen numbers of each output to those of each group, times `factor`, in a panel.
template <int kPer>
inline void spread_scales(const float (*rows)[16], int groups, float factor, int* panel) {
  for (int j = 0; j < kIntVectors; ++j)
    for (int g = 0; g < groups; g += kWidth) {
      F t[kWidth];
#pragma GCC unroll 8
      for (int r = 0; r < kWidth; ++r) t[r] = load(rows[kWidth * j + r] + g);
      transpose(t);
      for (int i = 0; i < kWidth && g + i < groups; ++i) {
        int* chunk = panel + (g + i) / kPer * kChunkWords<kPer>;
        store((float*)chunk + (g + i) % kPer * kIntOutputs + j * kWidth, t[i] * set(factor));
      }
    }
}

/// kIntOutputs outputs from `from` on, the last one before `to` for those behind it, of columns
/// [column, column + depth).
template <class T>
inline void gemm_int_weights(const Matrix& w, int from, int to, int column, int depth, int* out) {
  constexpr int kGroups = kIntDepth / 64 * T::kPer, kGroup = 64 / T::kPer;
  const uint8_t* rows[kIntOutputs];
  alignas(32) float s[kIntOutputs][16], z[kIntOutputs][16];
  for (int r = 0; r < kIntOutputs; ++r) {
    int row = from + r < to ? from + r : to - 1;
    rows[r] = row_of(w, row) + (long)(column / 64) * T::kStep / T::kPhases;
    constexpr int kBytes = kIntDepth / 64 * T::kStep / T::kPhases;  // the next ones, of many rows
    for (int b = 0; b < kBytes; b += 64) __builtin_prefetch(rows[r] + kBytes + b);
    for (int g = 0; g < kGroups && g * kGroup < depth; g += T::kPhases == 4 ? kGroups : kWidth) {
      // As many as there are, or the load would be one by one.
      int n = w.columns - column - g * kGroup;
      int most = T::kPhases == 4 ? kIntDepth : kWidth * kGroup;
      scales_from<T>(w, row, column + g * kGroup, n < most ? n : most, s[r] + g, z[r] + g);
    }
  }
  int groups = chunks_of(depth) * T::kPer;
  spread_scales<T::kPer>(s, groups, w.factor, out + 32 * kIntOutputs);
  if (T::kCentre == 0)
    spread_scales<T::kPer>(z, groups, w.factor, out + (32 + T::kPer) * kIntOutputs);
  for (int c = 0; 64 * c < depth; ++c, out += kChunkWords<T::kPer>) {
    int n = depth - 64 * c;
    if constexpr (T::kPhases == 4) {
      if (c == 0) int_chunk<T, 0>(rows, 0, 64, out);
      if (c == 1) int_chunk<T, 1>(rows, 0, 64, out);
      if (c == 2) int_chunk<T, 2>(rows, 0, 64, out);
      if (c == 3) int_chunk<T, 3>(rows, 0, 64, out);
    } else {
      int_chunk<T, 0>(rows, (long)c * T::kStep, n, out);
    }
  }
}

// Panels that activations pass one after the other while they are in the first cache.
constexpr int kIntPanels = 2;
constexpr size_t kIntPanelWords = kIntDepth / 64 * kChunkWords<4>;
inline size_t gemm_int_scratch_bytes(int rows, int, int) {
  return sizeof(int) * kIntPanels * (kIntPanelWords + (size_t)rows * kIntOutputs);
}

struct IntPanel {
  const Matrix& w;
  const void* packed;
  int rows, from, to;
  void* scratch;
  const OutputRows& y;
  template <class T>
  void run() const {
    int* weights = (int*)scratch;
    float* sums = (float*)(weights + kIntPanels * kIntPanelWords);
    int all = chunks_of(w.columns), most = rows_of_block(rows, kIntRows);
    for (int n = from; n < to; n += kIntPanels * kIntOutputs) {
      int panels = to - n > kIntOutputs ? kIntPanels : 1;
      memset(sums, 0, sizeof(float) * rows * panels * kIntOutputs);
      for (int k = 0; k < w.columns; k += kIntDepth) {
        int depth = w.columns - k < kIntDepth ? w.columns - k : kIntDepth;
        for (int p = 0; p < panels; ++p)
          gemm_int_weights<T>(w, n + p * kIntOutputs, to, k, depth, weights + p * kIntPanelWords);
        const int* x = (const int*)packed + (size_t)(k / 64) * kIntRows * kIntWords;
        for (int m = 0; m < rows; m += most, x += (size_t)all * kIntRows * kIntWords) {
          int r = rows - m < most ? rows - m : most;
          for (int p = 0; p < panels; ++p)
            int_rows<T::kPer, T::kCentre == 0>(r,
                                               x,
                                               weights + p * kIntPanelWords,
                                               chunks_of(depth),
                                               sums + (p * rows + m) * kIntOutputs);
        }
      }
      for (int p = 0; p < panels; ++p)
        for (int m = 0; m < rows; ++m) {
          int first = n + p * kIntOutputs;
          int count = to - first < kIntOutputs ? to - first : kIntOutputs;
          write_outputs(sums + (p * rows + m) * kIntOutputs, m, first, count, y);
        }
    }
  }
};

inline void gemm_int_panel(const Matrix& w,
                           const void* packed,
                           int rows,
                           int from,
                           int to,
                           void* scratch,
                           const OutputRows& y) {
  for_coding(w, IntPanel{w, packed, rows, from, to, scratch, y});
}

constexpr GemmKernels kGemmInt = {kIntRows,
                                  kMaxRows + 1,
                                  kMaxRows + 1,
                                  gemm_int_packed_bytes,
                                  gemm_int_pack,
                                  gemm_int_scratch_bytes,
                                  gemm_int_panel};

}  // namespace
}  // namespace mlxcpp::cpu
#endif
