// Attention to one block of keys in float32.  Scores are sums over the head's size in order, a
// vector of keys at a time; so what a query gets does not depend on its neighbours.  Few queries,
// where that is not asked for, are scored key by key.
#include <stddef.h>
#include <string.h>

namespace mlxcpp::cpu {
namespace {

constexpr int kKeys = 2 * kWidth;  // that are turned to columns together
constexpr int kScoreRows = kWidth == 16 ? 8 : 4;
constexpr int kQueryRows = 64;
constexpr int kRowsByKey = kWidth == 16 ? 8 : 4;
constexpr float kLowest = -__builtin_inff();

inline int padded4(int n) { return (n + 3) / 4 * 4; }

/// Turns kWidth keys of `size` numbers, a multiple of 4, to columns of kKeys.
inline void turn_keys(const float* k, long token, int size, float* columns) {
  for (int d = 0; d < size; d += 4) {
    F x[4];
    for (int i = 0; i < 4; ++i) x[i] = load_quads(k + i * token + d, 4 * token);
    transpose_quads(x);
    for (int i = 0; i < 4; ++i) store(columns + (d + i) * kKeys, x[i]);
  }
}

/// Keys [from, from + kKeys) of the block; zeros behind the last.  `rest` has room for kWidth keys.
inline void key_columns(const KeyBlock& b, int from, float* columns, float* rest) {
  int size = b.k_padded;
  for (int half = 0; half < kKeys; half += kWidth) {
    int n = b.keys - from - half;
    const float* k = b.k + (from + half) * b.k_token;
    if (n >= kWidth && size == b.k_size) {
      turn_keys(k, b.k_token, size, columns + half);
      continue;
    }
    memset(rest, 0, sizeof(float) * kWidth * size);
    for (int i = 0; i < n && i < kWidth; ++i)
      memcpy(rest + i * size, k + i * b.k_token, sizeof(float) * b.k_size);
    turn_keys(rest, size, size, columns + half);
  }
}

template <int R>
inline void score_rows(const float* q, int size, const float* columns, float* scores) {
  F a[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) a[r][0] = a[r][1] = zero();
  for (int d = 0; d < size; ++d) {
    F k0 = load(columns + d * kKeys), k1 = load(columns + d * kKeys + kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      F x = set(q[r * size + d]);
      a[r][0] = fma(x, k0, a[r][0]);
      a[r][1] = fma(x, k1, a[r][1]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    store(scores + r * kKeyBlock, a[r][0]);
    store(scores + r * kKeyBlock + kWidth, a[r][1]);
  }
}

/// Scores of all rows with kKeys keys.
inline void score(const KeyBlock& b, const float* columns, float* scores) {
  int r = 0, size = b.k_padded;
  for (; r + kScoreRows <= b.rows; r += kScoreRows)
    score_rows<kScoreRows>(b.q + r * size, size, columns, scores + r * kKeyBlock);
  const float* q = b.q + r * size;
  scores += r * kKeyBlock;
  switch (b.rows - r) {
    case 7: return score_rows<7>(q, size, columns, scores);
    case 6: return score_rows<6>(q, size, columns, scores);
    case 5: return score_rows<5>(q, size, columns, scores);
    case 4: return score_rows<4>(q, size, columns, scores);
    case 3: return score_rows<3>(q, size, columns, scores);
    case 2: return score_rows<2>(q, size, columns, scores);
    case 1: return score_rows<1>(q, size, columns, scores);
  }
}

/// Brings `n` numbers near: keys lie in memory that nothing has read since the last token.
template <class T>
inline void fetch(const T* x, int n) {
  for (int i = 0; i < n; i += 64 / (int)sizeof(T)) __builtin_prefetch(x + i, 0, 2);
}

/// Keys and values may be float16, as integers of 16 bits.
inline F number(const float* p) { return load(p); }
inline F number(const uint16_t* p) { return load_f16(p); }
inline F number_part(const float* p, int n) { return load_part(p, n); }
inline F number_part(const uint16_t* p, int n) {
  uint16_t some[kWidth] = {};
  memcpy(some, p, sizeof(uint16_t) * n);
  return load_f16(some);
}

/// Scores of R rows with all keys, each key as it lies.  The values come near meanwhile.
template <int R, class T>
inline void score_by_key(
    const float* q, const KeyBlock& b, const T* keys, const T* values, float* scores) {
  constexpr int kAhead = 16;  // keys
  int size = b.k_size, last = b.keys - 1;
  for (int j = 0; j < b.keys; j += 4) {
    const T* k[4];
    F a[R][4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      int key = j + i < last ? j + i : last;
      k[i] = keys + key * b.k_token;
      fetch(k[i] + kAhead * b.k_token, size);
      fetch(values + key * b.v_token, b.v_size);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) a[r][i] = zero();
    }
    for (int d = 0; d < size; d += kWidth) {
      F x[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) x[i] = number(k[i] + d);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        F y = load(q + r * b.k_padded + d);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) a[r][i] = fma(y, x[i], a[r][i]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
      sum_four(a[r][0], a[r][1], a[r][2], a[r][3], 1, scores + r * kKeyBlock + j);
  }
}

/// Few rows are not worth turning keys to columns; but the sums have another order then.
inline bool by_key(const KeyBlock& b) {
  return !b.same_sums && b.rows <= kRowsByKey && b.k_size % kWidth == 0;
}
template <class T>
inline void score_by_key(const KeyBlock& b, const T* keys, const T* values, float* scores) {
  constexpr int kMost = kWidth == 16 ? 4 : 2;
  const float* q = b.q;
  for (int left = b.rows; left > 0; left -= kMost) {
    switch (left < kMost ? left : kMost) {
      case 1: score_by_key<1>(q, b, keys, values, scores); break;
      case 2: score_by_key<2>(q, b, keys, values, scores); break;
      case 3:
        if constexpr (kMost > 3) score_by_key<3>(q, b, keys, values, scores);
        break;
      default: score_by_key<kMost>(q, b, keys, values, scores);
    }
    q += kMost * b.k_padded, scores += kMost * kKeyBlock;
  }
}

/// Minus infinity for the keys that row r does not see.
inline void hide(const KeyBlock& b, int r, float* scores) {
  F lowest = set(kLowest);
  for (int j = b.keys; j % kKeys; ++j) scores[j] = kLowest;
  if (b.allowed) {
    const unsigned char* allowed = b.allowed + (long)(r / b.group) * kKeyBlock;
    for (int j = 0; j < b.keys; j += kWidth)
      store(scores + j, select(less(zero(), load_u8(allowed + j)), load(scores + j), lowest));
    return;
  }
  Sight s = b.sight[r];
  bool gap = s.hidden_from < s.hidden_to;
  float last = (float)(b.first + b.keys - 1);
  if (!b.index && s.low <= (float)b.first && last < s.high &&
      (!gap || last < s.hidden_from || s.hidden_to <= (float)b.first))
    return;
  float counted[kWidth];
  for (int i = 0; i < kWidth; ++i) counted[i] = (float)(b.first + i);
  F at = load(counted);
  for (int j = 0; j < b.keys; j += kWidth) {
    F x = load(scores + j);
    if (b.index) {
      int rest[kWidth] = {}, n = b.keys - j;
      if (n < kWidth) memcpy(rest, b.index + j, sizeof(int) * n);
      at = load_int(n < kWidth ? rest : b.index + j);
    }
    x = select(less(at, set(s.low)), lowest, x);
    x = select(less(at, set(s.high)), x, lowest);
    if (gap)
      x = select(less(at, set(s.hidden_from)), x, select(less(at, set(s.hidden_to)), lowest, x));
    store(scores + j, x);
    at = at + set((float)kWidth);
  }
}

/// Scores of one row become powers; their largest and their sum.
inline void powers(float* scores, int keys, float* largest_score, float* total) {
  F m[2] = {set(kLowest), set(kLowest)};
  for (int j = 0; j < keys; j += kKeys)
    for (int i = 0; i < 2; ++i) m[i] = max(load(scores + j + i * kWidth), m[i]);
  float high = largest(max(m[0], m[1]));
  *largest_score = high;
  F shift = set(high == kLowest ? 0.f : high), a[2] = {zero(), zero()};
  for (int j = 0; j < keys; j += kKeys)
    for (int i = 0; i < 2; ++i) {
      F e = exp_of_negative(load(scores + j + i * kWidth) - shift);
      a[i] = a[i] + e;
      store(scores + j + i * kWidth, e);
    }
  *total = sum(a[0] + a[1]);
}

/// Neighbouring keys.
struct KeyRange {
  int from, to;
};

/// R rows of N vectors of `out`, from the keys of a range in order, after those of earlier ones;
/// one vector may be a part.
template <int R, int N, class T>
inline void weigh_rows(const float* p,
                       const KeyBlock& b,
                       const T* values,
                       KeyRange keys,
                       int at,
                       int stride,
                       float* out) {
  // Every loop over sums is unrolled: else g++ writes them all to memory for each key.
  F a[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n)
      a[r][n] = keys.from ? load(out + (long)r * stride + at + n * kWidth) : zero();
  const T* v = values + keys.from * b.v_token + at;
  int part = b.v_size - at;
  for (int j = keys.from; j < keys.to; ++j, v += b.v_token) {
    F x[N];
#pragma GCC unroll 8
    for (int n = 0; n < N - 1; ++n) x[n] = number(v + n * kWidth);
    const T* last = v + (N - 1) * kWidth;
    x[N - 1] = N == 1 && part < kWidth ? number_part(last, part) : number(last);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      F w = set(p[r * kKeyBlock + j]);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) a[r][n] = fma(w, x[n], a[r][n]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) store(out + (long)r * stride + at + n * kWidth, a[r][n]);
}

constexpr int kWeighRows = kWidth == 16 ? 6 : 3;

template <int N, class T>
inline void weigh(
    const float* p, const KeyBlock& b, const T* v, KeyRange keys, int at, const Attended& y) {
  int r = 0;
  for (; r + kWeighRows <= b.rows; r += kWeighRows)
    weigh_rows<kWeighRows, N>(
        p + r * kKeyBlock, b, v, keys, at, y.stride, y.out + (long)r * y.stride);
  p += r * kKeyBlock;
  float* out = y.out + (long)r * y.stride;
  switch (b.rows - r) {
    case 5: return weigh_rows<5, N>(p, b, v, keys, at, y.stride, out);
    case 4: return weigh_rows<4, N>(p, b, v, keys, at, y.stride, out);
    case 3: return weigh_rows<3, N>(p, b, v, keys, at, y.stride, out);
    case 2: return weigh_rows<2, N>(p, b, v, keys, at, y.stride, out);
    case 1: return weigh_rows<1, N>(p, b, v, keys, at, y.stride, out);
  }
}
template <class T>
inline void weigh(const float* p, const KeyBlock& b, const T* v, const Attended& y) {
  constexpr int kVectors = kWidth == 16 ? 4 : 2;
  // What several rows read again is to stay in the first cache.
  int together = b.rows > kWeighRows ? 64 : kKeyBlock;
  int at = 0;
  for (; at + kVectors * kWidth <= b.v_size; at += kVectors * kWidth)
    for (int j = 0; j < b.keys; j += together)
      weigh<kVectors>(p, b, v, {j, j + together < b.keys ? j + together : b.keys}, at, y);
  for (; at < b.v_size; at += kWidth) weigh<1>(p, b, v, {0, b.keys}, at, y);
}

inline size_t block_scratch(int k_size, int) {
  return sizeof(float) * ((size_t)padded4(k_size) * (kKeys + kWidth) + kQueryRows * kKeyBlock);
}

inline void attend_block(const KeyBlock& b, void* scratch, const Attended& y) {
  float* columns = (float*)scratch;
  float* rest = columns + b.k_padded * kKeys;
  float* scores = rest + b.k_padded * kWidth;
  if (b.k_half) {
    score_by_key(b, b.k_half, b.v_half, scores);
  } else if (by_key(b)) {
    score_by_key(b, b.k, b.v, scores);
  } else {
    for (int j = 0; j < b.keys; j += kKeys) {
      key_columns(b, j, columns, rest);
      score(b, columns, scores + j);
    }
  }
  for (int r = 0; r < b.rows; ++r) {
    float* row = scores + r * kKeyBlock;
    if (b.softcap) softcap(row, b.softcap, b.keys, row);
    hide(b, r, row);
    powers(row, b.keys, y.largest + r, y.sum + r);
  }
  if (b.v_half)
    weigh(scores, b, b.v_half, y);
  else
    weigh(scores, b, b.v, y);
}

/// y[i] = y[i] * keep + more[i] * add, whole vectors.
inline void blend(float* y, F keep, const float* more, F add, int n) {
  for (int i = 0; i < n; i += kWidth) store(y + i, fma(load(more + i), add, load(y + i) * keep));
}

inline void merge(const Attended& more, int rows, const Attended& y) {
  for (int r = 0; r < rows; ++r) {
    if (more.sum[r] == 0) continue;
    float high = more.largest[r] > y.largest[r] ? more.largest[r] : y.largest[r];
    F shift = set(high == kLowest ? 0.f : high);
    F keep = exp_of_negative(set(y.largest[r]) - shift);
    F add = exp_of_negative(set(more.largest[r]) - shift);
    float both[kWidth];
    store(both, fma(set(more.sum[r]), add, set(y.sum[r]) * keep));
    y.sum[r] = both[0], y.largest[r] = high;
    blend(y.out + (long)r * y.stride, keep, more.out + (long)r * more.stride, add, y.stride);
  }
}

/// What a weighted sum is multiplied with.  A query that sees nothing has no sum.
inline float share_of(float largest, float total, const float* sink) {
  float by = 1;
  if (sink && (*sink > kLowest || largest > kLowest)) {
    float high = *sink > largest ? *sink : largest, parts[2][kWidth];
    store(parts[0], exp_of_negative(set(largest - high)));
    store(parts[1], exp_of_negative(set(*sink - high)));
    by = parts[0][0], total = total * by + parts[1][0];
  }
  return total == 0 ? 0 : by / total;
}

inline void finish(
    const Attended& y, int rows, const float* const* sinks, int v_size, float* const* out) {
  for (int r = 0; r < rows; ++r) {
    float by = share_of(y.largest[r], y.sum[r], sinks[r]);
    scale_shift(y.out + (long)r * y.stride, by, 0, v_size, out[r]);
  }
}

constexpr AttentionKernels kAttentionF32 = {.most_rows = kQueryRows,
                                            .least_rows = 1,
                                            .packed_bytes = nullptr,
                                            .pack = nullptr,
                                            .reads_half = by_key,
                                            .scratch_bytes = block_scratch,
                                            .block = attend_block,
                                            .merge = merge,
                                            .finish = finish};

}  // namespace
}  // namespace mlxcpp::cpu
