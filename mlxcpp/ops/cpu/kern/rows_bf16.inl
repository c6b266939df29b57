// Products of a few rows with dot products of bfloat16 pairs: weights are decoded into registers
// and meet all rows of activations there, so that nothing is transposed or written in between.
#if defined(__AVX512BF16__)
namespace mlxcpp::cpu {
namespace {

constexpr int kMostFew = 16;  // rows; with more, panels are faster

/// Rows that kernels are made for; those that are not there are zeros.
inline int few_rows(int rows) { return rows <= 6 ? 6 : rows <= 8 ? 8 : rows <= 12 ? 12 : 16; }

/// Columns whose activations stay in the first cache beside weights of so many bytes for 64 of
/// them; all stretches about as long.
inline int few_columns(int rows, int columns, int bytes) {
  int most = (bytes > 64 ? 24 << 10 : 32 << 10) / (2 * rows), parts = (columns + most - 1) / most;
  return ((columns + parts - 1) / parts + 255) / 256 * 256;
}
inline size_t few_packed_bytes(int rows, int columns) {
  return (size_t)few_rows(rows) * ((columns + 63) / 64) * 128;
}

/// Row by row of a block, as [32 columns][row].
inline void few_pack(const InputRows& x, int from, int count, void* packed) {
  int all = few_rows(x.rows), steps = (x.columns + 63) / 64 * 2;
  int to = from + count < x.rows ? from + count : all;
  for (int m = from; m < to; ++m) {
    char* out = (char*)packed + m * 64;
    const float* row = m < x.rows ? x.data + (x.index ? x.index[m] : m) * x.stride : nullptr;
    for (int s = 0; s < steps; ++s, out += all * 64)
      _mm512_store_si512(out,
                         row && 32 * s < x.columns ? to_bf16_32(row + 32 * s, x.columns - 32 * s)
                                                   : _mm512_setzero_si512());
  }
}

/// Where the weights of a row come from: T is a coding.  begin() prepares at most kSpan columns,
/// from a multiple of kBlock on; then at<i>() gives the i-th 64 columns of the next kBlock, and
/// rest() the last ones, where there are fewer.  kQuick: so few
/// instructions that two rows of weights, which share the loads of activations, do better than one;
/// even where they are decoded twice.
template <class T>
struct HalfRow {
  static constexpr bool kQuick = T::kHeaded || kIsAffine4<T> || has_tables<T, 4>();
  enum {
    kBlock = 64 * T::kPhases,
    kBytes = T::kStep,  // of a block
    kSpan = T::kPhases == 1 ? kWidth * 64 / T::kPer : kBlock
  };
  const uint8_t* p;
  alignas(64) float s[kWidth], z[kWidth];
  int group;

  MLXCPP_INLINE void start(const Matrix& w, int row, int column) {
    p = row_of(w, row) + (long)column / kBlock * kBytes;
  }
  MLXCPP_INLINE void begin(const Matrix& w, int row, int column, int columns) {
    group = 0;
    if constexpr (has_tables<T>()) return keep_head<T>(p, s);
    piece_scales<T>(w, row, column, columns, s, z);
    asm("" : "+m"(s), "+m"(z));  // as in decode_nibbles()
  }
  template <int i>
  MLXCPP_INLINE Halves at() const {
    int g = group + i * T::kPer;
    if constexpr (T::kHeaded)
      return two_blocks<T>(p + kBytes / 2 - 16, codes_of_book<T>(), halves_shifts(), s + g, z + g);
    else if constexpr (kIsAffine4<T>)
      return affine4(p, s + g, z + g);
    else if constexpr (has_tables<T>())
      return two_groups<T, i>(p, s);
    else
      return numbers_64<T>(T::template codes<i>(p), s + g, z + g, 64);
  }
  MLXCPP_INLINE Halves rest(int columns) const {
    uint8_t t[128] = {};
    memcpy(t, p, bytes_of<T>(columns));
    return numbers_64<T>(T::template codes<0>(t), s + group, z + group, columns);
  }
  MLXCPP_INLINE void next() { p += kBytes, group += T::kPer * T::kPhases; }

 private:
  static MLXCPP_INLINE Halves affine4(const uint8_t* p, const float* s, const float* z) {
    auto table = [&](int g) { return affine4_table(_mm512_set1_ps(s[g]), _mm512_set1_ps(z[g])); };
    __m512i one = table(0), two = T::kPer == 2 ? table(1) : one;
    return {look_up_16(p, one), look_up_16(p + 16, two)};
  }
};
template <>
struct HalfRow<DenseBf16> {
  static constexpr bool kQuick = true;
  enum { kBlock = 64, kBytes = 128, kSpan = 1 << 30 };
  const uint8_t* p;
  MLXCPP_INLINE void start(const Matrix& w, int row, int column) {
    p = row_of(w, row) + 2l * column;
  }
  MLXCPP_INLINE void begin(const Matrix&, int, int, int) {}
  template <int>
  MLXCPP_INLINE Halves at() const {
    return {_mm512_loadu_si512(p), _mm512_loadu_si512(p + 64)};
  }
  MLXCPP_INLINE Halves rest(int columns) const {
    uint64_t there = ((uint64_t)1 << columns) - 1;
    return {_mm512_maskz_loadu_epi16((__mmask32)there, p),
            _mm512_maskz_loadu_epi16((__mmask32)(there >> 32), p + 64)};
  }
  MLXCPP_INLINE void next() { p += kBytes; }
};
/// All others, by way of memory.
struct DecodedCoding {};
template <>
struct HalfRow<DecodedCoding> {
  static constexpr bool kQuick = false;
  enum { kBlock = 64, kBytes = 64, kSpan = kHalfPiece };
  HalfDecode decode;
  char* p;
  alignas(64) char tiles[kHalfPiece / 32 * kHalfTile];
  MLXCPP_INLINE void start(const Matrix& w, int, int) { decode = half_decode(w); }
  MLXCPP_INLINE void begin(const Matrix& w, int row, int column, int columns) {
    decode(w, row, column, columns, tiles);
    p = tiles;
  }
  template <int>
  MLXCPP_INLINE Halves at() const {
    return {_mm512_load_si512(p), _mm512_load_si512(p + kHalfTile)};
  }
  MLXCPP_INLINE Halves rest(int columns) const {
    return {_mm512_load_si512(p),
            columns > 32 ? _mm512_load_si512(p + kHalfTile) : _mm512_setzero_si512()};
  }
  MLXCPP_INLINE void next() { p += 2 * kHalfTile; }
};

/// R outputs with M rows, of kAll that activations are packed for.
template <class T, int M, int R, int kAll>
struct FewWalk {
  HalfRow<T> from[R];

  static MLXCPP_INLINE void multiply(const Halves (&h)[R], const char* x, F (&acc)[R][M]) {
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      __m512bh a = (__m512bh)_mm512_load_si512(x + m * 64);
      for (int r = 0; r < R; ++r)
        acc[r][m].v = _mm512_dpbf16_ps(acc[r][m].v, a, (__m512bh)h[r].first);
    }
#pragma GCC unroll 16
    for (int m = 0; m < M; ++m) {
      __m512bh a = (__m512bh)_mm512_load_si512(x + (kAll + m) * 64);
      for (int r = 0; r < R; ++r)
        acc[r][m].v = _mm512_dpbf16_ps(acc[r][m].v, a, (__m512bh)h[r].second);
    }
  }
  template <int i>
  MLXCPP_INLINE void step(const char* x, F (&acc)[R][M]) {
    Halves h[R];
    for (int r = 0; r < R; ++r) h[r] = from[r].template at<i>();
    multiply(h, x, acc);
  }

  /// Columns [column, to); `ahead` is what will be wanted later, as long as these columns of a row.
  MLXCPP_INLINE void run(const Matrix& w,
                         const int* rows,
                         const char* x,
                         int column,
                         int to,
                         const uint8_t* ahead,
                         bool near,
                         F (&out)[R][M]) {
    F acc[R][M];
    constexpr int kBlock = HalfRow<T>::kBlock, kBytes = HalfRow<T>::kBytes, kX = 2 * kAll * 64;
    for (int r = 0; r < R; ++r) {
      from[r].start(w, rows[r], column);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) acc[r][m] = zero();
    }
    x += (long)column * 2 * kAll;
    for (; column < to; column += HalfRow<T>::kSpan) {
      int n = to - column < HalfRow<T>::kSpan ? to - column : (int)HalfRow<T>::kSpan;
      for (int r = 0; r < R; ++r) from[r].begin(w, rows[r], column, n);
      for (; n >= kBlock; n -= kBlock) {
        step<0>(x, acc), x += kX;
        if constexpr (kBlock == 256) {
          step<1>(x, acc), x += kX;
          step<2>(x, acc), x += kX;
          step<3>(x, acc), x += kX;
        }
        for (int r = 0; r < R; ++r, ahead += w.row_bytes)
          for (int b = 0; b < kBytes; b += 64)
            near ? __builtin_prefetch(ahead + b, 0, 3) : __builtin_prefetch(ahead + b, 0, 2);
        ahead += kBytes - R * w.row_bytes;
        for (int r = 0; r < R; ++r) from[r].next();
      }
      if constexpr (kBlock == 64)
        if (n > 0) {
          Halves h[R];
          for (int r = 0; r < R; ++r) h[r] = from[r].rest(n);
          multiply(h, x, acc);
        }
    }
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) out[r][m] = acc[r][m];
  }
};

/// Outputs [from, to) of all rows, into sums: (kAll, to - from); M rows at a time, which divides
/// kAll: the second time weights are near.
template <class T, int M, int R, int kAll = M>
inline void few_outputs(const Matrix& w, const char* x, int from, int to, float* sums) {
  int count = to - from,
      part = few_columns(kAll, w.columns, HalfRow<T>::kBytes * 64 / HalfRow<T>::kBlock);
  long bytes = w.row_bytes * (part < w.columns ? part : w.columns) / w.columns;
  // Whole rows are read in the order of memory: the first cache's prefetcher follows.  Stretches
  // are not, so they are fetched into it.
  bool near = part < w.columns;
  int far = (int)((near ? 3072 : 8192) / (bytes > 0 ? bytes : 1)) + 1;  // rows fetched ahead
  far = (far + R - 1) / R * R;
  for (int k = 0; k < w.columns; k += part) {
    int end = k + part < w.columns ? k + part : w.columns;
    for (int n = from; n < to; n += R) {
      int rows[R];
      for (int r = 0; r < R; ++r) rows[r] = n + r < to ? n + r : to - 1;
      int next = n + far, next_k = k;
      if (next >= to && near) next -= count, next_k += part;
      const uint8_t* ahead = row_of(w, next) + w.row_bytes * next_k / w.columns;
      for (int first = 0; first < kAll; first += M) {
        FewWalk<T, M, R, kAll> walk;
        F found[R][M];
        walk.run(w, rows, x + first * 64, k, end, ahead, near, found);
        for (int r = 0; r < R && n + r < to; ++r)
          for (int m = 0; m < M; m += 4) {
            float t[4];
            auto& a = found[r];
            sum_four(a[m], a[m + 1], a[m + 2 < M ? m + 2 : m], a[m + 3 < M ? m + 3 : m], 1, t);
            for (int i = 0; i < 4 && m + i < M; ++i) {
              float* y = sums + (first + m + i) * count + n + r - from;
              *y = k == 0 ? t[i] : *y + t[i];
            }
          }
      }
    }
  }
}

struct FewRows {
  const Matrix& w;
  const char* x;
  int rows, from, to;
  float* sums;
  template <class T>
  void run() const {
    constexpr int kTwo = HalfRow<T>::kQuick ? 2 : 1, kHalf = HalfRow<T>::kQuick ? 8 : 16;
    switch (few_rows(rows)) {
      case 6: return few_outputs<T, 6, 2>(w, x, from, to, sums);
      case 8: return few_outputs<T, 8, 2>(w, x, from, to, sums);
      case 12: return few_outputs<T, 12, kTwo>(w, x, from, to, sums);
      default: return few_outputs<T, kHalf, kTwo, 16>(w, x, from, to, sums);
    }
  }
};

inline size_t few_scratch_bytes(int outputs) { return sizeof(float) * kMostFew * (size_t)outputs; }

inline void few_panel(const Matrix& w,
                      const void* packed,
                      int rows,
                      int from,
                      int to,
                      void* scratch,
                      const OutputRows& y) {
  float* sums = (float*)scratch;
  FewRows job{w, (const char*)packed, rows, from, to, sums};
  if (w.coding == Coding::bf16)
    job.run<DenseBf16>();
  else if (w.coding == Coding::f16 || w.coding == Coding::mxfp8)
    job.run<DecodedCoding>();
  else
    for_coding(w, job);
  for (int m = 0; m < rows; ++m) write_outputs(sums + m * (to - from), m, from, to - from, y);
}

}  // namespace
}  // namespace mlxcpp::cpu
#endif
