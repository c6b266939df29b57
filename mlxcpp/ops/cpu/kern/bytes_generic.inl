// Sixty-four codes at once, as four quarters of sixteen bytes, and their products with activations.
// The plainest tier, and NEON.  bytes_avx2.inl and bytes_avx512.inl have the same functions.
namespace mlxcpp::cpu {
namespace {

typedef uint8_t Byte16 __attribute__((vector_size(16)));

#if defined(__ARM_NEON)
#define MLXCPP_PLAIN inline
#else
#define MLXCPP_PLAIN __attribute__((noinline))  // or compiling the plainest tier takes minutes
#endif

/// The codes of 64 columns.  "Natural": in the order of columns; "split": the even ones first.
struct Bytes {
  Byte16 q[4];
};
/// Sums of products, four columns (or codes, when split) in each.
struct Ints {
  Int4 q[4];
};
/// Activations of 64 columns, in the order of the codes; wide is natural only.
struct Planes {
  const int8_t *high, *low;
  const int16_t* wide;
};

inline Byte16 load16(const uint8_t* p) {
  Byte16 x;
  memcpy(&x, p, 16);
  return x;
}
inline Bytes load64(const uint8_t* p) {
  return {{load16(p), load16(p + 16), load16(p + 32), load16(p + 48)}};
}
/// Quarters: 32 bytes at p, 32 bytes at q.
inline Bytes join32(const uint8_t* p, const uint8_t* q) {
  return {{load16(p), load16(p + 16), load16(q), load16(q + 16)}};
}
/// 32 bytes at p, and again.
inline Bytes twice32(const uint8_t* p) { return join32(p, p); }
/// 16 bytes at p, and again, then those at q twice.
inline Bytes pair16(const uint8_t* p, const uint8_t* q) {
  return {{load16(p), load16(p), load16(q), load16(q)}};
}
inline void store64(uint8_t* p, Bytes x) { memcpy(p, x.q, 64); }

/// Each quarter by its own number of bits; bits may come in from the byte beside, so mask.
template <int a, int b, int c, int d>
inline Bytes right(Bytes x) {
  return {{x.q[0] >> a, x.q[1] >> b, x.q[2] >> c, x.q[3] >> d}};
}
template <int a, int b, int c, int d>
inline Bytes left(Bytes x) {
  return {{x.q[0] << a, x.q[1] << b, x.q[2] << c, x.q[3] << d}};
}
inline Byte16 all16(uint8_t m) { return m - Byte16{}; }
inline Bytes operator&(Bytes x, uint8_t m) {
  Byte16 v = all16(m);
  return {{x.q[0] & v, x.q[1] & v, x.q[2] & v, x.q[3] & v}};
}
inline Bytes operator^(Bytes x, uint8_t m) {
  Byte16 v = all16(m);
  return {{x.q[0] ^ v, x.q[1] ^ v, x.q[2] ^ v, x.q[3] ^ v}};
}
inline Bytes operator|(Bytes x, Bytes y) {
  return {{x.q[0] | y.q[0], x.q[1] | y.q[1], x.q[2] | y.q[2], x.q[3] | y.q[3]}};
}
/// Bits of x where m has them, else of y.
inline Bytes choose(uint8_t m, Bytes x, uint8_t n, Bytes y) { return (x & m) | (y & n); }
/// `value` where bit i of `which` is set.
MLXCPP_PLAIN Bytes bits(uint64_t which, uint8_t value) {
  uint8_t t[64];
  for (int i = 0; i < 64; ++i) t[i] = (which >> i & 1) ? value : 0;
  return load64(t);
}
/// Entries of a table of sixteen; codes below 16.
MLXCPP_PLAIN Bytes lookup(Bytes x, const uint8_t* table) {
#if defined(__ARM_NEON)
  uint8x16_t t = vld1q_u8(table);
  for (auto& q : x.q) q = (Byte16)vqtbl1q_u8(t, (uint8x16_t)q);
#else
  uint8_t t[64];
  store64(t, x);
  for (auto& code : t) code = table[code];
  x = load64(t);
#endif
  return x;
}
/// 64 codes of kBits each, lowest bits first; natural.
template <int kBits>
MLXCPP_PLAIN Bytes stream(const uint8_t* p) {
  uint8_t t[64];
  for (int i = 0; i < 8; ++i) {
    uint64_t v = 0;
    memcpy(&v, p + i * kBits, kBits);
    for (int j = 0; j < 8; ++j) t[8 * i + j] = (uint8_t)(v >> kBits * j & ((1 << kBits) - 1));
  }
  return load64(t);
}
/// From split to natural order.
MLXCPP_PLAIN Bytes natural(Bytes x) {
  uint8_t s[64], t[64];
  store64(s, x);
  for (int i = 0; i < 32; ++i) t[2 * i] = s[i], t[2 * i + 1] = s[32 + i];
  return load64(t);
}

/// Exact.  kBig: codes may be above 127.
template <bool kBig>
MLXCPP_PLAIN Ints dot(Bytes c, Planes x) {
  Ints s;
  for (int i = 0; i < 4; ++i) {
#if defined(__ARM_FEATURE_DOTPROD)
    int32x4_t h = vdupq_n_s32(0), l = h;
    int8x16_t high = vld1q_s8(x.high + 16 * i), low = vld1q_s8(x.low + 16 * i);
#if defined(__ARM_FEATURE_MATMUL_INT8)
    h = vusdotq_s32(h, (uint8x16_t)c.q[i], high);
    l = vusdotq_s32(l, (uint8x16_t)c.q[i], low);
#else
    int8x16_t v = (int8x16_t)(kBig ? c.q[i] ^ all16(0x80) : c.q[i]);
    h = vdotq_s32(h, v, high);
    l = vdotq_s32(l, v, low);
    if (kBig) {  // the codes are 128 too small
      int8x16_t one = vdupq_n_s8(1);
      h = vaddq_s32(h, vshlq_n_s32(vdotq_s32(vdupq_n_s32(0), one, high), 7));
      l = vaddq_s32(l, vshlq_n_s32(vdotq_s32(vdupq_n_s32(0), one, low), 7));
    }
#endif
    s.q[i] = (Int4)vaddq_s32(vshlq_n_s32(h, 8), l);
#elif defined(__ARM_NEON)
    int16x8_t a = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8((uint8x16_t)c.q[i])));
    int16x8_t b = vreinterpretq_s16_u16(vmovl_u8(vget_high_u8((uint8x16_t)c.q[i])));
    int8x16_t high = vld1q_s8(x.high + 16 * i), low = vld1q_s8(x.low + 16 * i);
    int16x8_t u = vaddq_s16(vshll_n_s8(vget_low_s8(high), 8), vmovl_s8(vget_low_s8(low)));
    int16x8_t w = vaddq_s16(vshll_n_s8(vget_high_s8(high), 8), vmovl_s8(vget_high_s8(low)));
    int32x4_t s0 = vmull_s16(vget_low_s16(a), vget_low_s16(u)), s1 = vmull_high_s16(a, u);
    int32x4_t s2 = vmull_s16(vget_low_s16(b), vget_low_s16(w)), s3 = vmull_high_s16(b, w);
    s.q[i] = (Int4)vpaddq_s32(vpaddq_s32(s0, s1), vpaddq_s32(s2, s3));
#else
    uint8_t codes[16];
    memcpy(codes, &c.q[i], 16);
    for (int j = 0; j < 4; ++j) {
      int t = 0;
      for (int k = 4 * j; k < 4 * j + 4; ++k)
        t += codes[k] * (x.high[16 * i + k] * 256 + x.low[16 * i + k]);
      s.q[i][j] = t;
    }
#endif
  }
  return s;
}

inline F floats(Int4 x) { return {__builtin_convertvector(x, Float4)}; }
/// acc + the sums, each times the scale of its group: kPer groups in 64 columns.
template <int kPer, bool kSplit>
MLXCPP_PLAIN F accumulate(F acc, Ints d, const float* s) {
  const Int4* q = d.q;
  if (kPer == 1) return fma(floats((q[0] + q[1]) + (q[2] + q[3])), set(s[0]), acc);
  if (kSplit) {
    Int4 a = q[0] + q[2], b = q[1] + q[3];
    if (kPer == 2) return fma(floats(b), set(s[1]), fma(floats(a), set(s[0]), acc));
    acc = fma(floats(a), {Float4{s[0], s[0], s[1], s[1]}}, acc);
    return fma(floats(b), {Float4{s[2], s[2], s[3], s[3]}}, acc);
  }
  if (kPer == 2)
    return fma(floats(q[2] + q[3]), set(s[1]), fma(floats(q[0] + q[1]), set(s[0]), acc));
  for (int i = 0; i < 4; ++i) acc = fma(floats(q[i]), set(s[i]), acc);
  return acc;
}

/// acc + the sums of products of a chunk.
template <class T>
inline F add_chunk(F acc, Bytes codes, Planes x, const float* s) {
  return accumulate<T::kPer, T::kSplit>(acc, dot<T::kBig>(codes, x), s);
}

inline F load_e8m0(const uint8_t* p) {
  return {Float4{from_e8m0(p[0]), from_e8m0(p[1]), from_e8m0(p[2]), from_e8m0(p[3])}};
}
inline F load_e4m3(const uint8_t* p) {
  return {Float4{from_e4m3(p[0]), from_e4m3(p[1]), from_e4m3(p[2]), from_e4m3(p[3])}};
}

/// The first n numbers, 0 < n <= kWidth; the others are zero.
inline F load_f16_part(const void* p, int n) {
  uint16_t t[kWidth] = {};
  memcpy(t, p, 2 * n);
  return load_f16(t);
}
inline F load_bf16_part(const void* p, int n) {
  uint16_t t[kWidth] = {};
  memcpy(t, p, 2 * n);
  return load_bf16(t);
}
/// n numbers, the first of blocks of kBytes.
template <int kBytes>
inline F gather_f16(const uint8_t* p, int n) {
  uint16_t t[kWidth] = {};
  for (int i = 0; i < n; ++i) memcpy(t + i, p + i * kBytes, 2);
  return load_f16(t);
}
/// The first two.
template <int kBytes>
inline void gather_two_f16(const uint8_t* p, int n, F* a, F* b) {
  *a = gather_f16<kBytes>(p, n);
  *b = gather_f16<kBytes>(p + 2, n);
}
/// s = (code - offset) * d of eight codes; z, where wanted, is so many times s.
inline void eight(uint64_t codes, float offset, float d, float times, float* s, float* z) {
  uint8_t t[8];
  memcpy(t, &codes, 8);
  for (int i = 0; i < 8; i += kWidth) {
    F x = (load_u8(t + i) - set(offset)) * set(d);
    store(s + i, x);
    if (z) store(z + i, x * set(times));
  }
}
/// kWidth bytes, of which only n are there; the others are `fill`.
inline const uint8_t* bytes_part(const uint8_t* p, int n, uint8_t fill, uint8_t* t) {
  for (int i = 0; i < kWidth; ++i) t[i] = i < n ? p[i] : fill;
  return t;
}

constexpr bool kMerges = false, kHeads = false;  // blocks_avx512.inl
/// The sum of each, times `factor`.
inline void sum_four(F a, F b, F c, F d, float factor, float* y) {
  y[0] = sum(a) * factor, y[1] = sum(b) * factor, y[2] = sum(c) * factor, y[3] = sum(d) * factor;
}

}  // namespace
}  // namespace mlxcpp::cpu
