// Steps of AVX2: blocks with the scales before their codes.
#if defined(__AVX2__) && !defined(__AVX512F__)
namespace mlxcpp::cpu {
namespace {

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

}  // namespace
}  // namespace mlxcpp::cpu
#endif
