// Norms, activations, softmax, rotations: one row, or a stretch of one.
#include <stddef.h>

namespace mlxcpp::cpu {
namespace {

/// f(i, full vector?) over [0, n): whole vectors, then the rest.
template <class Whole, class Part>
inline void each_vector(long n, Whole whole, Part part) {
  long i = 0;
  for (; i + kWidth <= n; i += kWidth) whole(i);
  if (i < n) part(i, (int)(n - i));
}

/// y[i] = f(x[i]).
template <class Function>
inline void map(const float* x, long n, float* y, Function f) {
  each_vector(
      n,
      [&](long i) { store(y + i, f(load(x + i))); },
      [&](long i, int rest) { store_part(y + i, f(load_part(x + i, rest)), rest); });
}

/// Sums or maxima of f(x[i]) in four chains; join(chain, value).  `rest` sees the last vector with
/// zeros behind its numbers.
template <class Join, class Function, class Rest>
inline F fold(const float* x, long n, F start, Join join, Function f, Rest rest) {
  F a[4] = {start, start, start, start};
  long i = 0;
  for (; i + 4 * kWidth <= n; i += 4 * kWidth)
    for (int k = 0; k < 4; ++k) a[k] = join(a[k], f(load(x + i + k * kWidth)));
  for (; i + kWidth <= n; i += kWidth) a[0] = join(a[0], f(load(x + i)));
  if (i < n) a[1] = join(a[1], rest(x + i, (int)(n - i)));
  return join(join(a[0], a[1]), join(a[2], a[3]));
}

inline F plus(F a, F b) { return a + b; }
/// The first n of x, `fill` behind them.
inline F filled(F x, int n, float fill) {
  float t[kWidth];
  store(t, x);
  for (int i = n; i < kWidth; ++i) t[i] = fill;
  return load(t);
}

inline void rms_norm(const float* x,
                     const float* add,
                     const float* weight,
                     float eps,
                     int size,
                     float* total,
                     float* y) {
  if (add) {
    each_vector(
        size,
        [&](long i) { store(total + i, load(x + i) + load(add + i)); },
        [&](long i, int n) {
          store_part(total + i, load_part(x + i, n) + load_part(add + i, n), n);
        });
    x = total;
  }
  auto square = [](F v) { return v * v; };
  F squares = fold(x, size, zero(), plus, square, [](const float* p, int n) {
    F v = load_part(p, n);
    return v * v;
  });
  F by = set(1 / __builtin_sqrtf(sum(squares) / (float)size + eps));
  if (!weight) return map(x, size, y, [&](F v) { return v * by; });
  each_vector(
      size,
      [&](long i) { store(y + i, load(x + i) * by * load(weight + i)); },
      [&](long i, int n) {
        store_part(y + i, load_part(x + i, n) * by * load_part(weight + i, n), n);
      });
}

inline void layer_norm(
    const float* x, const float* weight, const float* bias, float eps, int size, float* y) {
  F all = fold(
      x,
      size,
      zero(),
      plus,
      [](F v) { return v; },
      [](const float* p, int n) { return load_part(p, n); });
  F mean = set(sum(all) / (float)size);
  F squares = fold(
      x,
      size,
      zero(),
      plus,
      [&](F v) { return (v - mean) * (v - mean); },
      [&](const float* p, int n) {
        F d = filled(load_part(p, n) - mean, n, 0);
        return d * d;
      });
  F by = set(1 / __builtin_sqrtf(sum(squares) / (float)size + eps));
  each_vector(
      size,
      [&](long i) {
        store(y + i, fma((load(x + i) - mean) * by, load(weight + i), load(bias + i)));
      },
      [&](long i, int n) {
        F v = (load_part(x + i, n) - mean) * by;
        store_part(y + i, fma(v, load_part(weight + i, n), load_part(bias + i, n)), n);
      });
}

template <Act act>
inline F act_of(F x) {
  if constexpr (act == Act::silu) return x / (set(1) + exp(zero() - x));
  if constexpr (act == Act::gelu) return x * normal_below(x);
  if constexpr (act == Act::relu2) {
    F r = max(zero(), x);
    return r * r;
  }
  // 0.5 x (1 + tanh(u)) is x sigmoid(2 u).
  F u = fma(x * x * set(0.044715f), x, x) * set(-1.5957691216057308f);
  return x / (set(1) + exp(u));
}

/// Calls f with the activation as a constant.
template <class Function>
inline void with_act(Act act, Function f) {
  switch (act) {
    case Act::silu: return f.template operator()<Act::silu>();
    case Act::gelu: return f.template operator()<Act::gelu>();
    case Act::gelu_tanh: return f.template operator()<Act::gelu_tanh>();
    case Act::relu2: return f.template operator()<Act::relu2>();
  }
}

inline void activate(const float* x, Act act, long size, float* y) {
  with_act(act, [&]<Act a>() { map(x, size, y, [](F v) { return act_of<a>(v); }); });
}

/// y[i] = f(gate[i], up[i]).
template <class Function>
inline void map_pairs(const float* gate, const float* up, int size, float* y, Function f) {
  each_vector(
      size,
      [&](long i) { store(y + i, f(load(gate + i), load(up + i))); },
      [&](long i, int n) {
        store_part(y + i, f(load_part(gate + i, n), load_part(up + i, n)), n);
      });
}

inline void gated(const float* gate, const float* up, const Gate& how, int size, float* y) {
  if (!how.limit && how.slope == 1 && !how.shift)
    return with_act(how.act, [&]<Act a>() {
      map_pairs(gate, up, size, y, [](F g, F u) { return act_of<a>(g) * u; });
    });
  F limit = set(how.limit ? how.limit : __builtin_inff()), slope = set(how.slope);
  F shift = set(how.shift), low = zero() - limit;
  if (how.slope != 1)  // silu only
    return map_pairs(gate, up, size, y, [=](F g, F u) {
      g = min(limit, g), u = max(low, min(limit, u)) + shift;
      return g / (set(1) + exp(zero() - g * slope)) * u;
    });
  with_act(how.act, [&]<Act a>() {
    map_pairs(gate, up, size, y, [=](F g, F u) {
      return act_of<a>(min(limit, g)) * (max(low, min(limit, u)) + shift);
    });
  });
}

inline void softcap(const float* x, float cap, long size, float* y) {
  F c = set(cap);
  map(x, size, y, [=](F v) { return c * tanh(v / c); });
}

/// The largest number; minus infinity where there is none.
inline float largest_of(const float* x, long size) {
  F low = set(-__builtin_inff());
  auto join = [](F a, F b) { return max(b, a); };  // a where b is not a number
  return largest(fold(
      x,
      size,
      low,
      join,
      [](F v) { return v; },
      [](const float* p, int n) { return filled(load_part(p, n), n, -__builtin_inff()); }));
}

/// Where it first stands.
inline unsigned argmax(const float* x, long size) {
  constexpr long kBlock = 1024;
  float best = -__builtin_inff();
  long at = 0;
  for (long i = 0; i < size; i += kBlock) {
    float m = largest_of(x + i, size - i < kBlock ? size - i : kBlock);
    if (m > best) best = m, at = i;
  }
  for (long i = at; i < size && i < at + kBlock; ++i)
    if (x[i] == best) return (unsigned)i;
  return 0;
}

/// y = e^(x - shift), where shift is no less than any x; returns the sum.
inline float exp_shifted(const float* x, float shift, long size, float* y) {
  constexpr long kBlock = 1024;  // sums of sums: long rows lose no more digits than short ones
  F m = set(shift), all = zero();
  for (long from = 0; from < size; from += kBlock) {
    long to = size - from < kBlock ? size : from + kBlock, i = from;
    F a[2] = {zero(), zero()};
    for (; i + 2 * kWidth <= to; i += 2 * kWidth)
      for (int k = 0; k < 2; ++k) {
        F e = exp_of_negative(load(x + i + k * kWidth) - m);
        a[k] = a[k] + e;
        if (y) store(y + i + k * kWidth, e);
      }
    for (; i < to; i += kWidth) {
      int n = to - i < kWidth ? (int)(to - i) : kWidth;
      F e = exp_of_negative((n < kWidth ? load_part(x + i, n) : load(x + i)) - m);
      if (n < kWidth) e = filled(e, n, 0);
      a[0] = a[0] + e;
      if (y) n < kWidth ? store_part(y + i, e, n) : store(y + i, e);
    }
    all = all + (a[0] + a[1]);
  }
  return sum(all);
}

/// y = x * by + shift.
inline void scale_shift(const float* x, float by, float shift, long size, float* y) {
  F b = set(by), s = set(shift);
  map(x, size, y, [=](F v) { return fma(v, b, s); });
}

/// To float16.
inline void to_half(const float* x, long size, uint16_t* y) {
  long i = 0;
  for (; i + kWidth <= size; i += kWidth) store_f16(y + i, load(x + i));
  if (i == size) return;
  uint16_t rest[kWidth];
  store_f16(rest, load_part(x + i, (int)(size - i)));
  memcpy(y + i, rest, sizeof(uint16_t) * (size - i));
}

/// The largest number of each `block`.
inline void block_maxima(const float* x, long size, int block, float* maxima) {
  for (long i = 0; i < size; i += block)
    *maxima++ = largest_of(x + i, size - i < block ? size - i : block);
}

/// Those that are at least `low`, in order; returns how many.
inline long at_least(const float* x, long size, float low, float* found) {
  long n = 0, i = 0;
#if defined(__AVX512F__)
  for (; i + kWidth <= size; i += kWidth) {
    F v = load(x + i);
    __mmask16 m = _mm512_cmp_ps_mask(v.v, _mm512_set1_ps(low), _CMP_GE_OQ);
    if (m) _mm512_mask_compressstoreu_ps(found + n, m, v.v), n += __builtin_popcount(m);
  }
#else
  for (; i + 4 * kWidth <= size; i += 4 * kWidth) {
    if (largest_of(x + i, 4 * kWidth) < low) continue;
    for (long k = i; k < i + 4 * kWidth; ++k)
      if (x[k] >= low) found[n++] = x[k];
  }
#endif
  for (; i < size; ++i)
    if (x[i] >= low) found[n++] = x[i];
  return n;
}

/// y = x, or minus infinity where x < low.
inline void keep_from(const float* x, float low, long size, float* y) {
  F least = set(low), none = set(-__builtin_inff());
  map(x, size, y, [=](F v) { return select(less(v, least), none, v); });
}

/// Cosine and sine of position * inverse, times magnitude.
inline void turns(const float* inverse,
                  const float* positions,
                  float magnitude,
                  int pairs,
                  float* cosines,
                  float* sines) {
  F m = set(magnitude);
  for (int i = 0; i < pairs; i += kWidth) {
    int n = pairs - i < kWidth ? pairs - i : kWidth;
    F s, c;
    bool whole = n == kWidth;
    F p = whole ? load(positions + i) : load_part(positions + i, n);
    sine_cosine(p * (whole ? load(inverse + i) : load_part(inverse + i, n)), &s, &c);
    s = s * m, c = c * m;
    if (whole) {
      store(cosines + i, c), store(sines + i, s);
    } else {
      store_part(cosines + i, c, n), store_part(sines + i, s, n);
    }
  }
}

/// Turns the first 2 * pairs numbers of one head, copies the others.
inline void turn(const float* x,
                 const float* cosines,
                 const float* sines,
                 int pairs,
                 int size,
                 bool traditional,
                 float* y) {
  if (traditional) {
    for (int i = 0; i < pairs; ++i) {
      float a = x[2 * i], b = x[2 * i + 1];
      y[2 * i] = a * cosines[i] - b * sines[i];
      y[2 * i + 1] = a * sines[i] + b * cosines[i];
    }
  } else {
    each_vector(
        pairs,
        [&](long i) {
          F a = load(x + i), b = load(x + pairs + i), c = load(cosines + i), s = load(sines + i);
          store(y + i, a * c - b * s);
          store(y + pairs + i, a * s + b * c);
        },
        [&](long i, int n) {
          F a = load_part(x + i, n), b = load_part(x + pairs + i, n);
          F c = load_part(cosines + i, n), s = load_part(sines + i, n);
          store_part(y + i, a * c - b * s, n);
          store_part(y + pairs + i, a * s + b * c, n);
        });
  }
  if (y != x)
    for (int i = 2 * pairs; i < size; ++i) y[i] = x[i];
}

constexpr ElementwiseKernels kElementwise = {.rms_norm = rms_norm,
                                             .layer_norm = layer_norm,
                                             .activate = activate,
                                             .gated = gated,
                                             .softcap = softcap,
                                             .largest = largest_of,
                                             .argmax = argmax,
                                             .exp_shifted = exp_shifted,
                                             .scale_shift = scale_shift,
                                             .to_half = to_half,
                                             .block_maxima = block_maxima,
                                             .at_least = at_least,
                                             .keep_from = keep_from,
                                             .turns = turns,
                                             .turn = turn};

}  // namespace
}  // namespace mlxcpp::cpu
