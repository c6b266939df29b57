// A short depthwise convolution with its state, and the small functions around recurrent mixers.
namespace mlxcpp::cpu {
namespace {

inline float stored(Stored s, long i) {
  switch (s.type) {
    case Number::f32: return ((const float*)s.data)[i];
    case Number::f16: return from_f16(((const uint16_t*)s.data)[i]);
    default: return from_bf16(((const uint16_t*)s.data)[i]);
  }
}
inline F load(Stored s, long i) {
  switch (s.type) {
    case Number::f32: return load((const float*)s.data + i);
    case Number::f16: return load_f16((const uint16_t*)s.data + i);
    default: return load_bf16((const uint16_t*)s.data + i);
  }
}
inline F load_some(Stored s, long i, int n) {
  if (n == kWidth) return load(s, i);
  float t[kWidth] = {};
  for (int j = 0; j < n; ++j) t[j] = stored(s, i + j);
  return load(t);
}
inline F load_some(const float* p, int n) { return n == kWidth ? load(p) : load_part(p, n); }
inline void store_some(float* p, F x, int n) { n == kWidth ? store(p, x) : store_part(p, x, n); }

inline F silu(F x) { return x * sigmoid(x); }

/// log(1 + u) for u in [0, 1]: the series of the hyperbolic tangent's inverse.
inline F log_of_one_plus(F u) {
  F z = u / (set(2) + u), w = z * z, p = set(1 / 17.f);
  for (int k = 15; k >= 1; k -= 2) p = fma(p, w, set(1.f / (float)k));
  return set(2) * z * p;
}
inline F softplus(F x) {
  return max(zero(), x) + log_of_one_plus(exp_of_negative(zero() - abs(x)));
}

inline void time_steps(const TimeSteps& t, int row, int token) {
  const float* raw = t.raw.data + row * t.raw.row + token * t.raw.token;
  const float* gate = t.gate.data + row * t.gate.row + token * t.gate.token;
  long out = ((long)row * t.tokens + token) * t.heads;
  for (int h = 0; h < t.heads; h += kWidth) {
    int n = t.heads - h < kWidth ? t.heads - h : kWidth;
    F step = softplus(load_some(raw + h, n) + load_some(t.bias + h, n));
    step = min(set(t.most), max(set(t.least), step));
    if (t.step) store_some(t.step + out + h, step, n);
    store_some(
        t.decay + out + h, exp_of_negative(zero() - exp(load_some(t.a_log + h, n)) * step), n);
    if (t.open) store_some(t.open + out + h, sigmoid(load_some(gate + h, n)), n);
  }
}

inline void gated_norm(const GatedNorm& g, int row) {
  for (int part = 0; part < g.groups; ++part) {
    long at = (long)part * g.size;
    const float* x = g.x + ((long)row * g.groups) * g.size + at;
    const float* gate = g.gate + row * g.gate_row + at;
    float* y = g.y + ((long)row * g.groups) * g.size + at;
    float by = 1;
    if (g.weight.data) {
      F squares[4] = {zero(), zero(), zero(), zero()};
      for (int i = 0; i < g.size; i += kWidth) {
        int n = g.size - i < kWidth ? g.size - i : kWidth;
        F v = load_some(x + i, n);
        if (g.gate_first) {
          v = v * silu(load_some(gate + i, n));
          store_some(y + i, v, n);
        }
        F& s = squares[i / kWidth % 4];
        s = fma(v, v, s);
      }
      float mean = sum((squares[0] + squares[1]) + (squares[2] + squares[3])) / (float)g.size;
      by = 1 / __builtin_sqrtf(mean + g.eps);
    }
    long first = g.weight.data ? at % g.period : 0;
    bool opened = g.weight.data && g.gate_first;
    for (int i = 0; i < g.size; i += kWidth) {
      int n = g.size - i < kWidth ? g.size - i : kWidth;
      F v = load_some(opened ? y + i : x + i, n) * set(by);
      if (g.weight.data) v = v * load_some(g.weight, first + i, n);
      if (!opened) v = v * silu(load_some(gate + i, n));
      store_some(y + i, v, n);
    }
  }
}

/// Each K-th of the numbers in v, from number k on.
template <int K>
inline F every(const F (&v)[K], int k) {
#if defined(__AVX512F__)
  if constexpr (K >= 2) {
    __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512i at =
        _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32(K)), _mm512_set1_epi32(k));
    __m512 x = _mm512_permutex2var_ps(v[0].v, at, v[1].v);
    for (int m = 2; m < K; ++m) {
      __mmask16 here = _mm512_cmpeq_epi32_mask(_mm512_srli_epi32(at, 4), _mm512_set1_epi32(m));
      x = _mm512_mask_permutexvar_ps(x, here, at, v[m].v);
    }
    return {x};
  }
#endif
  float all[K * kWidth], some[kWidth];
  for (int m = 0; m < K; ++m) store(all + m * kWidth, v[m]);
  for (int i = 0; i < kWidth; ++i) some[i] = all[i * K + k];
  return load(some);
}
/// Weights (channels, kernel) turned: taps[k * ld + i].
template <int K>
inline void turn_taps(Stored w, long first, int channels, int kernel, float* taps, int ld) {
  int i = 0;
  if constexpr (K > 0)
    for (; i + kWidth <= channels; i += kWidth) {
      F v[K];
      for (int m = 0; m < K; ++m) v[m] = load(w, first + (long)i * K + m * kWidth);
      for (int k = 0; k < K; ++k) store(taps + (long)k * ld + i, every<K>(v, k));
    }
  for (; i < channels; ++i)
    for (int k = 0; k < kernel; ++k)
      taps[(long)k * ld + i] = stored(w, first + (long)i * kernel + k);
}

inline long conv_ld(int channels) { return (channels + kWidth - 1) / kWidth * kWidth; }
inline long causal_conv_scratch(int kernel, int channels) {
  return (2L * kernel + 1) * conv_ld(channels);
}

/// The last `kernel` inputs of each channel go round in a ring: one token after the other, whole
/// rows, as they lie in memory.  K: the kernel if known.
template <int K>
inline void conv_channels(
    const CausalConv& a, int row, int from, int channels, int valid, float* scratch) {
  const int kernel = K ? K : a.kernel, ld = (int)conv_ld(channels);
  float *taps = scratch, *bias = taps + (long)kernel * ld, *ring = bias + ld;
  turn_taps<K>(a.weight, (long)from * kernel, channels, kernel, taps, ld);
  for (int i = 0; i < channels; i += kWidth) {
    int n = channels - i < kWidth ? channels - i : kWidth;
    store(bias + i, a.bias.data ? load_some(a.bias, from + i, n) : zero());
  }
  const size_t bytes = sizeof(float) * channels;
  long kept = (long)row * (kernel - 1) * a.channels + from;
  for (int k = 0; k + 1 < kernel; ++k) {
    if (a.old)
      memcpy(ring + (long)k * ld, a.old + kept + (long)k * a.channels, bytes);
    else
      memset(ring + (long)k * ld, 0, bytes);
  }
  int newest = kernel - 1;  // its place in the ring
  for (int t = 0; t < valid; ++t) {
    const float* x = a.x.data + row * a.x.row + t * a.x.token + from;
    const float* before =
        a.before.data ? a.before.data + row * a.before.row + t * a.before.token + from : nullptr;
    const float* after =
        a.after.data ? a.after.data + row * a.after.row + t * a.after.token + from : nullptr;
    float* y = a.y + ((long)row * a.tokens + t) * a.channels + from;
    auto at = [&](int i, int n) {
      F now = load_some(x + i, n), s = load(bias + i);
      if (before) now = now * load_some(before + i, n);
      store(ring + (long)newest * ld + i, now);
      int place = newest;
      for (int k = 0; k + 1 < kernel; ++k) {
        place = place + 1 < kernel ? place + 1 : 0;
        s = fma(load(taps + (long)k * ld + i), load(ring + (long)place * ld + i), s);
      }
      s = fma(load(taps + (long)(kernel - 1) * ld + i), now, s);
      if (a.silu) s = silu(s);
      if (after) s = s * load_some(after + i, n);
      store_some(y + i, s, n);
    };
    int i = 0;
    for (; i + kWidth <= channels; i += kWidth) at(i, kWidth);
    if (i < channels) at(i, channels - i);
    newest = newest + 1 < kernel ? newest + 1 : 0;
  }
  for (int k = 0; k + 1 < kernel; ++k)
    memcpy(
        a.next + kept + (long)k * a.channels, ring + (long)((newest + 1 + k) % kernel) * ld, bytes);
  for (int t = valid; t < a.tokens; ++t)
    memset(a.y + ((long)row * a.tokens + t) * a.channels + from, 0, bytes);
}

inline void causal_conv(const CausalConv& a, int row, int from, int to, float* scratch) {
  int valid = a.lengths ? a.lengths[row] : a.tokens;
  auto run = a.kernel == 2   ? conv_channels<2>
             : a.kernel == 3 ? conv_channels<3>
             : a.kernel == 4 ? conv_channels<4>
                             : conv_channels<0>;
  run(a, row, from, to - from, valid, scratch);
}

}  // namespace
}  // namespace mlxcpp::cpu
