// Sixty-four codes in one register of AVX-512, with VNNI and VBMI where the tier has them.  See
// bytes_generic.inl for what each function means.
namespace mlxcpp::cpu {
namespace {

struct Bytes {
  __m512i v;
};
struct Ints {
  __m512i v;
};
struct Planes {
  const int8_t *high, *low;
  const int16_t* wide;
};

inline __m128i load16(const void* p) { return _mm_loadu_si128((const __m128i*)p); }
inline __m256i load32(const void* p) { return _mm256_loadu_si256((const __m256i*)p); }
inline Bytes load64(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
inline Bytes join32(const uint8_t* p, const uint8_t* q) {
  return {_mm512_inserti64x4(_mm512_castsi256_si512(load32(p)), load32(q), 1)};
}
inline Bytes twice32(const uint8_t* p) { return {_mm512_broadcast_i64x4(load32(p))}; }
inline Bytes pair16(const uint8_t* p, const uint8_t* q) {
  __m512i x = _mm512_broadcast_i32x4(load16(p));
  return {_mm512_mask_broadcast_i32x4(x, 0xff00, load16(q))};
}
inline void store64(uint8_t* p, Bytes x) { _mm512_storeu_si512(p, x.v); }

inline __m512i quarters(int a, int b, int c, int d) {
  return _mm512_setr_epi64(a, a, b, b, c, c, d, d);
}
template <int a, int b, int c, int d>
inline Bytes right(Bytes x) {
  if (a == 0 && b == 0 && c == 0 && d == 0) return x;
  if (a == b && b == c && c == d) return {_mm512_srli_epi16(x.v, a)};
  return {_mm512_srlv_epi64(x.v, quarters(a, b, c, d))};
}
template <int a, int b, int c, int d>
inline Bytes left(Bytes x) {
  if (a == 0 && b == 0 && c == 0 && d == 0) return x;
  if (a == b && b == c && c == d) return {_mm512_slli_epi16(x.v, a)};
  return {_mm512_sllv_epi64(x.v, quarters(a, b, c, d))};
}
inline __m512i all64(uint8_t m) { return _mm512_set1_epi8((char)m); }
inline Bytes operator&(Bytes x, uint8_t m) { return {_mm512_and_si512(x.v, all64(m))}; }
/// Bits of the first 32 bytes, and of the others.
inline Bytes in_halves(Bytes x, uint8_t first, uint8_t second) {
  __m512i mask = _mm512_mask_mov_epi32(all64(first), 0xff00, all64(second));
  return {_mm512_and_si512(x.v, mask)};
}
inline Bytes operator^(Bytes x, uint8_t m) { return {_mm512_xor_si512(x.v, all64(m))}; }
inline Bytes operator|(Bytes x, Bytes y) { return {_mm512_or_si512(x.v, y.v)}; }
inline Bytes choose(uint8_t m, Bytes x, uint8_t n, Bytes y) {
  return Bytes{_mm512_ternarylogic_epi32(all64(m), x.v, y.v, 0xca)} & (uint8_t)(m | n);
}
inline Bytes bits(uint64_t which, uint8_t value) {
  return {_mm512_maskz_mov_epi8(which, all64(value))};
}
inline Bytes lookup(Bytes x, const uint8_t* table) {
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(load16(table)), x.v)};
}

#if defined(__AVX512VBMI__)
/// Each group of eight codes in a word of its own, and where each code begins in it.
template <int kBits>
struct StreamPlan {
  uint8_t place[64], shift[64];
  constexpr StreamPlan() : place(), shift() {
    for (int i = 0; i < 64; ++i) {
      int j = i % 8;
      place[i] = (uint8_t)(j < kBits ? i / 8 * kBits + j : 63);
      shift[i] = (uint8_t)(kBits * j);
    }
  }
};
template <int kBits>
constexpr StreamPlan<kBits> kStreamPlan;
template <int kBits>
inline Bytes stream(const uint8_t* p) {
  constexpr auto& plan = kStreamPlan<kBits>;
  __m512i x = _mm512_maskz_loadu_epi8(((uint64_t)1 << 8 * kBits) - 1, p);
  x = _mm512_permutexvar_epi8(_mm512_loadu_si512(plan.place), x);
  x = _mm512_multishift_epi64_epi8(_mm512_loadu_si512(plan.shift), x);
  return Bytes{x} & (uint8_t)((1 << kBits) - 1);
}
#else
/// As with AVX2: for even codes and odd ones the two bytes that have their bits, and the factor
/// that brings these to bit 8.
template <int kBits>
struct StreamPlan {
  int8_t even[64], odd[64];
  int16_t even_factor[32], odd_factor[32];
  int from[4];  // of each quarter; the last are moved back so that nothing is read behind the end
  constexpr StreamPlan() : even(), odd(), even_factor(), odd_factor(), from() {
    for (int q = 0; q < 4; ++q) {
      int last = 8 * kBits - 16, start = 2 * kBits * q;
      from[q] = start < last ? start : last < 0 ? 0 : last;
      for (int i = 0; i < 8; ++i) {
        int e = start - from[q] + 2 * i * kBits / 8, o = start - from[q] + (2 * i + 1) * kBits / 8;
        int at = 16 * q + 2 * i;
        even[at] = (int8_t)e, even[at + 1] = (int8_t)(e < 15 ? e + 1 : -1);
        odd[at] = (int8_t)o, odd[at + 1] = (int8_t)(o < 15 ? o + 1 : -1);
        even_factor[at / 2] = (int16_t)(1 << (8 - 2 * i * kBits % 8));
        odd_factor[at / 2] = (int16_t)(1 << (8 - (2 * i + 1) * kBits % 8));
      }
    }
  }
};
template <int kBits>
constexpr StreamPlan<kBits> kStreamPlan;
template <int kBits>
inline Bytes stream(const uint8_t* p) {
  constexpr auto& plan = kStreamPlan<kBits>;
  __m512i x = _mm512_castsi128_si512(load16(p + plan.from[0]));
  x = _mm512_inserti32x4(x, load16(p + plan.from[1]), 1);
  x = _mm512_inserti32x4(x, load16(p + plan.from[2]), 2);
  x = _mm512_inserti32x4(x, load16(p + plan.from[3]), 3);
  __m512i e = _mm512_mullo_epi16(_mm512_shuffle_epi8(x, _mm512_loadu_si512(plan.even)),
                                 _mm512_loadu_si512(plan.even_factor));
  __m512i o = _mm512_mullo_epi16(_mm512_shuffle_epi8(x, _mm512_loadu_si512(plan.odd)),
                                 _mm512_loadu_si512(plan.odd_factor));
  x = _mm512_ternarylogic_epi32(_mm512_set1_epi16((short)0xff00), o, _mm512_srli_epi16(e, 8), 0xca);
  return Bytes{x} & (uint8_t)((1 << kBits) - 1);
}
#endif
inline Bytes natural(Bytes x) {
  __m512i even = _mm512_cvtepu8_epi16(_mm512_castsi512_si256(x.v));
  __m512i odd = _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(x.v, 1));
  return {_mm512_or_si512(even, _mm512_slli_epi16(odd, 8))};
}

template <bool kBig>
inline Ints dot(Bytes c, Planes x) {
#if defined(__AVX512VNNI__)
  __m512i h = _mm512_dpbusd_epi32(_mm512_setzero_si512(), c.v, _mm512_loadu_si512(x.high));
  return {_mm512_dpbusd_epi32(_mm512_slli_epi32(h, 8), c.v, _mm512_loadu_si512(x.low))};
#else
  if constexpr (kBig) {
    const __m512i zero = _mm512_setzero_si512();
    __m512i l = _mm512_madd_epi16(_mm512_unpacklo_epi8(c.v, zero), _mm512_loadu_si512(x.wide));
    __m512i h = _mm512_madd_epi16(_mm512_unpackhi_epi8(c.v, zero), _mm512_loadu_si512(x.wide + 32));
    return {_mm512_add_epi32(l, h)};
  }
  // Codes below 128: sums of two products fit 16 bits.
  __m512i h = _mm512_maddubs_epi16(c.v, _mm512_loadu_si512(x.high));
  __m512i l = _mm512_maddubs_epi16(c.v, _mm512_loadu_si512(x.low));
  return {_mm512_add_epi32(_mm512_madd_epi16(h, _mm512_set1_epi16(256)),
                           _mm512_madd_epi16(l, _mm512_set1_epi16(1)))};
#endif
}

template <int kPer, bool kSplit>
inline F accumulate(F acc, Ints d, const float* s) {
  __m512 scale;
  if (kPer == 1) {
    scale = _mm512_set1_ps(s[0]);
  } else if (kPer == 2) {
    scale = _mm512_castsi512_ps(_mm512_broadcastq_epi64(_mm_loadl_epi64((const __m128i*)s)));
    scale = _mm512_permutevar_ps(
        scale,
        kSplit ? _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1)
               : _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1));
  } else {
    scale = _mm512_broadcast_f32x4(_mm_loadu_ps(s));
    scale = _mm512_permutevar_ps(
        scale,
        kSplit ? _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 0, 0, 1, 1, 2, 2, 3, 3)
               : _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3));
  }
  return {_mm512_fmadd_ps(_mm512_cvtepi32_ps(d.v), scale, acc.v)};
}

/// acc + the sums of products of a chunk.
template <class T>
inline F add_chunk(F acc, Bytes codes, Planes x, const float* s) {
  return accumulate<T::kPer, T::kSplit>(acc, dot<T::kBig>(codes, x), s);
}

inline F load_e8m0(const uint8_t* p) {
  __m512i e = _mm512_cvtepu8_epi32(load16(p));
  __mmask16 none = _mm512_testn_epi32_mask(e, e);
  e = _mm512_mask_mov_epi32(_mm512_slli_epi32(e, 23), none, _mm512_set1_epi32(0x400000));
  return {_mm512_castsi512_ps(e)};
}
inline F load_e4m3(const uint8_t* p) {
  __m256i b = _mm256_cvtepu8_epi16(load16(p));
  __m256i number = _mm256_and_si256(b, _mm256_set1_epi16(0x7f)), sign = _mm256_xor_si256(b, number);
  __m256i half = _mm256_or_si256(_mm256_slli_epi16(number, 7), _mm256_slli_epi16(sign, 8));
  half = _mm256_or_si256(half,
                         _mm256_and_si256(_mm256_cmpeq_epi16(number, _mm256_set1_epi16(0x7f)),
                                          _mm256_set1_epi16(0x7e00)));
  return F{_mm512_cvtph_ps(half)} * set(256);
}

inline F load_f16_part(const void* p, int n) {
  return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first(n), p))};
}
inline F load_bf16_part(const void* p, int n) {
  __m512i u = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(first(n), p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(u, 16))};
}
inline void eight(uint64_t codes, float offset, float d, float times, float* s, float* z) {
  __m256i u = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)codes));
  __m256 x = _mm256_sub_ps(_mm256_cvtepi32_ps(u), _mm256_set1_ps(offset));
  x = _mm256_mul_ps(x, _mm256_set1_ps(d));
  _mm256_storeu_ps(s, x);
  if (z) _mm256_storeu_ps(z, _mm256_mul_ps(x, _mm256_set1_ps(times)));
}
inline const uint8_t* bytes_part(const uint8_t* p, int n, uint8_t fill, uint8_t* t) {
  _mm_storeu_si128((__m128i*)t, _mm_mask_loadu_epi8(_mm_set1_epi8((char)fill), first(n), p));
  return t;
}

}  // namespace
}  // namespace mlxcpp::cpu
