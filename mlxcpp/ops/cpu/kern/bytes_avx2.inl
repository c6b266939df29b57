// Sixty-four codes in two registers of AVX2; with AVX-VNNI where the tier has it.  See
// bytes_generic.inl for what each function means.
namespace mlxcpp::cpu {
namespace {

struct Bytes {
  __m256i a, b;
};
struct Ints {
  __m256i a, b;
};
struct Planes {
  const int8_t *high, *low;
  const int16_t* wide;
};

inline __m256i load32(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
inline __m256i both16(const void* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p));
}
inline Bytes load64(const uint8_t* p) { return {load32(p), load32(p + 32)}; }
inline Bytes join32(const uint8_t* p, const uint8_t* q) { return {load32(p), load32(q)}; }
inline Bytes twice32(const uint8_t* p) { return {load32(p), load32(p)}; }
inline Bytes pair16(const uint8_t* p, const uint8_t* q) { return {both16(p), both16(q)}; }
inline void store64(uint8_t* p, Bytes x) {
  _mm256_storeu_si256((__m256i*)p, x.a);
  _mm256_storeu_si256((__m256i*)(p + 32), x.b);
}

template <int a, int b>
inline __m256i right2(__m256i x) {
  if (a == 0 && b == 0) return x;
  if (a == b) return _mm256_srli_epi16(x, a);
  return _mm256_srlv_epi64(x, _mm256_setr_epi64x(a, a, b, b));
}
template <int a, int b>
inline __m256i left2(__m256i x) {
  if (a == 0 && b == 0) return x;
  if (a == b) return _mm256_slli_epi16(x, a);
  return _mm256_sllv_epi64(x, _mm256_setr_epi64x(a, a, b, b));
}
template <int a, int b, int c, int d>
inline Bytes right(Bytes x) {
  return {right2<a, b>(x.a), right2<c, d>(x.b)};
}
template <int a, int b, int c, int d>
inline Bytes left(Bytes x) {
  return {left2<a, b>(x.a), left2<c, d>(x.b)};
}
inline Bytes operator&(Bytes x, uint8_t m) {
  __m256i v = _mm256_set1_epi8((char)m);
  return {_mm256_and_si256(x.a, v), _mm256_and_si256(x.b, v)};
}
inline Bytes operator^(Bytes x, uint8_t m) {
  __m256i v = _mm256_set1_epi8((char)m);
  return {_mm256_xor_si256(x.a, v), _mm256_xor_si256(x.b, v)};
}
inline Bytes operator|(Bytes x, Bytes y) {
  return {_mm256_or_si256(x.a, y.a), _mm256_or_si256(x.b, y.b)};
}
inline Bytes choose(uint8_t m, Bytes x, uint8_t n, Bytes y) { return (x & m) | (y & n); }
inline __m256i bits2(uint32_t which, uint8_t value) {
  const __m256i spread = _mm256_setr_epi8(0,
                                          0,
                                          0,
                                          0,
                                          0,
                                          0,
                                          0,
                                          0,
                                          1,
                                          1,
                                          1,
                                          1,
                                          1,
                                          1,
                                          1,
                                          1,  //
                                          2,
                                          2,
                                          2,
                                          2,
                                          2,
                                          2,
                                          2,
                                          2,
                                          3,
                                          3,
                                          3,
                                          3,
                                          3,
                                          3,
                                          3,
                                          3);
  const __m256i one = _mm256_set1_epi64x((long long)0x8040201008040201ull);
  __m256i x = _mm256_shuffle_epi8(_mm256_set1_epi32((int)which), spread);
  x = _mm256_cmpeq_epi8(_mm256_and_si256(x, one), one);
  return _mm256_and_si256(x, _mm256_set1_epi8((char)value));
}
inline Bytes bits(uint64_t which, uint8_t value) {
  return {bits2((uint32_t)which, value), bits2((uint32_t)(which >> 32), value)};
}
inline Bytes lookup(Bytes x, const uint8_t* table) {
  __m256i t = both16(table);
  return {_mm256_shuffle_epi8(t, x.a), _mm256_shuffle_epi8(t, x.b)};
}

/// Where sixteen codes of kBits lie, seen from the 16 bytes that are loaded for them: for the even
/// codes and the odd ones the two bytes that have their bits, and the factor that brings these to
/// bit 8.
template <int kBits>
struct StreamPlan {
  int8_t even[4][16], odd[4][16];
  int16_t even_factor[8], odd_factor[8];
  int from[4];  // of each quarter; the last are moved back so that nothing is read behind the end
  constexpr StreamPlan() : even(), odd(), even_factor(), odd_factor(), from() {
    for (int q = 0; q < 4; ++q) {
      int last = 8 * kBits - 16, start = 2 * kBits * q;
      from[q] = start < last ? start : last < 0 ? 0 : last;
      for (int i = 0; i < 8; ++i) {
        int e = start - from[q] + 2 * i * kBits / 8, o = start - from[q] + (2 * i + 1) * kBits / 8;
        even[q][2 * i] = (int8_t)e, even[q][2 * i + 1] = (int8_t)(e < 15 ? e + 1 : -1);
        odd[q][2 * i] = (int8_t)o, odd[q][2 * i + 1] = (int8_t)(o < 15 ? o + 1 : -1);
        even_factor[i] = (int16_t)(1 << (8 - 2 * i * kBits % 8));
        odd_factor[i] = (int16_t)(1 << (8 - (2 * i + 1) * kBits % 8));
      }
    }
  }
};
template <int kBits>
constexpr StreamPlan<kBits> kStreamPlan;

template <int kBits>
inline __m256i stream2(const uint8_t* p, int q) {
  constexpr auto& plan = kStreamPlan<kBits>;
  __m256i x = _mm256_inserti128_si256(
      _mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)(p + plan.from[q]))),
      _mm_loadu_si128((const __m128i*)(p + plan.from[q + 1])),
      1);
  __m256i e =
      _mm256_mullo_epi16(_mm256_shuffle_epi8(x, load32(plan.even[q])), both16(plan.even_factor));
  __m256i o =
      _mm256_mullo_epi16(_mm256_shuffle_epi8(x, load32(plan.odd[q])), both16(plan.odd_factor));
  x = _mm256_blendv_epi8(_mm256_srli_epi16(e, 8), o, _mm256_set1_epi16((short)0xff00));
  return _mm256_and_si256(x, _mm256_set1_epi8((1 << kBits) - 1));
}
template <int kBits>
inline Bytes stream(const uint8_t* p) {
  return {stream2<kBits>(p, 0), stream2<kBits>(p, 2)};
}
inline Bytes natural(Bytes x) {
  __m256i lo = _mm256_unpacklo_epi8(x.a, x.b), hi = _mm256_unpackhi_epi8(x.a, x.b);
  return {_mm256_permute2x128_si256(lo, hi, 0x20), _mm256_permute2x128_si256(lo, hi, 0x31)};
}

#if defined(__AVXVNNI__)
inline __m256i dot2(__m256i c, __m256i high, __m256i low) {
  __m256i h = _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), c, high);
  return _mm256_dpbusd_avx_epi32(_mm256_slli_epi32(h, 8), c, low);
}
inline Ints dot(Bytes c, Planes x) {
  return {dot2(c.a, load32(x.high), load32(x.low)),
          dot2(c.b, load32(x.high + 32), load32(x.low + 32))};
}
/// Of two registers of codes together.
inline __m256i dot_both(Bytes c, Planes x) {
  __m256i h = _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), c.a, load32(x.high));
  h = _mm256_slli_epi32(_mm256_dpbusd_avx_epi32(h, c.b, load32(x.high + 32)), 8);
  return _mm256_dpbusd_avx_epi32(
      _mm256_dpbusd_avx_epi32(h, c.a, load32(x.low)), c.b, load32(x.low + 32));
}
#else
// Codes of 16 bits: as many instructions as with the planes where there is one row, fewer where
// rows share them.
inline __m256i dot2(__m256i c, const int16_t* first, const int16_t* second) {
  const __m256i zero = _mm256_setzero_si256();
  return _mm256_add_epi32(_mm256_madd_epi16(_mm256_unpacklo_epi8(c, zero), load32(first)),
                          _mm256_madd_epi16(_mm256_unpackhi_epi8(c, zero), load32(second)));
}
inline Ints dot(Bytes c, Planes x) {
  return {dot2(c.a, x.wide, x.wide + 32), dot2(c.b, x.wide + 16, x.wide + 48)};
}
/// Of two registers of codes together.  Codes below 64: sums of four products fit 16 bits.
inline __m256i dot_both(Bytes c, Planes x) {
  auto sums = [&](const int8_t* plane) {
    return _mm256_add_epi16(_mm256_maddubs_epi16(c.a, load32(plane)),
                            _mm256_maddubs_epi16(c.b, load32(plane + 32)));
  };
  return _mm256_add_epi32(_mm256_madd_epi16(sums(x.high), _mm256_set1_epi16(256)),
                          _mm256_madd_epi16(sums(x.low), _mm256_set1_epi16(1)));
}
#endif

/// Two sums of products of 16-bit integers: x * v, x * u.
inline void add_products(__m256i& a, __m256i& b, __m256i x, __m256i v, __m256i u) {
#if defined(__AVXVNNI__)
  a = _mm256_dpwssd_avx_epi32(a, x, v);
  b = _mm256_dpwssd_avx_epi32(b, x, u);
  asm volatile("" : "+x"(a), "+x"(b));
#else
  // In this order: g++ would begin with all products and keep sums in memory.
  __m256i t;
  asm volatile(
      "vpmaddwd %4, %2, %3\n\tvpmaddwd %5, %2, %2\n\tvpaddd %3, %0, %0\n\tvpaddd %2, %1, %1"
      : "+x"(a), "+x"(b), "+x"(x), "=&x"(t)
      : "x"(v), "x"(u));
#endif
}

inline F floats(__m256i x) { return {_mm256_cvtepi32_ps(x)}; }
/// Four scales, each twice or four times.
inline F spread(const float* s, __m256i which) {
  return {_mm256_permutevar_ps(_mm256_broadcast_ps((const __m128*)s), which)};
}
/// acc + the sums of dot_both(), each times the scale of its group.
template <int kPer>
inline F accumulate_both(F acc, __m256i d, const float* s) {
  if (kPer == 1) return fma(floats(d), set(s[0]), acc);
  if (kPer == 4) return fma(floats(d), spread(s, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3)), acc);
  __m256 two = _mm256_castsi256_ps(_mm256_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)s)));
  return fma(
      floats(d), {_mm256_permutevar_ps(two, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1))}, acc);
}
template <int kPer, bool kSplit>
inline F accumulate(F acc, Ints d, const float* s) {
  if (kPer == 1 || kSplit) return accumulate_both<kPer>(acc, _mm256_add_epi32(d.a, d.b), s);
  if (kPer == 2) return fma(floats(d.b), set(s[1]), fma(floats(d.a), set(s[0]), acc));
  acc = fma(floats(d.a), spread(s, _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1)), acc);
  return fma(floats(d.b), spread(s, _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3)), acc);
}
/// One chunk of 64 columns.  Where both registers share their scales, their sums are one.
template <class T>
inline F add_chunk(F acc, Bytes codes, Planes x, const float* s) {
  if constexpr ((T::kPer == 1 || T::kSplit) && !T::kBig)
    return accumulate_both<T::kPer>(acc, dot_both(codes, x), s);
  else
    return accumulate<T::kPer, T::kSplit>(acc, dot(codes, x), s);
}

inline F load_e8m0(const uint8_t* p) {
  __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p));
  __m256i none = _mm256_cmpeq_epi32(e, _mm256_setzero_si256());
  __m256i u = _mm256_or_si256(_mm256_slli_epi32(e, 23),
                              _mm256_and_si256(none, _mm256_set1_epi32(0x400000)));
  return {_mm256_castsi256_ps(u)};
}
inline F load_e4m3(const uint8_t* p) {
  __m128i b = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i*)p));
  __m128i number = _mm_and_si128(b, _mm_set1_epi16(0x7f)), sign = _mm_xor_si128(b, number);
  __m128i half = _mm_or_si128(_mm_slli_epi16(number, 7), _mm_slli_epi16(sign, 8));
  half = _mm_or_si128(
      half, _mm_and_si128(_mm_cmpeq_epi16(number, _mm_set1_epi16(0x7f)), _mm_set1_epi16(0x7e00)));
  return F{_mm256_cvtph_ps(half)} * set(256);
}

inline __m128i halves_part(const void* p, int n) {
  if (n == kWidth) return _mm_loadu_si128((const __m128i*)p);
  uint16_t t[kWidth] = {};
  const uint16_t __attribute__((may_alias))* h = (const uint16_t*)p;
  for (int i = 0; i < n; ++i) t[i] = h[i];
  return _mm_loadu_si128((const __m128i*)t);
}
inline F load_f16_part(const void* p, int n) { return {_mm256_cvtph_ps(halves_part(p, n))}; }
inline F load_bf16_part(const void* p, int n) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves_part(p, n)), 16))};
}
inline uint64_t half_at(const uint8_t* p) {
  uint16_t h;
  memcpy(&h, p, 2);
  return h;
}
template <int kBytes>
inline F gather_f16(const uint8_t* p, int n) {
  uint64_t t[2] = {};
  if (n == kWidth) {
    for (int i = 0; i < 2; ++i, p += 4 * kBytes)
      t[i] = half_at(p) | half_at(p + kBytes) << 16 | half_at(p + 2 * kBytes) << 32 |
             half_at(p + 3 * kBytes) << 48;
  } else {
    for (int i = 0; i < n; ++i) t[i / 4] |= half_at(p + i * kBytes) << 16 * (i % 4);
  }
  return {_mm256_cvtph_ps(_mm_set_epi64x((long long)t[1], (long long)t[0]))};
}
template <int kBytes>
inline void gather_two_f16(const uint8_t* p, int n, F* a, F* b) {
  *a = gather_f16<kBytes>(p, n);
  *b = gather_f16<kBytes>(p + 2, n);
}
inline void eight(uint64_t codes, float offset, float d, float times, float* s, float* z) {
  __m256i u = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)codes));
  F x = (F{_mm256_cvtepi32_ps(u)} - set(offset)) * set(d);
  store(s, x);
  if (z) store(z, x * set(times));
}
inline const uint8_t* bytes_part(const uint8_t* p, int n, uint8_t fill, uint8_t* t) {
  for (int i = 0; i < kWidth; ++i) t[i] = i < n ? p[i] : fill;
  return t;
}

/// The sum of each, times `factor`.
inline void sum_four(F a, F b, F c, F d, float factor, float* y) {
  y[0] = sum(a) * factor, y[1] = sum(b) * factor, y[2] = sum(c) * factor, y[3] = sum(d) * factor;
}

}  // namespace
}  // namespace mlxcpp::cpu
