// Steps of AVX-512: 128 columns whose codes share bytes, blocks with the scales before their codes.
#if defined(__AVX512F__)
namespace mlxcpp::cpu {
namespace {

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

/// The i-th 64 columns: of all rows together, so that these share what is loaded.
template <class T, int M, int R>
template <int i>
MLXCPP_INLINE void Walk<T, M, R>::of_block(const uint8_t* const* from,
                                           int at,
                                           const F (&scale)[R][M],
                                           F (&acc)[R][M]) {
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    Bytes codes = T::template block_codes<i>(from[r]);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      Ints d = dot<T::kBig>(codes, planes_of<T>(x, x_row[m] + 64L * (at + i)));
      acc[r][m] = fma(as_floats(d), spread_scales<T::kPer, i>(scale[r][m]), acc[r][m]);
    }
  }
}

template <class T, int M, int R>
MLXCPP_INLINE void Walk<T, M, R>::block(const uint8_t* const* from, int at, F (&acc)[R][M]) {
  BlockSums of_x[M];
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) {
    long group = x_group(m) + (long)T::kPer * at;
    of_x[m] = T::head_sums(x.scales[kLevel<T>] + group, x.sums[kLevel<T>] + group);
  }
  F scale[R][M];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r) {
    F head = T::head(from[r]);
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      acc[r][m] = fma(head, of_x[m].sums, acc[r][m]);
      scale[r][m] = head * of_x[m].scales;
    }
  }
  of_block<0>(from, at, scale, acc);
  of_block<1>(from, at, scale, acc);
  of_block<2>(from, at, scale, acc);
  of_block<3>(from, at, scale, acc);
}

template <class T, int M, int R>
template <bool kTwoRows>
MLXCPP_INLINE void Walk<T, M, R>::headed(const uint8_t* const* from, int at, F (&acc)[R][M]) {
  F of_x[M], sums[M];
  for (int m = 0; m < M; ++m) {
    long group = x_group(m) + 2L * at;
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

}  // namespace
}  // namespace mlxcpp::cpu
#endif
