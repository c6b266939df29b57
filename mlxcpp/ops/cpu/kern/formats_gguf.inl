// GGUF's formats (ggml-common.h): a row is blocks, scales within.  See formats_mlx.inl for what a
// format has.
namespace mlxcpp::cpu {
namespace {

inline uint32_t word_at(const uint8_t* p) {
  uint32_t u;
  memcpy(&u, p, 4);
  return u;
}
inline uint64_t long_at(const uint8_t* p) {
  uint64_t u;
  memcpy(&u, p, 8);
  return u;
}
inline float f16_at(const uint8_t* p) {
  uint16_t h;
  memcpy(&h, p, 2);
  return from_f16(h);
}

/// Blocks of 32 columns: a scale in front, and perhaps a zero.
template <int kBytes, int kOffset>  // kOffset: of the codes; 0: with a zero
struct Blocks {
  enum {
    kPer = 2,
    kStep = 2 * kBytes,
    kPhases = 1,
    kSplit = false,
    kMerged = false,
    kHeaded = false,
    kCentre = kOffset
  };
  static void scales(const Matrix& w, int row, int first, int n, F* s, F* z) {
    const uint8_t* p = row_of(w, row) + (long)first * kBytes;
    if constexpr (kOffset == 0) return gather_two_f16<kBytes>(p, n, s, z);
    *s = gather_f16<kBytes>(p, n);
    *z = *s * set(-kOffset);
  }
};
template <int kBytes>
inline Bytes nibbles(const uint8_t* p) {  // of two blocks, at p and after it
  return right<0, 4, 0, 4>(pair16(p, p + kBytes)) & 15;
}
template <int kBytes>
inline Bytes fifth_bits(const uint8_t* p) {
  return bits(word_at(p) | (uint64_t)word_at(p + kBytes) << 32, 16);
}
/// Of a block, the low halves of sixteen bytes and then the high ones.
template <int kBytes, int kOffset>
struct NibbleBlocks : Blocks<kBytes, kOffset> {
  enum { kMerged = kMerges, kHeaded = kHeads };
  static Bytes low(Bytes b) { return Nibbles::low(b); }
  static Bytes high(Bytes b) { return Nibbles::high(b); }
#if defined(__AVX512F__)
  static constexpr bool kZeros = kOffset == 0;
  static Bytes halves(const uint8_t* p) { return four16<kBytes>(p); }
  static Bytes halves_part(const uint8_t* p, int columns) {
    return some16<kBytes>(p + kBytes - 16, columns / 32);
  }
  static Bytes halves_pair(const uint8_t* p, const uint8_t* q) {
    return pair_of_two16<kBytes>(p + kBytes - 16, q + kBytes - 16);
  }
  template <bool kTwoRows>
  static Heads heads(const uint8_t* p, const uint8_t* q) {
    return heads_in<kBytes, kTwoRows, kZeros>(kTwoRows ? join32(p, q).v : load64(p).v);
  }
  /// What Heads::once is multiplied with, from the sums of two or four groups.
  template <bool kTwoRows>
  static F head_sums(const float* sums) {
    return sums_for_heads<kOffset, kTwoRows>(sums);
  }
#elif defined(__AVX2__)
  static Bytes halves(const uint8_t* p) {
    return halves_of_two(p + kBytes - 16, p + 2 * kBytes - 16);
  }
  /// Words of both blocks: scales, or what the sums of activations are multiplied with.
  static constexpr int kZeroAt = kOffset == 0 ? 2 : 0;
  static F head(const uint8_t* p, int at) { return words_of_two(p + at, p + kBytes + at); }
  static F heads(const uint8_t* const* p, int at) { return words_of_eight(p, at, kBytes + at); }
#endif
};
alignas(16) const uint8_t kPlain[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
struct Q4_0 : NibbleBlocks<18, 8> {
  static constexpr const uint8_t* kBook = kPlain;
  enum { kBig = false };
  template <int>
  static Bytes codes(const uint8_t* p) {
    return nibbles<18>(p + 2);
  }
};
struct Q4_1 : NibbleBlocks<20, 0> {
  static constexpr const uint8_t* kBook = kPlain;
  enum { kBig = false };
  template <int>
  static Bytes codes(const uint8_t* p) {
    return nibbles<20>(p + 4);
  }
};
struct Q5_0 : Blocks<22, 16> {
  enum { kBig = false };
  template <int>
  static Bytes codes(const uint8_t* p) {
    return nibbles<22>(p + 6) | fifth_bits<22>(p + 2);
  }
};
struct Q5_1 : Blocks<24, 0> {
  enum { kBig = false };
  template <int>
  static Bytes codes(const uint8_t* p) {
    return nibbles<24>(p + 8) | fifth_bits<24>(p + 4);
  }
};
struct Q8_0 : Blocks<34, 128> {
  enum { kBig = true };
  template <int>
  static Bytes codes(const uint8_t* p) {
    return join32(p + 2, p + 36) ^ 0x80;
  }
};
/// The code book of IQ4, from -127 on.
alignas(16) const uint8_t kIq4[16] = {
    0, 23, 44, 62, 78, 92, 105, 117, 128, 140, 152, 165, 180, 196, 216, 240};
struct Iq4Nl : NibbleBlocks<18, 127> {
  static constexpr const uint8_t* kBook = kIq4;
#if defined(__AVX512VNNI__)
  enum {kBig = true};
#else
  // Other products of big codes know one order only.
  enum { kBig = true, kMerged = false, kHeaded = false };
#endif
  static Bytes low(Bytes b) { return lookup(Nibbles::low(b), kIq4); }
  static Bytes high(Bytes b) { return lookup(Nibbles::high(b), kIq4); }
  template <int>
  static Bytes codes(const uint8_t* p) {
    return lookup(nibbles<18>(p + 2), kIq4);
  }
};

/// Blocks of 256 columns: T decodes the scales of one.
template <class T, int kBytes, int kPerChunk>
struct SuperBlocks {
  enum {
    kPer = kPerChunk,
    kStep = kBytes,
    kPhases = 4,
    kSplit = false,
    kMerged = false,
    kHeaded = false
  };
  static constexpr bool kHead = false;  // whether scales are read where their codes are
  static constexpr int kTableBits = 0;
#if defined(__AVX512F__)
  static constexpr int kTimes = 1;
  template <int i>
  static Bytes block_codes(const uint8_t* p) {
    return T::template codes<i>(p);
  }
#endif
};
inline uint64_t pair_of(uint32_t low, uint32_t high) { return low | (uint64_t)high << 32; }
/// Eight scales and eight minima of six bits each, in twelve bytes.
inline void scales_and_minima(const uint8_t* p, float d, float least, float* s, float* z) {
  uint32_t a = word_at(p), b = word_at(p + 4), c = word_at(p + 8);
  uint32_t scales = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
  uint32_t minima = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
  eight(pair_of(a & 0x3f3f3f3f, scales), 0, d, 0, s, nullptr);
  eight(pair_of(b & 0x3f3f3f3f, minima), 0, -least, 0, z, nullptr);
}
/// With eight scales and minima of six bits.
template <class T, int kBytes>
struct MinimaBlocks : SuperBlocks<T, kBytes, 2> {
  static void block_scales(const uint8_t* p, float* s, float* z) {
    scales_and_minima(p + 4, f16_at(p), f16_at(p + 2), s, z);
  }
#if defined(__AVX512F__)
  static constexpr bool kHead = true;
  static F head(const uint8_t* p) { return scales_and_minima_at(p); }
  static BlockSums head_sums(const float* scales, const float* sums) {
    return sums_for_minima<T::kTimes>(scales, sums);
  }
#elif defined(__AVX2__)
  static constexpr bool kHead = true;
  static void prepare(const uint8_t* p, const uint8_t* q, uint8_t* bytes) {
    keep_six_bits(p, q, bytes);
  }
  static BlockHead<1> head(const uint8_t* p, const uint8_t* bytes) {
    return scales_and_minima_at(p, bytes);
  }
#endif
};

struct Q4K : MinimaBlocks<Q4K, 144> {
  enum { kBig = false, kCentre = 0, kLowBits = 16 };  // where the low four bits are
  static constexpr int kTableBits = 4;
  template <int i>
  static Bytes codes(const uint8_t* p) {
    return right<0, 0, 4, 4>(twice32(p + 16 + 32 * i)) & 15;
  }
#if defined(__AVX512VNNI__)  // others add products in 16 bits: codes must be below 128
  static constexpr int kTimes = 16;
  template <int i>
  static Bytes block_codes(const uint8_t* p) {
    return in_halves(twice32(p + 16 + 32 * i), 0x0f, 0xf0);
  }
#endif
};
struct Q5K : MinimaBlocks<Q5K, 176> {
  enum { kBig = false, kCentre = 0, kLowBits = 48 };
  static constexpr int kTableBits = 5;
  template <int i>
  static Bytes codes(const uint8_t* p) {
    Bytes low = right<0, 0, 4, 4>(twice32(p + 48 + 32 * i)), high = twice32(p + 16);
    if constexpr (i == 0) high = left<4, 4, 3, 3>(high);
    if constexpr (i == 1) high = left<2, 2, 1, 1>(high);
    if constexpr (i == 2) high = right<0, 0, 1, 1>(high);
    if constexpr (i == 3) high = right<2, 2, 3, 3>(high);
    return choose(15, low, 16, high);
  }
};
struct Q6K : SuperBlocks<Q6K, 210, 4> {
  enum { kBig = false, kCentre = 32 };
  static void block_scales(const uint8_t* p, float* s, float* z) {
    const uint64_t sign = 0x8080808080808080;
    float d = f16_at(p + 208);
    eight(long_at(p + 192) ^ sign, 128, d, -32, s, z);
    eight(long_at(p + 200) ^ sign, 128, d, -32, s + 8, z + 8);
  }
#if defined(__AVX512F__)
  static constexpr bool kHead = true;
  static F head(const uint8_t* p) { return signed_scales_at(p + 192, f16_at(p + 208)); }
  static BlockSums head_sums(const float* scales, const float* sums) {
    return sums_for_scales<32>(scales, sums);
  }
#elif defined(__AVX2__)
  static constexpr bool kHead = true;
  static void prepare(const uint8_t*, const uint8_t*, uint8_t*) {}
  static BlockHead<2> head(const uint8_t* p, const uint8_t*) {
    return signed_scales_at(p + 192, p + 208);
  }
#endif
  template <int i>
  static Bytes codes(const uint8_t* p) {
    Bytes low = load64(p + 64 * (i / 2)), high = twice32(p + 128 + 32 * (i / 2));
    if constexpr (i % 2 == 0) return choose(15, low, 48, left<4, 4, 2, 2>(high));
    return choose(15, right<4, 4, 4, 4>(low), 48, right<0, 0, 2, 2>(high));
  }
};
struct Q2K : SuperBlocks<Q2K, 84, 4> {
  enum { kBig = false, kCentre = 0 };
  static void block_scales(const uint8_t* p, float* s, float* z) {
    const uint64_t low = 0x0f0f0f0f0f0f0f0f;
    uint64_t a = long_at(p), b = long_at(p + 8);
    float d = f16_at(p + 80), least = -f16_at(p + 82);
    eight(a & low, 0, d, 0, s, nullptr);
    eight(b & low, 0, d, 0, s + 8, nullptr);
    eight(a >> 4 & low, 0, least, 0, z, nullptr);
    eight(b >> 4 & low, 0, least, 0, z + 8, nullptr);
  }
  template <int i>
  static Bytes codes(const uint8_t* p) {
    Bytes x = twice32(p + 16 + 32 * (i / 2));
    if constexpr (i % 2 == 0) return right<0, 0, 2, 2>(x) & 3;
    return right<4, 4, 6, 6>(x) & 3;
  }
};
struct Q3K : SuperBlocks<Q3K, 110, 4> {
  enum { kBig = false, kCentre = 4 };
  static void block_scales(const uint8_t* p, float* s, float* z) {
    const uint32_t low = 0x0f0f0f0f, two = 0x03030303;
    uint32_t a = word_at(p + 96), b = word_at(p + 100), c = word_at(p + 104);
    float d = f16_at(p + 108);
    eight(pair_of((a & low) | (c & two) << 4, (b & low) | (c >> 2 & two) << 4), 32, d, -4, s, z);
    a = (a >> 4 & low) | (c >> 4 & two) << 4;
    b = (b >> 4 & low) | (c >> 6 & two) << 4;
    eight(pair_of(a, b), 32, d, -4, s + 8, z + 8);
  }
  template <int i>
  static Bytes codes(const uint8_t* p) {
    Bytes low = twice32(p + 32 + 32 * (i / 2)), high = twice32(p);
    if constexpr (i % 2 == 0) low = right<0, 0, 2, 2>(low);
    if constexpr (i % 2 == 1) low = right<4, 4, 6, 6>(low);
    if constexpr (i == 0) high = left<2, 2, 1, 1>(high);
    if constexpr (i == 1) high = right<0, 0, 1, 1>(high);
    if constexpr (i == 2) high = right<2, 2, 3, 3>(high);
    if constexpr (i == 3) high = right<4, 4, 5, 5>(high);
    return choose(3, low, 4, high);
  }
};
struct Iq4Xs : SuperBlocks<Iq4Xs, 136, 2> {
  enum { kBig = true, kCentre = 127 };
  static void block_scales(const uint8_t* p, float* s, float* z) {
    uint32_t high = p[2] | p[3] << 8, low = word_at(p + 4);
    uint64_t scales = 0;
    for (int i = 0; i < 8; ++i)
      scales |= (uint64_t)((low >> 4 * i & 15) | (high >> 2 * i & 3) << 4) << 8 * i;
    eight(scales, 32, f16_at(p), -127, s, z);
  }
  template <int i>
  static Bytes codes(const uint8_t* p) {
    p += 8 + 32 * i;
    return lookup(right<0, 4, 0, 4>(pair16(p, p + 16)) & 15, kIq4);
  }
};

}  // namespace
}  // namespace mlxcpp::cpu
