// Activations as 16-bit integers.
namespace mlxcpp::cpu {
namespace {

constexpr float kLargest = 32512;  // 127 in the high plane

/// Integers of one chunk and their sums; the number that one of them stands for.
inline float quantise_chunk(const float* x, float* values, float* sums) {
  F most = zero(), poison = zero();
  for (int i = 0; i < 64; i += kWidth) {
    F v = load(x + i);
    most = max(most, abs(v));
    poison = fma(v, zero(), poison);  // infinity and what is not a number: not a number
  }
  float high = largest(most), bad = sum(poison);
  bool usable = bad == 0;
  float scale = usable ? (high > 1e-30f ? high / kLargest : 0) : bad;
  F inverse = set(usable && scale > 0 ? kLargest / high : 0);
  F s[4];
  for (int q = 0; q < 4; ++q) {
    s[q] = zero();
    for (int i = 16 * q; i < 16 * q + 16; i += kWidth) {
      F v = usable ? round(load(x + i) * inverse) : zero();
      store(values + i, v);
      s[q] = s[q] + v;
    }
  }
  sum_four(s[0], s[1], s[2], s[3], 1, sums);
  return scale;
}

#if !defined(__AVX512F__)
/// The planes of 64 integers, in each order.
inline void split_planes(const float* values, int, const QuantisedRows& out, long at) {
  float h[64], l[64];
  for (int i = 0; i < 64; i += kWidth) {
    F v = load(values + i);
    F top = round((v + set(0.25f)) * set(1.f / 256));  // so that the rest is -128 ... 127
    store(h + i, top);
    store(l + i, fma(top, set(-256), v));
  }
  int8_t *high = out.high + at, *low = out.low + at;
  for (int i = 0; i < 64; ++i) high[i] = (int8_t)(int)h[i], low[i] = (int8_t)(int)l[i];
  for (int i = 0; i < 32; ++i) {
    out.high_split[at + i] = high[2 * i], out.high_split[at + 32 + i] = high[2 * i + 1];
    out.low_split[at + i] = low[2 * i], out.low_split[at + 32 + i] = low[2 * i + 1];
  }
  for (int q = 0; q < 4; ++q) {
    long to = at + 16 * (q % 2 * 2 + q / 2);
    memcpy(out.high_halves + to, high + 16 * q, 16);
    memcpy(out.low_halves + to, low + 16 * q, 16);
  }
  for (int q = 0; q < 4; ++q)
    for (int i = 0; i < 8; ++i) {
      out.wide[at + 8 * q + i] = (int16_t)(int)values[16 * q + i];
      out.wide[at + 32 + 8 * q + i] = (int16_t)(int)values[16 * q + 8 + i];
    }
}
#endif

inline void quantise(const float* x, int row, const QuantisedRows& out) {
  long at = (long)row * out.padded;
  float *scales[3], *sums[3];
  for (int l = 0; l < 3; ++l) {
    scales[l] = out.scales[l] + (long)row * out.group_stride;
    sums[l] = out.sums[l] + (long)row * out.group_stride;
  }
  float rest[64], values[64];
  for (int c = 0; 64 * c < out.padded; ++c, at += 64) {
    const float* from = x + 64 * c;
    if (int n = out.columns - 64 * c; n < 64) {
      memset(rest, 0, sizeof rest);
      memcpy(rest, from, sizeof(float) * (n > 0 ? n : 0));
      from = rest;
    }
    float s[4], scale = quantise_chunk(from, values, s);
    split_planes(values, c, out, at);
    for (int q = 0; q < 4; ++q) scales[0][4 * c + q] = scale, sums[0][4 * c + q] = s[q] * scale;
    for (int q = 0; q < 2; ++q)
      scales[1][2 * c + q] = scale, sums[1][2 * c + q] = (s[2 * q] + s[2 * q + 1]) * scale;
    scales[2][c] = scale, sums[2][c] = ((s[0] + s[1]) + (s[2] + s[3])) * scale;
  }
  for (int l = 0; l < 3; ++l)
    for (int i = out.padded / (16 << l); i < out.group_stride >> l; ++i)
      scales[l][i] = sums[l][i] = 0;
}

}  // namespace
}  // namespace mlxcpp::cpu
