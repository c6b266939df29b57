// Four floats by the compiler's vector types: the plainest tier, and NEON.
// Every file of kern/ is included by the units in tiers/, each with flags of its own: all stands in
// an anonymous namespace and uses no inline function of a shared header.
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace mlxcpp::cpu {
namespace {

typedef float Float4 __attribute__((vector_size(16)));
typedef int Int4 __attribute__((vector_size(16)));

/// A vector of kWidth floats.
struct F {
  Float4 v;
};
struct M {
  Int4 v;
};
constexpr int kWidth = 4;

inline F set(float x) { return {Float4{x, x, x, x}}; }
inline F zero() { return set(0); }
inline F load(const float* p) {
  F x;
  memcpy(&x.v, p, 16);
  return x;
}
inline void store(float* p, F x) { memcpy(p, &x.v, 16); }
/// The first n, 0 < n < kWidth; the others are zero.
inline F load_part(const float* p, int n) {
  float t[4] = {0, 0, 0, 0};
  memcpy(t, p, sizeof(float) * n);
  return load(t);
}
inline void store_part(float* p, F x, int n) { memcpy(p, &x.v, sizeof(float) * n); }

inline F operator+(F a, F b) { return {a.v + b.v}; }
inline F operator-(F a, F b) { return {a.v - b.v}; }
inline F operator*(F a, F b) { return {a.v * b.v}; }
inline F operator/(F a, F b) { return {a.v / b.v}; }
/// a * b + c.
inline F fma(F a, F b, F c) {
#if defined(__ARM_NEON)
  return {(Float4)vfmaq_f32((float32x4_t)c.v, (float32x4_t)a.v, (float32x4_t)b.v)};
#else
  return {a.v * b.v + c.v};
#endif
}
inline M less(F a, F b) { return {a.v < b.v}; }
inline F select(M m, F yes, F no) { return {(Float4)(((Int4)yes.v & m.v) | ((Int4)no.v & ~m.v))}; }
/// Of two numbers; b where one is not a number.
inline F max(F a, F b) { return select(less(b, a), a, b); }
inline F min(F a, F b) { return select(less(a, b), a, b); }
inline F abs(F x) { return {(Float4)((Int4)x.v & 0x7fffffff)}; }
inline F sqrt(F x) {
  F y;
  for (int i = 0; i < 4; ++i) y.v[i] = __builtin_sqrtf(x.v[i]);
  return y;
}
/// To the nearest, ties to even; |x| < 2^22.
inline F round(F x) {
  Float4 magic = set(12582912.f).v;
  volatile Float4 y = x.v + magic;  // not to be folded away
  return {y - magic};
}
/// 2^n for an integral n in [-126, 127].
inline F power_of_two(F n) { return {(Float4)((__builtin_convertvector(n.v, Int4) + 127) << 23)}; }
inline float sum(F x) { return (x.v[0] + x.v[2]) + (x.v[1] + x.v[3]); }
inline float largest(F x) {
  float a = x.v[0] > x.v[1] ? x.v[0] : x.v[1], b = x.v[2] > x.v[3] ? x.v[2] : x.v[3];
  return a > b ? a : b;
}

inline float from_bf16(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
/// Nearest, ties to even; what is not a number stays so.
inline uint16_t to_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 64);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
inline float from_f16(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 31, mantissa = h & 1023, u;
  float f;
  if (exponent == 0) {  // zero or subnormal: exact as a product
    f = (float)mantissa * 5.9604644775390625e-8f;
    memcpy(&u, &f, 4);
    u |= sign;
  } else {
    u = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | mantissa << 13;
  }
  memcpy(&f, &u, 4);
  return f;
}
/// Nearest, ties to even; what is too large becomes infinite, what is not a number stays so.
inline uint16_t to_f16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  uint32_t sign = u >> 16 & 0x8000;
  u &= 0x7fffffff;
  if (u > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (u >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (u < 0x38800000) {  // subnormal: the last digit of a number near 0.5 is 2^-24
    memcpy(&f, &u, 4);
    f += 0.5f;
    memcpy(&u, &f, 4);
    return (uint16_t)(sign | (u - 0x3f000000));
  }
  u += 0xfff + (u >> 13 & 1);
  return (uint16_t)(sign | (u - 0x38000000) >> 13);
}
inline F load_bf16(const void* p) {
  uint16_t h[4];
  memcpy(h, p, 8);
  return {Float4{from_bf16(h[0]), from_bf16(h[1]), from_bf16(h[2]), from_bf16(h[3])}};
}
inline F load_f16(const void* p) {
#if defined(__ARM_NEON)
  uint16x4_t h;
  memcpy(&h, p, 8);
  return {(Float4)vcvt_f32_f16(vreinterpret_f16_u16(h))};
#else
  uint16_t h[4];
  memcpy(h, p, 8);
  return {Float4{from_f16(h[0]), from_f16(h[1]), from_f16(h[2]), from_f16(h[3])}};
#endif
}
inline void store_f16(void* p, F x) {
#if defined(__ARM_NEON)
  uint16x4_t h = vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)x.v));
#else
  uint16_t h[4] = {to_f16(x.v[0]), to_f16(x.v[1]), to_f16(x.v[2]), to_f16(x.v[3])};
#endif
  memcpy(p, &h, 8);
}
/// Four codes 0 ... 255 as floats.
inline F load_u8(const void* p) {
  uint8_t b[4];
  memcpy(b, p, 4);
  return {Float4{(float)b[0], (float)b[1], (float)b[2], (float)b[3]}};
}

/// Columns become rows.
inline void transpose(F* r) {
  Float4 a = __builtin_shufflevector(r[0].v, r[1].v, 0, 4, 1, 5);
  Float4 b = __builtin_shufflevector(r[0].v, r[1].v, 2, 6, 3, 7);
  Float4 c = __builtin_shufflevector(r[2].v, r[3].v, 0, 4, 1, 5);
  Float4 d = __builtin_shufflevector(r[2].v, r[3].v, 2, 6, 3, 7);
  r[0].v = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  r[1].v = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  r[2].v = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  r[3].v = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}
inline F load_int(const int* p) {
  Int4 n;
  memcpy(&n, p, 16);
  return {__builtin_convertvector(n, Float4)};
}

/// kWidth / 4 times four neighbours, `step` apart.
inline F load_quads(const float* p, long) { return load(p); }
/// Of each four neighbours: x[i] gets the i-th of x[0] ... x[3].
inline void transpose_quads(F (&x)[4]) {
  Float4 a = x[0].v, b = x[1].v, c = x[2].v, d = x[3].v;
  Float4 ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5),
         ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  Float4 cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5),
         cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  x[0].v = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5);
  x[1].v = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
  x[2].v = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5);
  x[3].v = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);
}

}  // namespace
}  // namespace mlxcpp::cpu
