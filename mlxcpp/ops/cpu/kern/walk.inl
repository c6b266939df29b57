// Quantised weights and a few rows of activations, step by step over the columns.  How a tier takes
// several chunks or blocks in a step, walk_avx2.inl and walk_avx512.inl say.
namespace mlxcpp::cpu {
namespace {

constexpr int kSegment = 16;  // times 64 columns: between two decodings of scales

template <class T>
constexpr int kLevel = T::kPer == 4   ? 0
                       : T::kPer == 2 ? 1
                                      : 2;
/// Bytes of `columns` of them, at most 64.
template <class T>
constexpr int bytes_of(int columns) {
  static_assert(T::kPhases == 1, "blocks of 256 columns are never cut");
  return T::kStep * columns / 64;
}

/// Whether the first sixteen of each 32 columns come first.
template <class T>
constexpr bool halved = (T::kMerged || T::kHeaded) && !T::kSplit;
template <class T>
inline Planes planes_of(const QuantisedRows& x, long at) {
  const signed char* high = T::kSplit ? x.high_split : halved<T> ? x.high_halves : x.high;
  const signed char* low = T::kSplit ? x.low_split : halved<T> ? x.low_halves : x.low;
  return {(const int8_t*)high + at, (const int8_t*)low + at, x.wide + at};
}

/// Of blocks of 256 columns: n groups from `first` on, the first of a block; zeros up to a multiple
/// of kWidth.
template <class T>
inline void scales_of_blocks(const Matrix& w, int row, int first, int n, float* s, float* z) {
  constexpr int kGroups = 4 * T::kPer;
  const uint8_t* p = row_of(w, row) + (long)(first / kGroups) * T::kStep;
  int i = 0;
  for (; i < n; i += kGroups, p += T::kStep) T::block_scales(p, s + i, z + i);
  for (; i % kWidth; ++i) s[i] = z[i] = 0;
}

/// Blocks of 256 columns whose heads are read where their codes are.
template <class T>
constexpr bool has_head() {
  if constexpr (T::kPhases == 4) return T::kHead;
  return false;
}

/// R rows of weights with M of activations, in steps over all columns.
template <class T, int M, int R>
struct Walk {
  enum { kGroups = kSegment * T::kPer };
  explicit Walk(const QuantisedRows& rows) : x(rows) {}
  const QuantisedRows& x;
  const uint8_t* next;  // what is fetched ahead
  long together;        // bytes of R rows
  long x_row[M];        // where the rows of activations begin; the last may be there twice
  alignas(64) float scales[R][M][kGroups];  // of a segment, or of a block

  /// Rows of activations that are not there are the last one again.
  MLXCPP_INLINE int x_index(int m) const { return M == 1 || m < x.rows ? m : x.rows - 1; }
  MLXCPP_INLINE long x_group(int m) const { return M == 1 ? 0 : x_index(m) * x.group_stride; }

  /// Scales of chunks [from, to), times those of the activations; zeros times their sums.
  MLXCPP_INLINE void decode_scales(
      const Matrix& w, const int* rows, int from, int to, F (&acc)[R][M]) {
    int first = from * T::kPer, n = to * T::kPer, all = w.columns / (64 / T::kPer);
    n = (n < all ? n : all) - first;
    if constexpr (T::kPhases == 1) {
      int i = 0;
      for (; i + kWidth <= n; i += kWidth) decode_some(w, rows, first, i, kWidth, acc);
      if (i < n) decode_some(w, rows, first, i, n - i, acc);
    } else {
      for (int r = 0; r < R; ++r) {
        alignas(64) float s[kGroups], z[kGroups];
        scales_of_blocks<T>(w, rows[r], first, n, s, z);
        for (int i = 0; i < n; i += kWidth) keep_scales(r, first, i, load(s + i), load(z + i), acc);
      }
    }
  }
  MLXCPP_INLINE void decode_some(
      const Matrix& w, const int* rows, int first, int i, int n, F (&acc)[R][M]) {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      F s, z;
      T::scales(w, rows[r], first + i, n, &s, &z);
      keep_scales(r, first, i, s, z, acc);
    }
  }
  MLXCPP_INLINE void keep_scales(int r, int first, int i, F s, F z, F (&acc)[R][M]) {
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      long group = x_group(m) + first + i;
      store(scales[r][m] + i, s * load(x.scales[kLevel<T>] + group));
      acc[r][m] = fma(z, load(x.sums[kLevel<T>] + group), acc[r][m]);
    }
  }

  template <int i>
  MLXCPP_INLINE void chunk(const uint8_t* const* from, int at, int in_segment, F (&acc)[R][M]) {
    for (int r = 0; r < R; ++r) {
      Bytes codes = T::template codes<i>(from[r]);
      for (int m = 0; m < M; ++m)
        acc[r][m] = add_chunk<T>(acc[r][m],
                                 codes,
                                 planes_of<T>(x, x_row[m] + 64L * at),
                                 scales[r][m] + in_segment * T::kPer);
    }
  }

  // Of codings that are kMerged:
  /// Two chunks whose codes are halves of bytes; fewer columns where there are no more.
  void merged(const uint8_t* const* from, int columns, int at, int in_segment, F (&acc)[R][M]);
  /// One chunk, rows two by two.
  void paired(const uint8_t* const* from, int at, int in_segment, F (&acc)[R][M]);
  /// As merged() and paired(), with the heads of the blocks: chunk `at` and the one after it, or
  /// the last one of two rows.  Of codings that are not kMerged, one chunk.
  template <bool kTwoRows>
  void headed(const uint8_t* const* from, int at, F (&acc)[R][M]);
  /// A block of 256 columns with its head.
  void block(const uint8_t* const* from, int at, F (&acc)[R][M]);
#if defined(__AVX512F__)
  template <int i>
  void of_block(const uint8_t* const* from, int at, const F (&scale)[R][M], F (&acc)[R][M]);
#elif defined(__AVX2__)
  template <int i>
  void of_block(const uint8_t* const* from, int at, F (&acc)[R][M]);
  F of_zeros[R == 4 ? 1 : R][M];  // of headed(): sums of zeros, or of scales, times activations
#endif
  /// Sums that are not in `acc` before the end.
  void start();
  void finish(F (&acc)[R][M]);

  MLXCPP_INLINE void step(const uint8_t** p, int at, int in_segment, F (&acc)[R][M]) {
    if constexpr (T::kHeaded) {
#if defined(__AVX512F__)
      for (int r = 0; r < R; ++r) __builtin_prefetch(p[r] + together, 0, 3);
#endif
      headed<false>(p, at, acc);
    } else if constexpr (has_head<T>())
      block(p, at, acc);
    else if constexpr (T::kMerged)
      merged(p, 128, at, in_segment, acc);
    else
      chunk<0>(p, at, in_segment, acc);
    if constexpr (T::kPhases == 4 && !has_head<T>()) {
      chunk<1>(p, at + 1, in_segment + 1, acc);
      chunk<2>(p, at + 2, in_segment + 2, acc);
      chunk<3>(p, at + 3, in_segment + 3, acc);
    }
    fetch(R * kBytes);
    for (int r = 0; r < R; ++r) p[r] += kBytes;
  }
  /// Brings the next bytes into the second cache, in the order of memory; the first one's
  /// prefetcher follows.
  MLXCPP_INLINE void fetch(int bytes) {
    for (int b = 0; b < bytes; b += 64) __builtin_prefetch(next + b, 0, 2);
    next += bytes;
  }

  /// Fewer than 128 columns at the end, of codings that take so many together.
  MLXCPP_INLINE void last(const Matrix& w,
                          const int* rows,
                          const uint8_t* const* p,
                          int at,
                          int in_segment,
                          F (&acc)[R][M]) {
    fetch(R * kBytes / 2);
    int columns = w.columns - 64 * at;
    bool two = R % 2 == 0 && columns == 64;
    if constexpr (T::kHeaded && R % 2 == 0)
      if (two) return headed<true>(p, at, acc);
    if constexpr (T::kHeaded) {
      decode_scales(w, rows, at, at + (columns + 63) / 64, acc);
      in_segment = 0;
    }
    if (two)
      paired(p, at, in_segment, acc);
    else
      merged(p, columns, at, in_segment, acc);
  }
  /// Fewer than 64 columns at the end: nothing behind them is read.
  MLXCPP_INLINE void rest(
      const uint8_t* const* p, int columns, int at, int in_segment, F (&acc)[R][M]) {
    uint8_t t[R][128];
    const uint8_t* from[R];
    for (int r = 0; r < R; ++r) {
      memset(t[r], 0, sizeof t[r]);
      memcpy(t[r], p[r], bytes_of<T>(columns));
      from[r] = t[r];
    }
    if constexpr (T::kHeaded) return headed<false>(from, at, acc);
    chunk<0>(from, at, in_segment, acc);
  }

  enum {
    kAhead = 8192,                          // bytes between what is fetched and what is used
    kChunks = T::kMerged ? 2 : T::kPhases,  // of a step
    kBytes = T::kMerged ? 2 * T::kStep : T::kStep
  };
  MLXCPP_INLINE void run(const Matrix& w, const int* rows, F (&out)[R][M]) {
    const uint8_t* p[R];
    F acc[R][M];
    together = R * w.row_bytes;
    next = row_of(w, rows[0]) + (kAhead / together + 1) * together;
    for (int m = 0; m < M; ++m) x_row[m] = (long)x_index(m) * x.padded;
    for (int r = 0; r < R; ++r) {
      p[r] = row_of(w, rows[r]);
      for (int m = 0; m < M; ++m) acc[r][m] = zero();
    }
    start();
    int full = w.columns / 64, tail = w.columns % 64, chunks = full + (tail != 0);
    for (int from = 0; from < chunks; from += kSegment) {
      int to = from + kSegment < chunks ? from + kSegment : chunks, c = from;
      if constexpr (!T::kHeaded && !has_head<T>()) decode_scales(w, rows, from, to, acc);
      int end = to < full ? to : full;
#pragma GCC unroll 2
      for (; c + kChunks <= end; c += kChunks) step(p, c, c - from, acc);
      if constexpr (T::kMerged)
        if (c < to) last(w, rows, p, c, c - from, acc);
      if constexpr (T::kPhases == 1 && !T::kMerged)
        if (c < to) rest(p, tail, c, c - from, acc);
    }
    finish(acc);
    for (int r = 0; r < R; ++r)
      for (int m = 0; m < M; ++m) out[r][m] = acc[r][m];
  }
};
#if !defined(__AVX2__) || defined(__AVX512F__)
template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::start() {}
template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::finish(F (&)[R][M]) {}
#endif

}  // namespace
}  // namespace mlxcpp::cpu
