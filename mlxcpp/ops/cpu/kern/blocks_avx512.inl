// With AVX-512: scales of sixteen blocks at once, and products of 128 columns whose codes share
// bytes: the low halves of 64 bytes and their high ones, so that both go into the same sums.
namespace mlxcpp::cpu {
namespace {

constexpr bool kMerges = true, kHeads = true;

/// Blocks of kBytes, which begin with kWords words of 16 bits: of sixteen of them, all such words
/// fall on different places of a line of 64 bytes, so that one register collects them, line by
/// line. Where the eighth block would begin anew, lines of the others begin four bytes earlier.
template <int kBytes, int kWords>
struct ScalePlan {
  enum {
    kEarlier = kBytes % 8 == 0 ? 4 : 0,
    kHalf = kEarlier ? 8 : 16,  // blocks that lines are counted for
    kEach = ((kHalf - 1) * kBytes + 2 * kWords + kEarlier + 63) / 64,
    kLines = kEach * (16 / kHalf)
  };
  int at[kLines];
  uint32_t mask[17][kLines];  // of so many blocks
  uint16_t order[32];         // the first words, then the second ones
  constexpr ScalePlan() : at(), mask(), order() {
    for (int l = 0; l < kLines; ++l)
      at[l] = l / kEach * (kHalf * kBytes - kEarlier) + l % kEach * 64;
    for (int i = 0; i < 16; ++i)
      for (int j = 0; j < kWords; ++j) {
        int byte = i % kHalf * kBytes + 2 * j + (i < kHalf ? 0 : kEarlier);
        int line = i / kHalf * kEach + byte / 64, place = byte / 2 % 32;
        for (int n = i + 1; n <= 16; ++n) mask[n][line] |= 1u << place;
        order[16 * j + i] = (uint16_t)place;
      }
  }
};
template <int kBytes, int kWords>
constexpr ScalePlan<kBytes, kWords> kScalePlan;

/// Nothing but the words of the first n blocks is read.
template <int kBytes, int kWords>
inline __m512i scale_words(const uint8_t* p, int n) {
  constexpr auto& plan = kScalePlan<kBytes, kWords>;
  __m512i x = _mm512_setzero_si512();
  if (n == 16) {
#pragma GCC unroll 10
    for (int l = 0; l < plan.kLines; ++l)
      x = _mm512_mask_loadu_epi16(x, plan.mask[16][l], p + plan.at[l]);
  } else {
    const uint32_t* mask = plan.mask[n];
    for (int l = 0; l < plan.kLines && mask[l]; ++l)
      x = _mm512_mask_loadu_epi16(x, mask[l], p + plan.at[l]);
  }
  return _mm512_permutexvar_epi16(_mm512_loadu_si512(plan.order), x);
}
template <int kBytes>
inline F gather_f16(const uint8_t* p, int n) {
  return {_mm512_cvtph_ps(_mm512_castsi512_si256(scale_words<kBytes, 1>(p, n)))};
}
template <int kBytes>
inline void gather_two_f16(const uint8_t* p, int n, F* a, F* b) {
  __m512i words = scale_words<kBytes, 2>(p, n);
  *a = {_mm512_cvtph_ps(_mm512_castsi512_si256(words))};
  *b = {_mm512_cvtph_ps(_mm512_extracti64x4_epi64(words, 1))};
}

/// Words of sixteen bytes in each of four blocks, behind a head: those of three are in one
/// register.
template <int kStep, int kHead>
struct FourPlan {
  uint16_t from[32];
  constexpr FourPlan() : from() {
    static_assert(kStep % 2 == 0 && kHead + 2 * kStep + 16 <= 64);
    for (int i = 0; i < 32; ++i)
      from[i] = (uint16_t)(i < 24 ? (kHead + i / 8 * kStep) / 2 + i % 8 : 32 + i % 8);
  }
};
template <int kStep, int kHead>
constexpr FourPlan<kStep, kHead> kFourPlan;
/// The last 16 bytes of each of four blocks from p on.
template <int kStep>
inline Bytes four16(const uint8_t* p) {
  return {_mm512_permutex2var_epi16(_mm512_loadu_si512(p),
                                    _mm512_loadu_si512(kFourPlan<kStep, kStep - 16>.from),
                                    _mm512_castsi128_si512(load16(p + 4 * kStep - 16)))};
}

/// What stands before the codes of a few blocks, as products of them use it: each scale in the four
/// lanes of its block, and scales or zeros once, for the sums of activations.
struct Heads {
  __m512 scales, once;
};
/// Of four blocks in one row, or of two in each of two rows that are 32 bytes apart.
template <int kStep, bool kTwoRows, bool kZeros>
struct HeadPlan {
  uint16_t from[32];
  constexpr HeadPlan() : from() {
    static_assert(3 * kStep + 4 <= 64);
    for (int i = 0; i < 4; ++i) {
      int at = kTwoRows ? i / 2 * 16 + i % 2 * kStep / 2 : i * kStep / 2;
      from[i] = (uint16_t)at, from[4 + i] = (uint16_t)(at + kZeros);
    }
  }
};
template <int kStep, bool kTwoRows, bool kZeros>
constexpr HeadPlan<kStep, kTwoRows, kZeros> kHeadPlan;
template <int kStep, bool kTwoRows, bool kZeros>
MLXCPP_INLINE Heads heads_in(__m512i x) {
  __m512i plan = _mm512_castsi128_si512(load16(kHeadPlan<kStep, kTwoRows, kZeros>.from));
  __m128i words = _mm512_castsi512_si128(_mm512_permutexvar_epi16(plan, x));
  __m512 both = _mm512_zextps256_ps512(_mm256_cvtph_ps(words));
  const __m512i each = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  return {_mm512_permutexvar_ps(each, both), both};
}
/// The sums that go with Heads::once: with scales, times what codes are too large; kOffset 0: with
/// zeros.
template <int kOffset, bool kTwoRows>
MLXCPP_INLINE F sums_for_heads(const float* sums) {
  __m128 s = _mm_loadu_ps(sums);
  if (kTwoRows) s = _mm_movelh_ps(s, s);
  if (kOffset > 0) return {_mm512_zextps128_ps512(_mm_mul_ps(s, _mm_set1_ps(-kOffset)))};
  return {_mm512_maskz_broadcast_f32x4(0x00f0, s)};
}
/// The first of 32 and of the next 32 columns, in the halves of the lanes.
MLXCPP_INLINE F scales_of_two(const float* first, const float* second) {
  return {_mm512_mask_broadcastss_ps(_mm512_set1_ps(*first), 0xff00, _mm_load_ss(second))};
}

/// What the head of a block of 256 columns is multiplied with: `scales` gives what products are
/// multiplied with, `sums` what is added for the codes' offset or the minima.
struct BlockSums {
  F scales, sums;
};
/// Of sixteen scales; codes are kOffset too large.
template <int kOffset>
MLXCPP_INLINE BlockSums sums_for_scales(const float* scales, const float* sums) {
  return {load(scales), load(sums) * set(-kOffset)};
}
/// Of eight scales and eight minima; codes of odd groups are kTimes times as large.
template <int kTimes>
MLXCPP_INLINE BlockSums sums_for_minima(const float* scales, const float* sums) {
  __m256 less = _mm256_sub_ps(_mm256_setzero_ps(), _mm256_loadu_ps(sums));
  __m256 of_codes = _mm256_loadu_ps(scales);
  constexpr float kOdd = 1.f / kTimes;
  if (kTimes > 1)
    of_codes = _mm256_mul_ps(of_codes, _mm256_setr_ps(1, kOdd, 1, kOdd, 1, kOdd, 1, kOdd));
  return {{_mm512_zextps256_ps512(of_codes)}, {_mm512_insertf32x8(_mm512_setzero_ps(), less, 1)}};
}
/// Two factors, then eight scales and eight minima of six bits each in twelve bytes.
MLXCPP_INLINE F scales_and_minima_at(const uint8_t* p) {
  __m128i x = load16(p);
  auto words = [&](int a, int b, int c, int d) {
    return _mm_shuffle_epi8(
        x,
        _mm_add_epi8(
            _mm_set1_epi32(0x03020100),
            _mm_setr_epi32(a * 0x01010101, b * 0x01010101, c * 0x01010101, d * 0x01010101)));
  };
  __m128i low = _mm_srlv_epi32(words(4, 12, 8, 12), _mm_setr_epi32(0, 0, 0, 4));
  low = _mm_and_si128(low, _mm_setr_epi32(0x3f3f3f3f, 0x0f0f0f0f, 0x3f3f3f3f, 0x0f0f0f0f));
  __m128i high = _mm_and_si128(_mm_srli_epi32(words(4, 4, 8, 8), 2),
                               _mm_setr_epi32(0, 0x30303030, 0, 0x30303030));
  __m512 factors =
      _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
                            _mm512_castps128_ps512(_mm_cvtph_ps(x)));
  __m512i numbers = _mm512_cvtepu8_epi32(_mm_or_si128(low, high));
  return {_mm512_mul_ps(_mm512_cvtepi32_ps(numbers), factors)};
}
/// Sixteen scales of eight bits with a sign.
MLXCPP_INLINE F signed_scales_at(const uint8_t* p, float factor) {
  return F{_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load16(p)))} * set(factor);
}
/// Of the scales of a block those of its i-th 64 columns, each for the columns of its group.
template <int kPer, int i>
MLXCPP_INLINE F spread_scales(F scales) {
  constexpr int a = kPer * i, b = a + (kPer == 4), c = a + (kPer == 4 ? 2 : 1),
                d = a + (kPer == 4 ? 3 : 1);
  return {_mm512_permutexvar_ps(_mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d),
                                scales.v)};
}

/// Of up to three, and zeros.
template <int kStep>
inline Bytes some16(const uint8_t* p, int blocks) {
  __m512i x = _mm512_zextsi128_si512(load16(p));
  if (blocks > 1) x = _mm512_mask_broadcast_i32x4(x, 0x00f0, load16(p + kStep));
  if (blocks > 2) x = _mm512_mask_broadcast_i32x4(x, 0x0f00, load16(p + 2 * kStep));
  return {x};
}
/// Of two blocks at p and two at q.
template <int kStep>
inline Bytes pair_of_two16(const uint8_t* p, const uint8_t* q) {
  __m512i x = _mm512_castsi128_si512(load16(p));
  x = _mm512_mask_broadcast_i32x4(x, 0x00f0, load16(p + kStep));
  x = _mm512_mask_broadcast_i32x4(x, 0x0f00, load16(q));
  return {_mm512_mask_broadcast_i32x4(x, 0xf000, load16(q + kStep))};
}
/// The first n of 64 bytes, and zeros.
inline Bytes load64_part(const uint8_t* p, int n) {
  return {_mm512_maskz_loadu_epi8(((uint64_t)1 << n) - 1, p)};
}

/// Exact, of 128 columns; kBig: codes may be above 127.
template <bool kBig>
inline Ints dot_both(Bytes low, Bytes high, Planes x) {
#if defined(__AVX512VNNI__)
  __m512i h = _mm512_setzero_si512(), l;
  h = _mm512_dpbusd_epi32(h, low.v, _mm512_loadu_si512(x.high));
  h = _mm512_dpbusd_epi32(h, high.v, _mm512_loadu_si512(x.high + 64));
  l = _mm512_dpbusd_epi32(_mm512_slli_epi32(h, 8), low.v, _mm512_loadu_si512(x.low));
  return {_mm512_dpbusd_epi32(l, high.v, _mm512_loadu_si512(x.low + 64))};
#else
  static_assert(!kBig, "sums of two products would not fit 16 bits");
  Ints a = dot<false>(low, x), b = dot<false>(high, {x.high + 64, x.low + 64, nullptr});
  return {_mm512_add_epi32(a.v, b.v)};
#endif
}

/// acc + the sums, each times the scale of its group: kPer groups in 64 columns.
template <int kPer>
inline F accumulate_both(F acc, Ints d, const float* s) {
  __m512 scale;
  if (kPer == 1) {
    scale = _mm512_castsi512_ps(_mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)s)));
    scale = _mm512_permutevar_ps(scale,
                                 _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  } else if (kPer == 2) {
    scale = _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(s)),
                                 _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
  } else {
    scale = _mm512_permutexvar_ps(_mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7),
                                  _mm512_castps256_ps512(_mm256_loadu_ps(s)));
  }
  return {_mm512_fmadd_ps(_mm512_cvtepi32_ps(d.v), scale, acc.v)};
}

/// Likewise 64 columns of two rows, a row in each half of the codes.
template <bool kBig>
inline Ints dot_pair(Bytes low, Bytes high, Planes x) {
#if defined(__AVX512VNNI__)
  auto twice = [](const int8_t* p) { return _mm512_broadcast_i64x4(load32((const uint8_t*)p)); };
  __m512i h = _mm512_setzero_si512(), l;
  h = _mm512_dpbusd_epi32(h, low.v, twice(x.high));
  h = _mm512_dpbusd_epi32(h, high.v, twice(x.high + 64));
  l = _mm512_dpbusd_epi32(_mm512_slli_epi32(h, 8), low.v, twice(x.low));
  return {_mm512_dpbusd_epi32(l, high.v, twice(x.low + 64))};
#else
  static_assert(!kBig, "sums of two products would not fit 16 bits");
  alignas(64) int8_t planes[4][64];
  const int8_t* from[] = {x.high, x.high + 64, x.low, x.low + 64};
  for (int i = 0; i < 4; ++i) store64((uint8_t*)planes[i], twice32((const uint8_t*)from[i]));
  Ints a = dot<false>(low, {planes[0], planes[2], nullptr});
  return {_mm512_add_epi32(a.v, dot<false>(high, {planes[1], planes[3], nullptr}).v)};
#endif
}
/// s, t: the scales of the rows.  Both sums get what they would without the other row.
template <int kPer>
inline void accumulate_pair(F& a, F& b, Ints d, const float* s, const float* t) {
  const __m512i which =
      kPer == 4   ? _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0)
      : kPer == 2 ? _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
                  : _mm512_setzero_si512();
  auto spread = [&](const float* p) {
    __m128 x = kPer == 4 ? _mm_loadu_ps(p) : _mm_castsi128_ps(_mm_loadl_epi64((const __m128i*)p));
    return _mm512_permutexvar_ps(which, _mm512_castps128_ps512(x));
  };
  __m512 x = _mm512_cvtepi32_ps(d.v), y = _mm512_shuffle_f32x4(x, x, 0x4e);
  a.v = _mm512_mask3_fmadd_ps(x, spread(s), a.v, 0x00ff);
  b.v = _mm512_mask3_fmadd_ps(y, spread(t), b.v, 0x00ff);
}

inline F as_floats(Ints d) { return {_mm512_cvtepi32_ps(d.v)}; }
/// Likewise, with scales and heads of both rows.
template <bool kZeros>
MLXCPP_INLINE void add_pair(F& a, F& b, Ints d, F scale, F once, F sums) {
  auto swap = [](__m512 x) { return _mm512_shuffle_f32x4(x, x, 0x4e); };
  __m512 x = _mm512_cvtepi32_ps(d.v);
  constexpr int kFirst = kZeros ? 0x0030 : 0x0003;
  a.v = _mm512_mask3_fmadd_ps(once.v, sums.v, a.v, kFirst);
  b.v = _mm512_mask3_fmadd_ps(_mm512_permute_ps(once.v, 0x4e), sums.v, b.v, kFirst);
  a.v = _mm512_mask3_fmadd_ps(x, scale.v, a.v, 0x00ff);
  b.v = _mm512_mask3_fmadd_ps(swap(x), swap(scale.v), b.v, 0x00ff);
}

/// The sum of each, times `factor`.
inline void sum_four(F a, F b, F c, F d, float factor, float* y) {
  __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a.v, b.v), _mm512_unpackhi_ps(a.v, b.v));
  __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c.v, d.v), _mm512_unpackhi_ps(c.v, d.v));
  __m512d x = _mm512_castps_pd(ab), z = _mm512_castps_pd(cd);
  __m512 all = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, z)),
                             _mm512_castpd_ps(_mm512_unpackhi_pd(x, z)));
  __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  __m128 sums = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  _mm_storeu_ps(y, _mm_mul_ps(sums, _mm_set1_ps(factor)));
}

/// Planes of 64 integers: high and low bytes (256 high + low), in the order of columns, with even
/// columns first, and with the first sixteen of each 32 first; the latter two of each 128 columns.
inline void split_planes(const float* values, int chunk, const QuantisedRows& out, long at) {
  const __m512i half = _mm512_set1_epi32(128);
  __m128i high[4], low[4];
  for (int i = 0; i < 4; ++i) {
    __m512i v = _mm512_cvtps_epi32(load(values + 16 * i).v);
    low[i] = _mm512_cvtepi32_epi8(v);
    high[i] = _mm512_cvtepi32_epi8(_mm512_srai_epi32(_mm512_add_epi32(v, half), 8));
  }
  long both = at + chunk % 2 * -32;
  auto keep = [&](const __m128i* x, int8_t* natural, int8_t* split, int8_t* halves) {
    for (int i = 0; i < 4; ++i) {
      _mm_storeu_si128((__m128i*)(natural + at + 16 * i), x[i]);
      _mm_storeu_si128((__m128i*)(halves + both + 16 * (i / 2) + 64 * (i % 2)), x[i]);
    }
    for (int i = 0; i < 4; i += 2) {
      __m256i pair = _mm256_set_m128i(x[i + 1], x[i]);
      int8_t* to = split + both + 8 * i;
      _mm_storeu_si128((__m128i*)to, _mm256_cvtepi16_epi8(pair));
      _mm_storeu_si128((__m128i*)(to + 64), _mm256_cvtepi16_epi8(_mm256_srli_epi16(pair, 8)));
    }
  };
  keep(high, out.high, out.high_split, out.high_halves);
  keep(low, out.low, out.low_split, out.low_halves);
#if !defined(__AVX512VNNI__)
  for (int i = 0; i < 4; ++i) {
    __m256i v = _mm512_cvtepi32_epi16(_mm512_cvtps_epi32(load(values + 16 * i).v));
    _mm_storeu_si128((__m128i*)(out.wide + at + 8 * i), _mm256_castsi256_si128(v));
    _mm_storeu_si128((__m128i*)(out.wide + at + 32 + 8 * i), _mm256_extracti128_si256(v, 1));
  }
#endif
}

}  // namespace
}  // namespace mlxcpp::cpu
