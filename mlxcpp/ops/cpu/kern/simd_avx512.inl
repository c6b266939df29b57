// Sixteen floats with AVX-512 F, BW, DQ and VL.  See simd_generic.inl for what each function means.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

namespace mlxcpp::cpu {
namespace {

struct F {
  __m512 v;
};
struct M {
  __mmask16 v;
};
constexpr int kWidth = 16;

inline __mmask16 first(int n) { return (__mmask16)((1u << n) - 1); }
inline F set(float x) { return {_mm512_set1_ps(x)}; }
inline F zero() { return {_mm512_setzero_ps()}; }
inline F load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, F x) { _mm512_storeu_ps(p, x.v); }
inline F load_part(const float* p, int n) { return {_mm512_maskz_loadu_ps(first(n), p)}; }
inline void store_part(float* p, F x, int n) { _mm512_mask_storeu_ps(p, first(n), x.v); }

inline F operator+(F a, F b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F operator-(F a, F b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F operator*(F a, F b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F operator/(F a, F b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F fma(F a, F b, F c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline M less(F a, F b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
inline F select(M m, F yes, F no) { return {_mm512_mask_blend_ps(m.v, no.v, yes.v)}; }
inline F max(F a, F b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F min(F a, F b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F abs(F x) { return {_mm512_abs_ps(x.v)}; }
inline F sqrt(F x) { return {_mm512_sqrt_ps(x.v)}; }
inline F round(F x) {
  return {_mm512_roundscale_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline F power_of_two(F n) {
  __m512i e = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(e, 23))};
}
inline float sum(F x) { return _mm512_reduce_add_ps(x.v); }
inline float largest(F x) { return _mm512_reduce_max_ps(x.v); }

inline float from_bf16(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
inline uint16_t to_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 64);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
inline float from_f16(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }
inline F load_bf16(const void* p) {
  __m512i u = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(u, 16))};
}
inline F load_f16(const void* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))};
}
inline void store_f16(void* p, F x) {
  _mm256_storeu_si256((__m256i*)p, _mm512_cvtps_ph(x.v, _MM_FROUND_TO_NEAREST_INT));
}
inline F load_u8(const void* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)))};
}

/// Sixteen rows of sixteen 32-bit values.
inline void transpose(__m512i* r) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0x88);
    t[4 + i] = _mm512_shuffle_i32x4(r[i], r[4 + i], 0xdd);
    t[8 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0x88);
    t[12 + i] = _mm512_shuffle_i32x4(r[8 + i], r[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0x88);
    r[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], 0xdd);
    r[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0x88);
    r[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], 0xdd);
  }
}
inline void transpose(F* r) {
  __m512i t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) t[i] = _mm512_castps_si512(r[i].v);
  transpose(t);
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i].v = _mm512_castsi512_ps(t[i]);
}
inline F load_int(const int* p) { return {_mm512_cvtepi32_ps(_mm512_loadu_si512(p))}; }

inline F load_quads(const float* p, long step) {
  __m512 x = _mm512_castps128_ps512(_mm_loadu_ps(p));
  x = _mm512_mask_broadcast_f32x4(x, 0x00f0, _mm_loadu_ps(p + step));
  x = _mm512_mask_broadcast_f32x4(x, 0x0f00, _mm_loadu_ps(p + 2 * step));
  return {_mm512_mask_broadcast_f32x4(x, 0xf000, _mm_loadu_ps(p + 3 * step))};
}
inline void transpose_quads(F (&x)[4]) {
  __m512d ab0 = _mm512_castps_pd(_mm512_unpacklo_ps(x[0].v, x[1].v));
  __m512d ab1 = _mm512_castps_pd(_mm512_unpackhi_ps(x[0].v, x[1].v));
  __m512d cd0 = _mm512_castps_pd(_mm512_unpacklo_ps(x[2].v, x[3].v));
  __m512d cd1 = _mm512_castps_pd(_mm512_unpackhi_ps(x[2].v, x[3].v));
  x[0].v = _mm512_castpd_ps(_mm512_unpacklo_pd(ab0, cd0));
  x[1].v = _mm512_castpd_ps(_mm512_unpackhi_pd(ab0, cd0));
  x[2].v = _mm512_castpd_ps(_mm512_unpacklo_pd(ab1, cd1));
  x[3].v = _mm512_castpd_ps(_mm512_unpackhi_pd(ab1, cd1));
}

}  // namespace
}  // namespace mlxcpp::cpu
