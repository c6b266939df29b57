// Tokens in chunks.  What a chunk's tokens read of the state before it are products of matrices,
// likewise what they write together over it; what they read of each other is a small triangle.
// Source: the chunks of Mamba 2's paper; transformers qwen3_next, torch_chunk_gated_delta_rule.
// Differs: decays are multiplied, never divided, so that one of zero does no harm.
namespace mlxcpp::cpu {
namespace {

constexpr int kChunk = 16;
constexpr int kLeastChunk = 7;  // fewer tokens are faster one by one
constexpr int kStateRows = 64;  // that go through a chunk together

/// Memory for one chunk of one key head.  All of it fits the first cache for usual sizes.
struct Chunk {
  int first, count;  // tokens
  int ld;            // n, padded with zeros to a multiple of kChunk
  float *q, *k;      // (kChunk, ld)
  float *qt, *kt;    // (ld, kChunk)
  float *qk, *kk;    // (kChunk, kChunk): token t's query or key times key j
  // Of one head: the same with the decay between the two tokens.
  float *between_q, *between_k;
  float *read, *known;  // (kStateRows, kChunk): the state before the chunk times queries and keys
  float* news;          // (kChunk, kStateRows): what tokens write
};

inline long chunk_ld(int n) { return (n + kChunk - 1) / kChunk * kChunk; }
inline long recurrence_scratch(int n) {
  return 4 * chunk_ld(n) * kChunk + 4 * kChunk * kChunk + 5 * kStateRows * kChunk;
}
inline Chunk chunk_in(float* scratch, int n) {
  Chunk c;
  c.ld = (int)chunk_ld(n);
  auto take = [&](long size) {
    float* p = scratch;
    scratch += size;
    return p;
  };
  long keys = (long)c.ld * kChunk, square = kChunk * kChunk, rows = kStateRows * kChunk;
  c.q = take(keys), c.k = take(keys), c.qt = take(keys), c.kt = take(keys);
  c.qk = take(square), c.kk = take(square);
  c.between_q = take(square), c.between_k = take(square);
  c.read = take(2 * rows), c.known = take(2 * rows), c.news = take(rows);
  return c;
}

/// Columns become rows; both multiples of kWidth.
inline void turn(const float* from, long from_ld, int rows, int columns, float* to, long to_ld) {
  for (int i = 0; i < rows; i += kWidth)
    for (int j = 0; j < columns; j += kWidth) {
      F tile[kWidth];
      for (int k = 0; k < kWidth; ++k) tile[k] = load(from + (i + k) * from_ld + j);
      transpose(tile);
      for (int k = 0; k < kWidth; ++k) store(to + (j + k) * to_ld + i, tile[k]);
    }
}

/// R rows of length n times T turned matrices (n, kChunk) -> R rows of kChunk each.
template <int R, int T>
inline void dot_rows(
    const float* rows, long ld, int n, const float* const* turned, float* const* out) {
  constexpr int V = kChunk / kWidth;
  F s[T][R][V];
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) s[t][r][v] = zero();
  for (int i = 0; i < n; ++i) {
    F x[T][V];
    for (int t = 0; t < T; ++t)
      for (int v = 0; v < V; ++v) x[t][v] = load(turned[t] + (long)i * kChunk + v * kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      F y = set(rows[r * ld + i]);
      for (int t = 0; t < T; ++t)
        for (int v = 0; v < V; ++v) s[t][r][v] = fma(y, x[t][v], s[t][r][v]);
    }
  }
  for (int t = 0; t < T; ++t)
    for (int r = 0; r < R; ++r)
      for (int v = 0; v < V; ++v) store(out[t] + r * kChunk + v * kWidth, s[t][r][v]);
}
template <int T>
inline void dot_all(
    const float* rows, long ld, int n, int count, const float* const* turned, float* const* out) {
  constexpr int R = (kWidth == 16 ? 8 : kWidth == 8 ? 2 : 1) * (3 - T);
  float* to[T];
  int i = 0;
  for (; i < count; i += count - i >= R ? R : 1) {
    for (int t = 0; t < T; ++t) to[t] = out[t] + i * kChunk;
    if (count - i >= R)
      dot_rows<R, T>(rows + i * ld, ld, n, turned, to);
    else
      dot_rows<1, T>(rows + i * ld, ld, n, turned, to);
  }
}

/// What heads that share keys share.
inline void multiply_keys(const Chunk& c) {
  for (int i = c.count; i < kChunk; ++i) {
    memset(c.q + (long)i * c.ld, 0, sizeof(float) * c.ld);
    memset(c.k + (long)i * c.ld, 0, sizeof(float) * c.ld);
  }
  turn(c.q, c.ld, kChunk, c.ld, c.qt, kChunk);
  turn(c.k, c.ld, kChunk, c.ld, c.kt, kChunk);
  dot_all<1>(c.q, c.ld, c.ld, kChunk, &c.kt, &c.qk);
  dot_all<1>(c.k, c.ld, c.ld, kChunk, &c.kt, &c.kk);
}
/// Without chunks: qk (count), each token's query times its own key.
inline void multiply_own_keys(const Chunk& c) {
  for (int i = 0; i < c.count; ++i) {
    F s = zero();
    for (int j = 0; j < c.ld; j += kWidth)
      s = fma(load(c.q + (long)i * c.ld + j), load(c.k + (long)i * c.ld + j), s);
    c.qk[i] = sum(s);
  }
}

/// Decays of one head.
struct ChunkDecay {
  float since[kChunk];   // from the chunk's start, up to and with the token
  float to_end[kChunk];  // after the token, up to the chunk's end
  float write[kChunk];
};
inline void decay_products(const Recurrence& r, const Chunk& c, int row, int head, ChunkDecay* d) {
  float all = 1;
  float* between = d->to_end;
  for (int t = 0; t < c.count; ++t) {
    long at = ((long)row * r.tokens + c.first + t) * r.heads + head;
    all *= r.decay[at];
    d->since[t] = all, d->write[t] = r.write[at];
    for (int j = 0; j < t; ++j) between[j] *= r.decay[at];
    between[t] = 1;
    for (int j = 0; j <= t; ++j) {
      c.between_q[t * kChunk + j] = c.qk[t * kChunk + j] * between[j];
      c.between_k[t * kChunk + j] = c.kk[t * kChunk + j] * between[j];
    }
  }
}

/// What the tokens write and read, for U vectors of the state's rows.  v, y: of the chunk's first
/// token; `at`: the first row within what went together.
template <bool kDelta, int U>
inline void solve_rows(const Recurrence& r,
                       const Chunk& c,
                       const ChunkDecay& d,
                       float skip,
                       const float* v,
                       float* y,
                       int at,
                       int left) {
  const float *read = c.read + kStateRows * kChunk, *known = c.known + kStateRows * kChunk;
  auto part = [&](int u) { return left - u * kWidth < kWidth ? left - u * kWidth : kWidth; };
  for (int t = 0; t < c.count; ++t) {
    const float *bk = c.between_k + t * kChunk, *bq = c.between_q + t * kChunk;
    long here = (long)t * kStateRows + at;
    F value[U], news[U], out[U];
    for (int u = 0; u < U; ++u) {
      value[u] = news[u] = load_some(v + t * r.v.token + u * kWidth, part(u));
      if (kDelta) news[u] = fma(set(-d.since[t]), load(known + here + u * kWidth), news[u]);
      out[u] = set(d.since[t]) * load(read + here + u * kWidth);
    }
    for (int j = 0; j < t; ++j)
      for (int u = 0; u < U; ++u) {
        F x = load(c.news + (long)j * kStateRows + at + u * kWidth);
        if (kDelta) news[u] = fma(set(-bk[j]), x, news[u]);
        out[u] = fma(set(bq[j]), x, out[u]);
      }
    for (int u = 0; u < U; ++u) {
      news[u] = set(d.write[t]) * news[u];
      store(c.news + here + u * kWidth, news[u]);
      F s = fma(set(skip), value[u], fma(set(bq[t]), news[u], out[u]));
      store_some(y + (long)t * r.heads * r.p + u * kWidth, s, part(u));
    }
  }
}

/// s = decay s + news^T k for R rows and NV vectors of columns.
template <int R, int NV>
inline void write_rows(
    float* s, int n, int count, float decay, const float* news, const float* k, long ld, int part) {
  F x[R][NV];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < NV; ++v)
      x[r][v] = load_some(s + (long)r * n + v * kWidth, NV == 1 ? part : kWidth) * set(decay);
  for (int j = 0; j < count; ++j) {
    F key[NV];
    for (int v = 0; v < NV; ++v) key[v] = load(k + j * ld + v * kWidth);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      F w = set(news[j * kStateRows + r]);
      for (int v = 0; v < NV; ++v) x[r][v] = fma(w, key[v], x[r][v]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < NV; ++v)
      store_some(s + (long)r * n + v * kWidth, x[r][v], NV == 1 ? part : kWidth);
}
template <int R>
inline void write_columns(
    float* s, int n, int count, float decay, const float* news, const Chunk& c) {
  int i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth)
    write_rows<R, 4>(s + i, n, count, decay, news, c.k + i, c.ld, kWidth);
  for (; i < n; i += kWidth)
    write_rows<R, 1>(s + i, n, count, decay, news, c.k + i, c.ld, n - i < kWidth ? n - i : kWidth);
}

/// Rows [p, p + count) of one head's state, at most kStateRows, through the chunk.
template <bool kDelta>
inline void chunk_rows(
    const Recurrence& r, const Chunk& c, const ChunkDecay& d, int row, int head, int p, int count) {
  float* s = r.after + (((long)row * r.heads + head) * r.p + p) * r.n;
  const float* turned[2] = {c.qt, c.kt};
  float* out[2] = {c.read, c.known};
  if (kDelta)
    dot_all<2>(s, r.n, r.n, count, turned, out);
  else
    dot_all<1>(s, r.n, r.n, count, turned, out);
  int padded = (count + kWidth - 1) / kWidth * kWidth;
  turn(c.read, kChunk, padded, kChunk, c.read + kStateRows * kChunk, kStateRows);
  if (kDelta) turn(c.known, kChunk, padded, kChunk, c.known + kStateRows * kChunk, kStateRows);

  const float* v = r.v.data + row * r.v.row + c.first * r.v.token + head * r.v.head + p;
  float* y = r.y + (((long)row * r.tokens + c.first) * r.heads + head) * r.p + p;
  float skip = r.skip ? r.skip[head] : 0;
  constexpr int U = 4;
  int i = 0;
  for (; i + U * kWidth <= padded; i += U * kWidth)
    solve_rows<kDelta, U>(r, c, d, skip, v + i, y + i, i, count - i);
  for (; i < padded; i += kWidth) solve_rows<kDelta, 1>(r, c, d, skip, v + i, y + i, i, count - i);

  for (int t = 0; t < c.count; ++t)
    for (int j = 0; j < padded; j += kWidth) {
      float* x = c.news + (long)t * kStateRows + j;
      store(x, load(x) * set(d.to_end[t]));
    }
  constexpr int R = kWidth == 16 ? 4 : 2;
  float all = d.since[c.count - 1];
  for (i = 0; i + R <= count; i += R)
    write_columns<R>(s + (long)i * r.n, r.n, c.count, all, c.news + i, c);
  for (; i < count; ++i) write_columns<1>(s + (long)i * r.n, r.n, c.count, all, c.news + i, c);
}

template <bool kDelta>
inline void chunk_head(const Recurrence& r, const Chunk& c, int row, int head, int p, int p_end) {
  ChunkDecay d;
  decay_products(r, c, row, head, &d);
  for (int from = p; from < p_end; from += kStateRows)
    chunk_rows<kDelta>(
        r, c, d, row, head, from, p_end - from < kStateRows ? p_end - from : kStateRows);
}

}  // namespace
}  // namespace mlxcpp::cpu
