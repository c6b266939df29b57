// Attention to one block of keys by bfloat16 tiles.  Queries are columns: a tile of scores is 16
// keys by 16 queries, so largest scores, powers and sums are vectors over queries, and powers are
// the second operand of the product with values as they stand.
//
// Rounding queries and keys to bfloat16 would move scores by 1/500 of their terms, which some
// models make a hundred times larger than the scores' differences: both are sums of two bfloat16
// numbers, and three products are taken.  Powers and values are rounded once.
#include <stddef.h>
#include <string.h>

namespace mlxcpp::cpu {
namespace {

constexpr int kTileBytes = 1024, kPair = 32;  // queries that are worked on together
constexpr int kHalfRows = 256;

inline int steps_of(int size) { return (size + 31) / 32; }

/// 32 numbers in order, rounded.
inline __m512i round_half(__m512 low, __m512 high) {
  return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}
inline __m512 widen_half(__m256i h) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/// 32 numbers as a sum of two bfloat16 each; zeros behind the first `count`.
inline void split_half(const float* x, int count, void* high, void* low) {
  __mmask32 m = count >= 32 ? 0xffffffffu : (1u << count) - 1;
  __m512 a = _mm512_maskz_loadu_ps((__mmask16)m, x);
  __m512 b = _mm512_maskz_loadu_ps((__mmask16)(m >> 16), x + 16);
  __m512i h = round_half(a, b);
  a = _mm512_sub_ps(a, widen_half(_mm512_castsi512_si256(h)));
  b = _mm512_sub_ps(b, widen_half(_mm512_extracti64x4_epi64(h, 1)));
  _mm512_storeu_si512(high, h);
  _mm512_storeu_si512(low, round_half(a, b));
}

/// 16 rows of 16 numbers, `step` apart, to columns of 64 bytes.
inline void transpose_tile(const float* x, long step, float* y) {
  for (int d = 0; d < 16; d += 4) {
    F q[4];
    for (int i = 0; i < 4; ++i) q[i] = load_quads(x + i * step + d, 4 * step);
    transpose_quads(q);
    for (int i = 0; i < 4; ++i) store(y + (d + i) * 16, q[i]);
  }
}

/// Queries as second operands: for each 16 of them and 32 of their numbers a tile of high parts and
/// one of low parts.
inline void pack_queries(const KeyBlock& b, void* packed) {
  char* to = (char*)packed;
  int steps = steps_of(b.k_size);
  alignas(64) char high[kTileBytes], low[kTileBytes];
  for (int r = 0; r < b.rows; r += 16)
    for (int s = 0; s < steps; ++s, to += 2 * kTileBytes) {
      for (int i = 0; i < 16; ++i) {
        int count = r + i < b.rows ? b.k_size - 32 * s : 0;
        const float* q = b.q + (long)(count > 0 ? r + i : 0) * b.k_padded + 32 * s;
        split_half(q, count, high + 64 * i, low + 64 * i);
      }
      transpose_tile((const float*)high, 16, (float*)to);
      transpose_tile((const float*)low, 16, (float*)(to + kTileBytes));
    }
}
inline size_t packed_queries(int k_size) {
  return (size_t)kHalfRows / 16 * steps_of(k_size) * 2 * kTileBytes;
}

/// Keys as first operands: likewise, for each 16 of them.
inline void pack_keys(const KeyBlock& b, char* to) {
  int steps = steps_of(b.k_size), all = (b.keys + 31) / 32 * 32;
  for (int j = 0; j < all; ++j)
    for (int s = 0; s < steps; ++s) {
      char* tile = to + ((j / 16) * steps + s) * 2 * kTileBytes + j % 16 * 64;
      int count = j < b.keys ? b.k_size - 32 * s : 0;
      split_half(b.k + (count > 0 ? j * b.k_token + 32 * s : 0), count, tile, tile + kTileBytes);
    }
}

/// 16 keys by 16 numbers of their values, turned; zeros where there are none.
inline void turn_values(const KeyBlock& b, int key, int at, float* y) {
  const float* v = b.v + key * b.v_token + at;
  if (key + 16 <= b.keys && at + 16 <= b.v_size) return transpose_tile(v, b.v_token, y);
  alignas(64) float some[256] = {};
  int n = b.v_size - at < 16 ? b.v_size - at : 16;
  for (int i = 0; i < 16 && key + i < b.keys; ++i)
    memcpy(some + 16 * i, v + i * b.v_token, sizeof(float) * n);
  transpose_tile(some, 16, y);
}

/// Values as first operands: for each 16 of their numbers and 32 keys a tile.
inline void pack_values(const KeyBlock& b, char* to) {
  int parts = (b.v_size + 15) / 16, steps = steps_of(b.keys);
  alignas(64) float turned[2][256];
  for (int s = 0; s < steps; ++s)
    for (int p = 0; p < parts; ++p) {
      turn_values(b, 32 * s, 16 * p, turned[0]);
      turn_values(b, 32 * s + 16, 16 * p, turned[1]);
      char* tile = to + (p * (kKeyBlock / 32) + s) * kTileBytes;
      for (int i = 0; i < 16; ++i)
        _mm512_store_si512(
            tile + 64 * i,
            round_half(_mm512_load_ps(turned[0] + 16 * i), _mm512_load_ps(turned[1] + 16 * i)));
    }
}

/// Scores of 32 queries with keys [from, to), in rows of 32.
inline void tile_scores(
    const char* keys, const char* queries, int steps, int from, int to, float* scores) {
  const char *q0 = queries, *q1 = queries + steps * 2 * kTileBytes;
  for (int j = from; j < to; j += 32) {
    const char *k0 = keys + j / 16 * steps * 2 * kTileBytes, *k1 = k0 + steps * 2 * kTileBytes;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int s = 0; s < steps; ++s) {
      int at = s * 2 * kTileBytes, low = at + kTileBytes;
      _tile_loadd(4, k0 + low, 64);
      _tile_loadd(6, q0 + at, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, q1 + at, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, k1 + low, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      _tile_loadd(4, k0 + at, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, k1 + at, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
      _tile_loadd(6, q0 + low, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(2, 5, 6);
      _tile_loadd(7, q1 + low, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
    float* s = scores + j * kPair;
    _tile_stored(0, s, 4 * kPair);
    _tile_stored(1, s + 16, 4 * kPair);
    _tile_stored(2, s + 16 * kPair, 4 * kPair);
    _tile_stored(3, s + 16 * kPair + 16, 4 * kPair);
  }
}

/// The Sights of 16 queries.
struct Sights {
  F low, high, hidden_from, hidden_to;
  bool all;  // every key of the block is seen by all
};
inline Sights sights_of(const KeyBlock& b, int row, int from, int to) {
  float t[4][16];
  for (int i = 0; i < 16; ++i) {
    Sight s = b.sight[row + i < b.rows ? row + i : b.rows - 1];
    t[0][i] = s.low, t[1][i] = s.high, t[2][i] = s.hidden_from, t[3][i] = s.hidden_to;
  }
  Sights s = {load(t[0]), load(t[1]), load(t[2]), load(t[3]), !b.index && to <= b.keys};
  for (int i = 0; i < 16; ++i) {
    s.all &= t[0][i] <= (float)(b.first + from) && (float)(b.first + to) <= t[1][i];
    s.all &= t[2][i] >= t[3][i];
  }
  return s;
}

/// Minus infinity for keys that a query does not see, and the largest of the others.
inline F hide_tile(const KeyBlock& b, const Sights& s, int from, int to, float* scores) {
  F lowest = set(kLowest), m[2] = {lowest, lowest};
  if (s.all) {
    for (int j = from; j < to; j += 2)
      for (int i = 0; i < 2; ++i) m[i] = max(load(scores + (j + i) * kPair), m[i]);
    return max(m[0], m[1]);
  }
  for (int j = from; j < to; ++j) {
    F x = lowest;
    if (j < b.keys) {
      F at = set((float)(b.index ? b.index[j] : b.first + j));
      x = load(scores + j * kPair);
      x = select(less(at, s.low), lowest, x);
      x = select(less(at, s.high), x, lowest);
      x = select(less(at, s.hidden_from), x, select(less(at, s.hidden_to), lowest, x));
    }
    store(scores + j * kPair, x);
    m[0] = max(x, m[0]);
  }
  return m[0];
}

/// e^(score - shift) to five digits; at least 2^-126.
inline __m512 quick_power(F score, F shift) {
  __m512 log2e = _mm512_set1_ps(1.44269504f);
  __m512 x = _mm512_fmsub_ps(score.v, log2e, shift.v);
  x = _mm512_max_ps(_mm512_set1_ps(-126), x);
  __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_fmadd_ps(_mm512_set1_ps(0.009618129f), r, _mm512_set1_ps(0.05550411f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.24022651f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.69314718f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
  return _mm512_scalef_ps(p, n);
}

/// Scores of 16 queries become second operands of the product with values.
inline F tile_powers(const float* scores, F high, int from, int to, char* powers) {
  alignas(64) static const uint16_t kInterleave[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                       21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                       11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  __m512i interleave = _mm512_load_si512(kInterleave);
  F none = set(kLowest), shift = select(less(none, high), high, zero());
  F a = zero(), c = zero(), scaled = shift * set(1.44269504f);
  for (int j = from; j < to; j += 2) {
    __m512 p0 = quick_power(load(scores + j * kPair), scaled);
    __m512 p1 = quick_power(load(scores + (j + 1) * kPair), scaled);
    a = a + F{p0}, c = c + F{p1};
    _mm512_store_si512(powers + j * 32, _mm512_permutexvar_epi16(interleave, round_half(p0, p1)));
  }
  a = a + c;
  // Nothing was seen: no sum; unless what was seen is not a number.
  return select(less(none, high), a, select(less(a, set(1)), zero(), a));
}

/// Values weighted for 32 queries, to `out` and, for the second 16 of them, `next`.
inline void tile_values(
    const char* values, const char* powers, int parts, int from, int to, float* out, float* next) {
  const char* second = powers + kKeyBlock * 32;
  for (int p = 0; p < parts; p += 2) {
    bool two = p + 1 < parts;
    const char* v0 = values + p * (kKeyBlock / 32) * kTileBytes;
    const char* v1 = two ? v0 + kKeyBlock / 32 * kTileBytes : v0;
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int j = from; j < to; j += 32) {
      _tile_loadd(4, v0 + j * 32, 64);
      _tile_loadd(6, powers + j * 32, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, second + j * 32, 64);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(5, v1 + j * 32, 64);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, out + p * 256, 64);
    _tile_stored(1, next + p * 256, 64);
    if (!two) continue;
    _tile_stored(2, out + p * 256 + 256, 64);
    _tile_stored(3, next + p * 256 + 256, 64);
  }
}

/// Keys that some of 32 queries may see, to whole tiles.
inline void keys_for(const KeyBlock& b, int row, int* from, int* to) {
  *from = 0, *to = (b.keys + 31) / 32 * 32;
  if (b.index) return;
  float low = (float)(1 << 30), high = 0;
  for (int r = row; r < row + kPair && r < b.rows; ++r) {
    if (b.sight[r].low < low) low = b.sight[r].low;
    if (b.sight[r].high > high) high = b.sight[r].high;
  }
  float first = low - (float)b.first, last = high - (float)b.first;
  if (first > 0) *from = first < (float)*to ? (int)first / 32 * 32 : *to;
  if (last < (float)*to) *to = last > 0 ? ((int)last + 31) / 32 * 32 : 0;
}

inline size_t half_scratch(int k_size, int v_size) {
  return (size_t)kKeyBlock / 16 * steps_of(k_size) * 2 * kTileBytes +
         (size_t)(v_size + 15) / 16 * (kKeyBlock / 32) * kTileBytes +
         (size_t)kKeyBlock * kPair * (sizeof(float) + 2);
}

inline void attend_half(const KeyBlock& b, void* scratch, const Attended& y) {
  int steps = steps_of(b.k_size), parts = (b.v_size + 15) / 16;
  char* keys = (char*)scratch;
  char* values = keys + (size_t)kKeyBlock / 16 * steps * 2 * kTileBytes;
  float* scores = (float*)(values + (size_t)parts * (kKeyBlock / 32) * kTileBytes);
  char* powers = (char*)(scores + kKeyBlock * kPair);
  pack_keys(b, keys);
  pack_values(b, values);
  configure_tiles();
  for (int r = 0; r < b.rows; r += kPair) {
    int from, to;
    keys_for(b, r, &from, &to);
    if (from >= to) {
      for (int i = r; i < r + kPair; ++i) y.largest[i] = kLowest, y.sum[i] = 0;
      continue;
    }
    tile_scores(keys,
                (const char*)b.packed + (size_t)r / 16 * steps * 2 * kTileBytes,
                steps,
                from,
                to,
                scores);
    if (b.softcap)
      softcap(scores + from * kPair, b.softcap, (to - from) * kPair, scores + from * kPair);
    for (int g = 0; g < 2; ++g) {
      F high = hide_tile(b, sights_of(b, r + 16 * g, from, to), from, to, scores + 16 * g);
      store(y.largest + r + 16 * g, high);
      char* into = powers + g * kKeyBlock * 32;
      store(y.sum + r + 16 * g, tile_powers(scores + 16 * g, high, from, to, into));
    }
    float* out = y.out + (long)r * y.stride;
    tile_values(values, powers, parts, from, to, out, out + 16 * y.stride);
  }
  _tile_release();
}

/// Here `out` of each 16 queries is (y.stride, 16).
inline void merge_half(const Attended& more, int rows, const Attended& y) {
  F none = set(kLowest);
  for (int r = 0; r < rows; r += 16) {
    F sum = load(more.sum + r), mine = load(y.largest + r), theirs = load(more.largest + r);
    F high = max(theirs, mine), shift = select(less(none, high), high, zero());
    F keep = exp_of_negative(mine - shift), add = exp_of_negative(theirs - shift);
    store(y.largest + r, high);
    // Where nothing was seen, `more.out` may hold anything.
    __mmask16 seen = _mm512_cmp_ps_mask(sum.v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    if (!seen) continue;
    F all = fma(sum, add, load(y.sum + r) * keep);
    _mm512_mask_storeu_ps(y.sum + r, seen, all.v);
    const float* from = more.out + (long)r * more.stride;
    float* to = y.out + (long)r * y.stride;
    for (int d = 0; d < y.stride; ++d, from += 16, to += 16)
      _mm512_mask_storeu_ps(to, seen, fma(load(from), add, load(to) * keep).v);
  }
}

inline void finish_half(
    const Attended& y, int rows, const float* const* sinks, int v_size, float* const* out) {
  alignas(64) float turned[256];
  for (int r = 0; r < rows; r += 16) {
    float by[16];
    for (int i = 0; i < 16 && r + i < rows; ++i)
      by[i] = share_of(y.largest[r + i], y.sum[r + i], sinks[r + i]);
    for (int d = 0; d < v_size; d += 16) {
      transpose_tile(y.out + (long)r * y.stride + d * 16, 16, turned);
      int n = v_size - d < 16 ? v_size - d : 16;
      for (int i = 0; i < 16 && r + i < rows; ++i)
        scale_shift(turned + 16 * i, by[i], 0, n, out[r + i] + d);
    }
  }
}

const AttentionKernels kAttentionHalf = {.most_rows = kHalfRows,
                                         .least_rows = 16,
                                         .packed_bytes = packed_queries,
                                         .pack = pack_queries,
                                         .reads_half = nullptr,
                                         .scratch_bytes = half_scratch,
                                         .block = attend_half,
                                         .merge = merge_half,
                                         .finish = finish_half};

}  // namespace
}  // namespace mlxcpp::cpu
