// Products of quantised weights with few rows of activations, and weights as numbers.
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
  alignas(64) float scales[R][M][kGroups];

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
      long group = (m < x.rows ? m : x.rows - 1) * x.group_stride + first + i;
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
  void of_block(const uint8_t* from, int at, const F (&scale)[M], F (&acc)[M]);
#elif defined(__AVX2__)
  enum { kHeadVectors = T::kPer == 4 ? 2 : 1 };
  template <int i>
  void of_block(const uint8_t* from,
                int at,
                const F (&scale)[M][kHeadVectors],
                const float (&each)[M][8],
                F (&acc)[M]);
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
    for (int m = 0; m < M; ++m) x_row[m] = (long)(m < x.rows ? m : x.rows - 1) * x.padded;
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

#if defined(__AVX512F__)
template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::merged(
    const uint8_t* const* from, int columns, int at, int in_segment, F (&acc)[R][M]) {
  for (int r = 0; r < R; ++r) {
    Bytes b = columns == 128 ? T::halves(from[r]) : T::halves_part(from[r], columns);
    Bytes low = T::low(b), high = T::high(b);
    for (int m = 0; m < M; ++m)
      acc[r][m] = accumulate_both<T::kPer>(
          acc[r][m],
          dot_both<T::kBig>(low, high, planes_of<T>(x, x_row[m] + 64L * at)),
          scales[r][m] + in_segment * T::kPer);
  }
}

template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::paired(const uint8_t* const* from,
                                         int at,
                                         int in_segment,
                                         F (&acc)[R][M]) {
  for (int r = 0; r + 1 < R; r += 2) {
    Bytes b = T::halves_pair(from[r], from[r + 1]), low = T::low(b), high = T::high(b);
    for (int m = 0; m < M; ++m) {
      Ints d = dot_pair<T::kBig>(low, high, planes_of<T>(x, x_row[m] + 64L * at));
      const float *s = scales[r][m], *t = scales[r + 1][m];
      int i = in_segment * T::kPer;
      accumulate_pair<T::kPer>(acc[r][m], acc[r + 1][m], d, s + i, t + i);
    }
  }
}

template <class T, int M, int R>
template <int i>
MLXCPP_INLINE void Walk<T, M, R>::of_block(const uint8_t* from,
                                           int at,
                                           const F (&scale)[M],
                                           F (&acc)[M]) {
  Bytes codes = T::template codes<i>(from);
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    Ints d = dot<T::kBig>(codes, planes_of<T>(x, x_row[m] + 64L * (at + i)));
    acc[m] = fma(as_floats(d), spread_scales<T::kPer, i>(scale[m]), acc[m]);
  }
}

template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::block(const uint8_t* const* from, int at, F (&acc)[R][M]) {
  BlockSums of_x[M];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    long group = (m < x.rows ? m : x.rows - 1) * x.group_stride + (long)T::kPer * at;
    of_x[m] = T::head_sums(x.scales[kLevel<T>] + group, x.sums[kLevel<T>] + group);
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    F head = T::head(from[r]), scale[M];
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      acc[r][m] = fma(head, of_x[m].sums, acc[r][m]);
      scale[m] = head * of_x[m].scales;
    }
    of_block<0>(from[r], at, scale, acc[r]);
    of_block<1>(from[r], at, scale, acc[r]);
    of_block<2>(from[r], at, scale, acc[r]);
    of_block<3>(from[r], at, scale, acc[r]);
  }
}

template <class T, int M, int R>
template <bool kTwoRows>
MLXCPP_INLINE void Walk<T, M, R>::headed(const uint8_t* const* from, int at, F (&acc)[R][M]) {
  F of_x[M], sums[M];
  for (int m = 0; m < M; ++m) {
    long group = (m < x.rows ? m : x.rows - 1) * x.group_stride + 2L * at;
    const float *s = x.scales[kLevel<T>] + group, *t = x.sums[kLevel<T>] + group;
    of_x[m] = scales_of_two(s, kTwoRows ? s : s + 2);
    sums[m] = T::template head_sums<kTwoRows>(t);
  }
  for (int r = 0; r < R; r += kTwoRows ? 2 : 1) {
    const uint8_t *p = from[r], *q = kTwoRows ? from[r + 1] : p;
    Heads h = T::template heads<kTwoRows>(p, q);
    Bytes b = kTwoRows ? T::halves_pair(p, q) : T::halves(p), low = T::low(b), high = T::high(b);
    for (int m = 0; m < M; ++m) {
      Planes planes = planes_of<T>(x, x_row[m] + 64L * at);
      F scale = F{h.scales} * of_x[m];
      if constexpr (kTwoRows)
        add_pair<T::kZeros>(acc[r][m],
                            acc[r + 1][m],
                            dot_pair<T::kBig>(low, high, planes),
                            scale,
                            {h.once},
                            sums[m]);
      else
        acc[r][m] = fma(as_floats(dot_both<T::kBig>(low, high, planes)),
                        scale,
                        fma({h.once}, sums[m], acc[r][m]));
    }
  }
}
#endif

#if defined(__AVX2__) && !defined(__AVX512F__)
template <class T, int M, int R>
template <bool>
MLXCPP_INLINE void Walk<T, M, R>::headed(const uint8_t* const* from, int at, F (&acc)[R][M]) {
  F of_x[M];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    long group = (m < x.rows ? m : x.rows - 1) * x.group_stride + 2L * at;
    of_x[m] = set(x.scales[kLevel<T>][group]);  // the same for 64 columns
    F sums = both_of_two(x.sums[kLevel<T>] + group);
    if constexpr (R == 4) {
      of_zeros[0][m] = fma(T::heads(from, T::kZeroAt), sums, of_zeros[0][m]);
    } else {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
        of_zeros[r][m] = fma(T::head(from[r], T::kZeroAt), sums, of_zeros[r][m]);
    }
  }
  F all = zero();
  if constexpr (R == 4) all = T::heads(from, 0);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    F scale = R == 4 ? spread_row(all, r) : T::head(from[r], 0);
    Bytes codes = T::halves(from[r]);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      F sums = floats(dot_both(codes, planes_of<T>(x, x_row[m] + 64L * at)));
      acc[r][m] = fma(sums, scale * of_x[m], acc[r][m]);
    }
  }
}

template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::start() {
  for (auto& row : of_zeros)
    for (F& sum : row) sum = zero();
}
template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::finish(F (&acc)[R][M]) {
  if constexpr (T::kHeaded)
    for (int r = 0; r < R; ++r)
      for (int m = 0; m < M; ++m)
        acc[r][m] = add_lanes(acc[r][m],
                              of_zeros[R == 4 ? 0 : r][m],
                              R == 4 ? r : 0,
                              T::kCentre > 0 ? -T::kCentre : 1);
}

/// The groups of the i-th 64 columns, in two registers of codes.
template <class T, int M, int R>
template <int i>
MLXCPP_INLINE void Walk<T, M, R>::of_block(const uint8_t* from,
                                           int at,
                                           const F (&scale)[M][kHeadVectors],
                                           const float (&each)[M][8],
                                           F (&acc)[M]) {
  Bytes codes = T::template codes<i>(from);
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    Ints d = dot<T::kBig>(codes, planes_of<T>(x, x_row[m] + 64L * (at + i)));
    F a, b;
    if constexpr (T::kPer == 2) {
      a = set(each[m][2 * i]), b = set(each[m][2 * i + 1]);
    } else {
      F s = scale[m][i / 2];
      a = spread_row(s, i % 2 * 2), b = spread_row(s, i % 2 * 2 + 1);
    }
    acc[m] = fma(floats(d.b), b, fma(floats(d.a), a, acc[m]));
  }
}

template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::block(const uint8_t* const* from, int at, F (&acc)[R][M]) {
  F of_x[M][kHeadVectors], sums[M][kHeadVectors];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    long group = (m < x.rows ? m : x.rows - 1) * x.group_stride + (long)T::kPer * at;
#pragma GCC unroll 2
    for (int v = 0; v < kHeadVectors; ++v) {
      F s = load(x.scales[kLevel<T>] + group + 8 * v), t = load(x.sums[kLevel<T>] + group + 8 * v);
      of_x[m][v] = T::kPer == 4 ? by_twos(s) : s;
      sums[m][v] = T::kPer == 4 ? by_twos(t) * set(-T::kCentre) : t;
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    BlockHead<kHeadVectors> head = T::head(from[r]);
    F scale[M][kHeadVectors];
    alignas(32) float each[M][8];
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
#pragma GCC unroll 2
      for (int v = 0; v < kHeadVectors; ++v) {
        acc[r][m] = fma(head.zeros[v], sums[m][v], acc[r][m]);
        scale[m][v] = head.scales[v] * of_x[m][v];
      }
      if (T::kPer == 2) store(each[m], scale[m][0]);
    }
    if (T::kPer == 2) asm("" : "+m"(each));  // loads that spread cost less than shuffles
    of_block<0>(from[r], at, scale, each, acc[r]);
    of_block<1>(from[r], at, scale, each, acc[r]);
    of_block<2>(from[r], at, scale, each, acc[r]);
    of_block<3>(from[r], at, scale, each, acc[r]);
  }
}
#endif

/// Outputs [from, to) for M rows of x from `first` on; R outputs at a time, the last ones perhaps
/// again, so that each output comes of the same sums wherever a call begins.
template <class T, int M, int R>
void some_dots(const Matrix& w, const QuantisedRows& x, int from, int to, float* y, long stride) {
  for (int n = from; n < to; n += R) {
    int rows[R];
    for (int r = 0; r < R; ++r) rows[r] = n + r < to ? n + r : to - 1;
    Walk<T, M, R> walk(x);
    F sums[R][M];
    walk.run(w, rows, sums);
    for (int m = 0; m < M && m < x.rows; ++m) {
      float* out = y + m * stride + n;
      float t[4];
      bool direct = R == 4 && n + R <= to;
      if constexpr (kMerges || R == 4)  // the same order of sums for any number of rows
        sum_four(sums[0][m],
                 sums[R > 1 ? 1 : 0][m],
                 sums[R > 2 ? 2 : 0][m],
                 sums[R > 3 ? 3 : 0][m],
                 w.factor,
                 direct ? out : t);
      else
        for (int r = 0; r < R; ++r) t[r] = sum(sums[r][m]) * w.factor;
      for (int r = 0; r < R && !direct; ++r)
        if (n + r < to) out[r] = t[r];
    }
  }
}

/// Of `columns` columns of a row, as many as scales() gives at once.
template <class T>
inline void scales_from(const Matrix& w, int row, int column, int columns, float* s, float* z) {
  constexpr int kGroup = 64 / T::kPer;
  int first = column / kGroup, n = (columns + kGroup - 1) / kGroup;
  if constexpr (T::kPhases == 4) {
    scales_of_blocks<T>(w, row, first, n, s, z);
  } else {
    F fs, fz;
    T::scales(w, row, first, n, &fs, &fz);
    store(s, fs), store(z, fz);
  }
}

/// `count` numbers from `column` on.
template <class T>
void some_numbers(const Matrix& w, int row, int column, int count, float* out) {
  constexpr int kBlock = 64 * T::kPhases, kGroups = T::kPer * T::kPhases, kGroup = 64 / T::kPer;
  constexpr int kSpan = T::kPhases == 1 ? kWidth * kGroup : kBlock;  // columns of one scales_from()
  const uint8_t* p = row_of(w, row) + (long)column / kBlock * T::kStep;
  if constexpr (T::kPhases == 1) p += bytes_of<T>(column % kBlock);
  alignas(64) float s[kGroups > kWidth ? kGroups : kWidth], z[kGroups > kWidth ? kGroups : kWidth];
  for (int c = 0; c < count; c += kBlock, p += T::kStep) {
    int n = count - c < kBlock ? count - c : kBlock;
    if (c % kSpan == 0)
      scales_from<T>(w, row, column + c, count - c < kSpan ? count - c : kSpan, s, z);
    const uint8_t* from = p;
    uint8_t t[T::kPhases == 1 ? 128 : 1] = {};
    if constexpr (T::kPhases == 1)
      if (n < kBlock) memcpy(t, p, bytes_of<T>(n)), from = t;
    alignas(64) uint8_t codes[kBlock];
    auto keep = [&](Bytes b, int at) { store64(codes + at, T::kSplit ? natural(b) : b); };
    keep(T::template codes<0>(from), 0);
    if constexpr (T::kPhases == 4) {
      keep(T::template codes<1>(from), 64);
      keep(T::template codes<2>(from), 128);
      keep(T::template codes<3>(from), 192);
    }
    F factor = set(w.factor);
    const float *cs = s + c % kSpan / kGroup, *cz = z + c % kSpan / kGroup;
    for (int i = 0; i < n; i += kWidth)
      store(out + c + i,
            fma(load_u8(codes + i), set(cs[i / kGroup]), set(cz[i / kGroup])) * factor);
  }
}

/// What is to be done with a coding, once its type is known.
struct Dots {
  const Matrix& w;
  const QuantisedRows& x;
  int from, to;
  float* y;
  long stride;
  template <class T>
  void run() const {
    // Rows of weights that are multiplied together share the loads of activations.
    constexpr int kTwo = kMerges ? 4 : 1, kMany = kMerges ? 2 : 1;
    if (x.rows == 1) return some_dots<T, 1, 4>(w, x, from, to, y, stride);
    if (x.rows == 2) return some_dots<T, 2, kTwo>(w, x, from, to, y, stride);
    some_dots<T, kMaxRows, kMany>(w, x, from, to, y, stride);
  }
};
struct Numbers {
  const Matrix& w;
  int row, column, count;
  float* out;
  template <class T>
  void run() const {
    some_numbers<T>(w, row, column, count, out);
  }
};

template <int kBits, class Job>
void affine(const Matrix& w, const Job& job) {
  if (w.group == 32) return job.template run<Affine<kBits, 2>>();
  job.template run<Affine<kBits, 1>>();
}
template <class Job>
void for_coding(const Matrix& w, const Job& job) {
  switch (w.coding) {
    case Coding::affine2: return affine<2>(w, job);
    case Coding::affine3: return affine<3>(w, job);
    case Coding::affine4: return affine<4>(w, job);
    case Coding::affine5: return affine<5>(w, job);
    case Coding::affine6: return affine<6>(w, job);
    case Coding::affine8: return affine<8>(w, job);
    case Coding::mxfp4: return job.template run<Mxfp4>();
    case Coding::nvfp4: return job.template run<Nvfp4>();
    case Coding::q4_0: return job.template run<Q4_0>();
    case Coding::q4_1: return job.template run<Q4_1>();
    case Coding::q5_0: return job.template run<Q5_0>();
    case Coding::q5_1: return job.template run<Q5_1>();
    case Coding::q8_0: return job.template run<Q8_0>();
    case Coding::q2_k: return job.template run<Q2K>();
    case Coding::q3_k: return job.template run<Q3K>();
    case Coding::q4_k: return job.template run<Q4K>();
    case Coding::q5_k: return job.template run<Q5K>();
    case Coding::q6_k: return job.template run<Q6K>();
    case Coding::iq4_nl: return job.template run<Iq4Nl>();
    case Coding::iq4_xs: return job.template run<Iq4Xs>();
    default: break;  // dense.inl has the others
  }
}

inline void dots(const Matrix& w, const QuantisedRows& x, int from, int to, float* y, long stride) {
  for_coding(w, Dots{w, x, from, to, y, stride});
}

}  // namespace
}  // namespace mlxcpp::cpu
