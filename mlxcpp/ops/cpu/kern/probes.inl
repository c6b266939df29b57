// How fast the units of this tier are: register operands only, enough chains to hide latencies.
// Needs one of the simd_*.inl.
#include <stddef.h>

namespace mlxcpp::cpu {
namespace {

constexpr int kChains = 12;
volatile float float_sink;
volatile int int_sink;

inline void probe_f32(long n) {
  F a[kChains];
  for (int i = 0; i < kChains; ++i) a[i] = set(1.f + (float)i);
  F x = set(0.9999f), y = set(1e-5f);
  for (long i = 0; i < n; ++i) {
#pragma GCC unroll 12
    for (int k = 0; k < kChains; ++k) a[k] = fma(a[k], x, y);
  }
  for (int i = 1; i < kChains; ++i) a[0] = a[0] + a[i];
  float_sink = sum(a[0]);
}
constexpr Probe kProbeF32 = {probe_f32, kChains* kWidth};

#if defined(__AVX512BF16__)
inline void probe_half(long n) {
  __m512 a[kChains];
  for (int i = 0; i < kChains; ++i) a[i] = _mm512_setzero_ps();
  __m512bh x = (__m512bh)_mm512_set1_epi16(0x3c00), y = (__m512bh)_mm512_set1_epi16(0x3c10);
  for (long i = 0; i < n; ++i) {
#pragma GCC unroll 12
    for (int k = 0; k < kChains; ++k) a[k] = _mm512_dpbf16_ps(a[k], x, y);
  }
  for (int i = 1; i < kChains; ++i) a[0] = _mm512_add_ps(a[0], a[i]);
  float_sink = _mm512_reduce_add_ps(a[0]);
}
constexpr Probe kProbeHalf = {probe_half, kChains * 32};
#else
constexpr Probe kProbeHalf = {};
#endif

#if defined(__AVX512VNNI__)
inline void probe_byte(long n) {
  __m512i a[kChains];
  for (int i = 0; i < kChains; ++i) a[i] = _mm512_setzero_si512();
  __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
  for (long i = 0; i < n; ++i) {
#pragma GCC unroll 12
    for (int k = 0; k < kChains; ++k) a[k] = _mm512_dpbusd_epi32(a[k], x, y);
  }
  for (int i = 1; i < kChains; ++i) a[0] = _mm512_add_epi32(a[0], a[i]);
  int_sink = _mm512_reduce_add_epi32(a[0]);
}
constexpr Probe kProbeByte = {probe_byte, kChains * 64};
#elif defined(__AVXVNNI__)
inline void probe_byte(long n) {
  __m256i a[kChains];
  for (int i = 0; i < kChains; ++i) a[i] = _mm256_setzero_si256();
  __m256i x = _mm256_set1_epi8(3), y = _mm256_set1_epi8(5);
  for (long i = 0; i < n; ++i) {
#pragma GCC unroll 12
    for (int k = 0; k < kChains; ++k) a[k] = _mm256_dpbusd_avx_epi32(a[k], x, y);
  }
  for (int i = 1; i < kChains; ++i) a[0] = _mm256_add_epi32(a[0], a[i]);
  int_sink = _mm256_extract_epi32(a[0], 0);
}
constexpr Probe kProbeByte = {probe_byte, kChains * 32};
#else
constexpr Probe kProbeByte = {};
#endif

#if defined(__AMX_TILE__)
inline void probe_tiles(long n) {
  configure_tiles();
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (long i = 0; i < n; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}
constexpr Probe kProbeTiles = {probe_tiles, 4 * 16 * 16 * 32};
#else
constexpr Probe kProbeTiles = {};
#endif

inline int probe_read(const void* data, size_t bytes) {
  const char* p = (const char*)data;
  typedef int Int16 __attribute__((vector_size(64), aligned(4)));
  Int16 s[4] = {};
  for (size_t i = 0; i + 256 <= bytes; i += 256) {
    __builtin_prefetch(p + i + 2048);
    __builtin_prefetch(p + i + 2112);
    __builtin_prefetch(p + i + 2176);
    __builtin_prefetch(p + i + 2240);
    for (int k = 0; k < 4; ++k) s[k] += *(const Int16*)(p + i + 64 * k);
  }
  s[0] += s[1] + (s[2] + s[3]);
  int all = 0;
  for (int i = 0; i < 16; ++i) all ^= s[0][i];
  return all;
}

constexpr Probes kProbes = {kProbeF32, kProbeHalf, kProbeByte, kProbeTiles, probe_read};

}  // namespace
}  // namespace mlxcpp::cpu
