// States that tokens walk through: one by one with lanes along a state's row, or in chunks.
namespace mlxcpp::cpu {
namespace {

/// out[i] = the sum of x[i]; in one order, whatever N.
template <int N>
inline void sums(const F (&x)[N], float* out) {
#if defined(__AVX2__)
  static_assert(N % 4 == 0);
  for (int i = 0; i < N; i += 4) {
    __m256 h[4];
    for (int k = 0; k < 4; ++k) {
#if defined(__AVX512F__)
      h[k] =
          _mm256_add_ps(_mm512_castps512_ps256(x[i + k].v), _mm512_extractf32x8_ps(x[i + k].v, 1));
#else
      h[k] = x[i + k].v;
#endif
    }
    __m256 s = _mm256_hadd_ps(_mm256_hadd_ps(h[0], h[1]), _mm256_hadd_ps(h[2], h[3]));
    _mm_storeu_ps(out + i, _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1)));
  }
#else
  for (int i = 0; i < N; ++i) out[i] = sum(x[i]);
#endif
}

/// What one token does to a head.
struct TokenStep {
  const float *q, *k;  // padded
  float decay, write, qk, skip;
};

/// Four rows of a state.  Under the delta rule y follows from the state before the token, so that
/// one look at the row serves both products.
template <bool kDelta, int R>
inline void step_rows(
    float* s, int n, const TokenStep& t, const float* v, float* y, const float* ahead) {
  F a[4], b[4];
  for (int r = 0; r < 4; ++r) a[r] = b[r] = zero();
  const int whole = n / kWidth * kWidth, part = n - whole;
  const F decay = set(t.decay);
  float w[4] = {}, known[4], read[4];
  if (!kDelta)
    for (int r = 0; r < R; ++r) w[r] = t.write * v[r];
  auto look = [&](int i, int count) {
    F k = load(t.k + i), q = load(t.q + i);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      float* at = s + (long)r * n + i;
      if (ahead) __builtin_prefetch(ahead + (long)r * n + i, 1);
      F x = load_some(at, count);
      if (kDelta) {
        a[r] = fma(x, k, a[r]), b[r] = fma(x, q, b[r]);
      } else {
        x = fma(x, decay, set(w[r]) * k);
        store_some(at, x, count);
        b[r] = fma(x, q, b[r]);
      }
    }
  };
  for (int i = 0; i < whole; i += kWidth) look(i, kWidth);
  if (part) look(whole, part);
  sums(b, read);
  if (!kDelta) {
    for (int r = 0; r < R; ++r) y[r] = read[r] + t.skip * v[r];
    return;
  }
  sums(a, known);
  for (int r = 0; r < R; ++r) {
    w[r] = t.write * (v[r] - t.decay * known[r]);
    y[r] = t.decay * read[r] + w[r] * t.qk + t.skip * v[r];
  }
  auto write = [&](int i, int count) {
    F k = load(t.k + i);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      float* at = s + (long)r * n + i;
      store_some(at, fma(load_some(at, count), decay, set(w[r]) * k), count);
    }
  };
  for (int i = 0; i < whole; i += kWidth) write(i, kWidth);
  if (part) write(whole, part);
}

template <bool kDelta>
inline void step_head(const Recurrence& r, const Chunk& c, int row, int head, int p, int p_end) {
  constexpr long kAhead = 8;
  constexpr int kRows = 32;  // of a state that stay near while the tokens pass
  float* s = r.after + ((long)row * r.heads + head) * r.p * r.n;
  for (int from = p; from < p_end; from += kRows) {
    int to = from + kRows < p_end ? from + kRows : p_end;
    for (int i = 0; i < c.count; ++i) {
      long at = ((long)row * r.tokens + c.first + i) * r.heads + head;
      TokenStep t = {c.q + (long)i * c.ld,
                     c.k + (long)i * c.ld,
                     r.decay[at],
                     r.write[at],
                     c.qk[i],
                     r.skip ? r.skip[head] : 0};
      const float* v = r.v.data + row * r.v.row + (c.first + i) * r.v.token + head * r.v.head;
      float* y = r.y + at * r.p;
      int j = from;
      // The first token brings the state in: some rows further on, at most those of the block.
      for (; j + 4 <= to; j += 4) {
        float* here = s + (long)j * r.n;
        step_rows<kDelta, 4>(here, r.n, t, v + j, y + j, i ? nullptr : here + kAhead * r.n);
      }
      for (; j < to; ++j) step_rows<kDelta, 1>(s + (long)j * r.n, r.n, t, v + j, y + j, nullptr);
    }
  }
}

/// One head's key or query into a padded row, of length `by` if wanted so.
inline void load_head(const float* x, int n, int ld, bool unit, float by, float* out) {
  F squares = zero();
  for (int i = 0; i < ld; i += kWidth) {
    F v = i < n ? load_some(x + i, n - i < kWidth ? n - i : kWidth) : zero();
    squares = fma(v, v, squares);
    store(out + i, v);
  }
  if (!unit) return;
  F factor = set(by / __builtin_sqrtf(sum(squares) + 1e-6f));
  for (int i = 0; i < ld; i += kWidth) store(out + i, load(out + i) * factor);
}

inline void start_states(const Recurrence& r, int row, int head, int p, int p_end) {
  if (r.before == r.after) return;
  long at = (((long)row * r.heads + head) * r.p + p) * r.n, size = (long)(p_end - p) * r.n;
  if (r.before)
    memcpy(r.after + at, r.before + at, sizeof(float) * size);
  else
    memset(r.after + at, 0, sizeof(float) * size);
}

inline void recurrence(
    const Recurrence& r, int row, int head, int head_end, int p, int p_end, float* scratch) {
  int valid = r.lengths ? r.lengths[row] : r.tokens;
  long key_head = head / (r.heads / r.key_heads);
  Chunk c = chunk_in(scratch, r.n);
  for (int h = head; h < head_end; ++h) start_states(r, row, h, p, p_end);
  for (c.first = 0; c.first < valid; c.first += kChunk) {
    c.count = valid - c.first < kChunk ? valid - c.first : kChunk;
    for (int i = 0; i < c.count; ++i) {
      long t = c.first + i;
      const float* q = r.q.data + row * r.q.row + t * r.q.token + key_head * r.q.head;
      const float* k = r.k.data + row * r.k.row + t * r.k.token + key_head * r.k.head;
      load_head(q, r.n, c.ld, r.unit, r.q_scale, c.q + i * c.ld);
      load_head(k, r.n, c.ld, r.unit, 1, c.k + i * c.ld);
    }
    bool chunk = !r.stepwise && c.count >= kLeastChunk;
    chunk ? multiply_keys(c) : multiply_own_keys(c);
    for (int h = head; h < head_end; ++h) {
      if (chunk)
        r.delta ? chunk_head<true>(r, c, row, h, p, p_end)
                : chunk_head<false>(r, c, row, h, p, p_end);
      else
        r.delta ? step_head<true>(r, c, row, h, p, p_end)
                : step_head<false>(r, c, row, h, p, p_end);
    }
  }
  for (int t = valid; t < r.tokens; ++t)
    for (int h = head; h < head_end; ++h)
      memset(r.y + (((long)row * r.tokens + t) * r.heads + h) * r.p + p,
             0,
             sizeof(float) * (p_end - p));
}

constexpr RecurrentKernels kRecurrent = {
    time_steps, recurrence, recurrence_scratch, causal_conv, causal_conv_scratch, gated_norm};

}  // namespace
}  // namespace mlxcpp::cpu
