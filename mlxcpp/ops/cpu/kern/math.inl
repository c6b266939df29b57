// Functions of vectors, to about two units in the last place.  What is not a number stays so; so do
// infinities where the function has a limit.
#include <math.h>

namespace mlxcpp::cpu {
namespace {

#if defined(__FMA__) || defined(__ARM_NEON)
constexpr bool kFused = true;
#else
constexpr bool kFused = false;
#endif

/// e^r for |r| <= log(2) / 2.
inline F exp_near_zero(F r) {
  F p = set(1.9875691500e-4f);
  p = fma(p, r, set(1.3981999507e-3f));
  p = fma(p, r, set(8.3334519073e-3f));
  p = fma(p, r, set(4.1665795894e-2f));
  p = fma(p, r, set(1.6666665459e-1f));
  p = fma(p, r, set(5.0000001201e-1f));
  return fma(p * r, r, r + set(1));
}

/// e^x = 2^n e^r.
inline F exp_parts(F x, F* n) {
  *n = round(x * set(1.44269504088896341f));
  F r = fma(*n, set(-0.693359375f), x);
  return exp_near_zero(fma(*n, set(2.12194440e-4f), r));
}

/// e^x for x <= 0; numbers below 2^-125 become zero.
inline F exp_of_negative(F x) {
  F n, p = exp_parts(max(set(-87), x), &n);
  return select(less(x, set(-86.5f)), zero(), p * power_of_two(n));
}

inline F exp(F x) {
  F n, p = exp_parts(min(set(89), max(set(-104), x)), &n);
  F half = round(n * set(0.5f));  // in two steps: 2^128 and 2^-149 are no powers that fit
  return p * power_of_two(half) * power_of_two(n - half);
}

inline F sigmoid(F x) { return set(1) / (set(1) + exp(zero() - x)); }

inline F tanh(F x) {
  F z = x * x;
  F p = set(-5.70498872745e-3f);
  p = fma(p, z, set(2.06390887954e-2f));
  p = fma(p, z, set(-5.37397155531e-2f));
  p = fma(p, z, set(1.33314422036e-1f));
  p = fma(p, z, set(-3.33332819422e-1f));
  F near = fma(p * z, x, x);
  F a = abs(x), far = set(1) - set(2) / (exp(a + a) + set(1));
  return select(less(a, set(0.625f)), near, select(less(x, zero()), zero() - far, far));
}

/// The normal distribution's share below x, by Chebyshev's fit of erfc (Numerical Recipes, 6.2).
inline F normal_below(F x) {
  F z = abs(x) * set(0.70710678118654752f);
  F t = set(1) / fma(set(0.5f), z, set(1));
  F p = set(0.17087277f);
  p = fma(p, t, set(-0.82215223f));
  p = fma(p, t, set(1.48851587f));
  p = fma(p, t, set(-1.13520398f));
  p = fma(p, t, set(0.27886807f));
  p = fma(p, t, set(-0.18628806f));
  p = fma(p, t, set(0.09678418f));
  p = fma(p, t, set(0.37409196f));
  p = fma(p, t, set(1.00002368f));
  p = fma(p, t, set(-1.26551223f));
  F tail = set(0.5f) * t * exp(p - z * z);
  return select(less(zero(), x), set(1) - tail, tail);
}

/// Sine and cosine.  Angles up to a million lose no more than their own rounding does.
inline void sine_cosine(F x, F* s, F* c) {
  if constexpr (!kFused) {
    float angle[kWidth], sines[kWidth], cosines[kWidth];
    store(angle, x);
    for (int i = 0; i < kWidth; ++i)
      sines[i] = (float)::sin((double)angle[i]), cosines[i] = (float)::cos((double)angle[i]);
    *s = load(sines), *c = load(cosines);
    return;
  }
  F n = round(x * set(0.63661977236758134f));  // quarter turns
  F r = fma(n, set(-1.57079637050628662109375f), x);
  r = fma(n, set(4.37113882867379e-8f), r);
  F z = r * r;
  F p = fma(set(-1.9515295891e-4f), z, set(8.3321608736e-3f));
  p = fma(p, z, set(-1.6666654611e-1f));
  F sine = fma(p * z, r, r);
  F q = fma(set(2.443315711809948e-5f), z, set(-1.388731625493765e-3f));
  q = fma(q, z, set(4.166664568298827e-2f));
  F cosine = fma(q * z, z, fma(set(-0.5f), z, set(1)));
  // Which quarter: n modulo 4 as a number in -2 ... 2.
  F turns = fma(round(n * set(0.25f)), set(-4), n), odd = abs(turns);
  M swap = less(abs(odd - set(1)), set(0.5f));
  F s1 = select(swap, cosine, sine), c1 = select(swap, sine, cosine);
  M s_minus = less(turns, set(-0.5f)), half_turn = less(set(1.5f), odd);
  s1 = select(s_minus, zero() - s1, s1);  // quarters -1 and -2
  s1 = select(less(set(1.5f), turns), zero() - s1, s1);
  c1 = select(half_turn, zero() - c1, c1);
  c1 = select(less(abs(turns - set(1)), set(0.5f)), zero() - c1, c1);
  *s = s1, *c = c1;
}

}  // namespace
}  // namespace mlxcpp::cpu
