// Products of quantised weights with few rows of activations, and weights as numbers.
namespace mlxcpp::cpu {
namespace {

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
