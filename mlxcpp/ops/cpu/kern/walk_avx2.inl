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
    long group = x_group(m) + 2L * at;
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

template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::block(const uint8_t* const* from, int at, F (&acc)[R][M]) {
  static_assert(R == 1 || R == 4);
  constexpr int kVectors = T::kPer / 2;
  alignas(32) uint8_t bytes[R == 4 ? 4 : 2][16];
#pragma GCC unroll 2
  for (int r = 0; r < R; r += 2) T::prepare(from[r], from[R == 4 ? r + 1 : r], bytes[r]);
  F of_x[M][kVectors], sums[M][kVectors];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    long group = x_group(m) + (long)T::kPer * at;
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      of_x[m][v] = load(x.scales[kLevel<T>] + group + 8 * v);
      sums[m][v] = load(x.sums[kLevel<T>] + group + 8 * v) * set(T::kCentre > 0 ? -T::kCentre : -1);
    }
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    auto head = T::head(from[r], bytes[R == 4 ? r : 0]);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        acc[r][m] = fma(head.zeros[v], sums[m][v], acc[r][m]);
        store(scales[r][m] + 8 * v, head.scales[v] * of_x[m][v]);
      }
  }
  asm volatile("" : "+m"(scales));  // loads that spread cost less than shuffles
  of_block<0>(from, at, acc);
  of_block<1>(from, at, acc);
  of_block<2>(from, at, acc);
  of_block<3>(from, at, acc);
}
/// The i-th 64 columns: of all rows together, so that what follows one another depends on little.
template <class T, int M, int R>
template <int i>
MLXCPP_INLINE void Walk<T, M, R>::of_block(const uint8_t* const* from, int at, F (&acc)[R][M]) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    Bytes codes = T::template codes<i>(from[r]);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m)
      acc[r][m] = add_chunk<T>(
          acc[r][m], codes, planes_of<T>(x, x_row[m] + 64L * (at + i)), scales[r][m] + T::kPer * i);
  }
}

}  // namespace
}  // namespace mlxcpp::cpu
#endif
