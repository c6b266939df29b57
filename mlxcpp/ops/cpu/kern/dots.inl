// Products of quantised weights with few rows of activations, and weights as numbers.
namespace mlxcpp::cpu {
namespace {

#define MLXCPP_INLINE inline __attribute__((always_inline))

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

inline Planes planes_of(const QuantisedRows& x, long at, bool split) {
  return {(const int8_t*)(split ? x.high_split : x.high) + at,
          (const int8_t*)(split ? x.low_split : x.low) + at,
          x.wide + at};
}

/// R rows of weights with M of activations, in steps over all columns.
template <class T, int M, int R>
struct Walk {
  enum { kGroups = kSegment * T::kPer };
  const QuantisedRows& x;
  long x_row[M];  // where the rows of activations begin; the last may be there twice
  alignas(64) float scales[R][M][kGroups];

  /// Scales of chunks [from, to), times those of the activations; zeros times their sums.
  MLXCPP_INLINE void decode_scales(
      const Matrix& w, const int* rows, int from, int to, F (&acc)[R][M]) {
    int first = from * T::kPer, n = to * T::kPer, all = w.columns / (64 / T::kPer);
    n = (n < all ? n : all) - first;
    alignas(64) float s[kGroups], z[kGroups];
    for (int r = 0; r < R; ++r) {
      T::scales(w, rows[r], first, n, s, z);
      for (int m = 0; m < M; ++m) {
        long group = (m < x.rows ? m : x.rows - 1) * x.group_stride + first;
        const float *xs = x.scales[kLevel<T>] + group, *sums = x.sums[kLevel<T>] + group;
        for (int i = 0; i < n; i += kWidth) {
          store(scales[r][m] + i, load(s + i) * load(xs + i));
          acc[r][m] = fma(load(z + i), load(sums + i), acc[r][m]);
        }
      }
    }
  }

  template <int i>
  MLXCPP_INLINE void chunk(const uint8_t* const* from, int at, int in_segment, F (&acc)[R][M]) {
    for (int r = 0; r < R; ++r) {
      Bytes codes = T::template codes<i>(from[r]);
      for (int m = 0; m < M; ++m)
        acc[r][m] = accumulate<T::kPer, T::kSplit>(
            acc[r][m],
            dot<T::kBig>(codes, planes_of(x, x_row[m] + 64L * at, T::kSplit)),
            scales[r][m] + in_segment * T::kPer);
    }
  }

  MLXCPP_INLINE void step(const uint8_t** p, int at, int in_segment, F (&acc)[R][M]) {
    chunk<0>(p, at, in_segment, acc);
    if constexpr (T::kPhases == 4) {
      chunk<1>(p, at + 1, in_segment + 1, acc);
      chunk<2>(p, at + 2, in_segment + 2, acc);
      chunk<3>(p, at + 3, in_segment + 3, acc);
    }
    for (int r = 0; r < R; ++r) {
      for (int b = 0; b < T::kStep; b += 64) __builtin_prefetch(p[r] + kAhead + b);
      p[r] += T::kStep;
    }
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
    chunk<0>(from, at, in_segment, acc);
  }

  enum { kAhead = 2048 };
  MLXCPP_INLINE void run(const Matrix& w, const int* rows, F (&out)[R][M]) {
    const uint8_t* p[R];
    F acc[R][M], odd[R][M];  // steps in turn, so that one need not wait for the other
    for (int m = 0; m < M; ++m) x_row[m] = (long)(m < x.rows ? m : x.rows - 1) * x.padded;
    for (int r = 0; r < R; ++r) {
      p[r] = row_of(w, rows[r]);
      for (int m = 0; m < M; ++m) acc[r][m] = odd[r][m] = zero();
    }
    int full = w.columns / 64, tail = w.columns % 64, chunks = full + (tail != 0);
    for (int from = 0; from < chunks; from += kSegment) {
      int to = from + kSegment < chunks ? from + kSegment : chunks, c = from;
      decode_scales(w, rows, from, to, acc);
      int end = to < full ? to : full;
      for (; c + 2 * T::kPhases <= end; c += 2 * T::kPhases) {
        step(p, c, c - from, acc);
        step(p, c + T::kPhases, c - from + T::kPhases, R * M == 1 ? odd : acc);
      }
      for (; c + T::kPhases <= end; c += T::kPhases) step(p, c, c - from, acc);
      if constexpr (T::kPhases == 1)
        if (c < to) rest(p, tail, c, c - from, acc);
    }
    for (int r = 0; r < R; ++r)
      for (int m = 0; m < M; ++m) out[r][m] = R * M == 1 ? acc[r][m] + odd[r][m] : acc[r][m];
  }
};

/// Outputs [from, to) for M rows of x from `first` on; R outputs at a time, the last ones perhaps
/// again, so that each output comes of the same sums wherever a call begins.
template <class T, int M, int R>
void some_dots(const Matrix& w, const QuantisedRows& x, int from, int to, float* y, long stride) {
  for (int n = from; n < to; n += R) {
    int rows[R];
    for (int r = 0; r < R; ++r) rows[r] = n + r < to ? n + r : to - 1;
    Walk<T, M, R> walk = {.x = x};
    F sums[R][M];
    walk.run(w, rows, sums);
    for (int r = 0; r < R; ++r)
      for (int m = 0; m < M; ++m) {
        if (n + r < to && m < x.rows) y[m * stride + n + r] = sum(sums[r][m]) * w.factor;
      }
  }
}

/// `count` numbers from `column` on.
template <class T>
void some_numbers(const Matrix& w, int row, int column, int count, float* out) {
  constexpr int kBlock = 64 * T::kPhases, kGroups = T::kPer * T::kPhases, kGroup = 64 / T::kPer;
  const uint8_t* p = row_of(w, row) + (long)column / kBlock * T::kStep;
  if constexpr (T::kPhases == 1) p += bytes_of<T>(column % kBlock);
  for (int c = 0; c < count; c += kBlock, p += T::kStep) {
    int n = count - c < kBlock ? count - c : kBlock;
    alignas(64) float s[kGroups > kWidth ? kGroups : kWidth],
        z[kGroups > kWidth ? kGroups : kWidth];
    T::scales(w, row, (column + c) / kGroup, (n + kGroup - 1) / kGroup, s, z);
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
    for (int i = 0; i < n; i += kWidth)
      store(out + c + i, fma(load_u8(codes + i), set(s[i / kGroup]), set(z[i / kGroup])) * factor);
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
    if (x.rows == 1 && w.columns < 1024) return some_dots<T, 1, 4>(w, x, from, to, y, stride);
    if (x.rows == 1) return some_dots<T, 1, 1>(w, x, from, to, y, stride);
    if (x.rows == 2) return some_dots<T, 2, 1>(w, x, from, to, y, stride);
    some_dots<T, kMaxRows, 1>(w, x, from, to, y, stride);
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
