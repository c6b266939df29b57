// MLX's formats: codes in one array, scales in others.  A format has
//   kPer       how many groups of columns 64 columns have, where none is larger than 64
//   kStep      bytes of kPhases times 64 columns
//   kSplit     the order in which codes() gives them
//   kBig       codes may be above 127
//   kCentre    the code that stands for zero, whatever the scale; 0: groups have zeros of their own
//   kMerged    the tier multiplies 128 columns together, whose codes are halves of bytes:
//              halves() gives these bytes, halves_part() of fewer columns, halves_pair() of 64
//              columns of two rows, low() and high() codes
//   kHeaded    scales are read with the codes.  With AVX-512 heads() gives these, head_sums() what
//              goes with them; kZeros, blocks have zeros.  With AVX2, which takes two blocks at a
//              time, head() gives words of one row, heads() of four, halves() codes; kZeroAt is
//              where those for the sums of activations are
//   kHead      likewise of blocks of 256 columns: head() gives their scales.  With AVX2 prepare()
//              decodes those of two rows to bytes before, for head() of each; with AVX-512
//              block_codes() gives codes that in odd groups are kTimes times as large
//   kTableBits of codes whose groups are the low or high halves of 32 bytes, from kLowBits on, and
//              which are looked up; 0: they are not
//   codes<i>   the codes of the i-th 64 columns of a step
//   scales     of n groups from `first` on, at most kWidth; zeros, or what is finite, beyond them.
//              Blocks of 256 columns have block_scales instead, of one of them
// and its numbers are code * scale + zero, times Matrix::factor.
namespace mlxcpp::cpu {
namespace {

inline F load_numbers(Number type, const uint8_t* p, int at, int n) {
  switch (type) {
    case Number::f16: return load_f16_part(p + 2 * at, n);
    case Number::bf16: return load_bf16_part(p + 2 * at, n);
    default: break;
  }
  const float* f = (const float*)p + at;
  return n == kWidth ? load(f) : load_part(f, n);
}

inline const uint8_t* row_of(const Matrix& w, int row) {
  return (const uint8_t*)w.data + row * w.row_bytes;
}
inline const uint8_t* scales_of(const Matrix& w, int row) {
  return (const uint8_t*)w.scales + row * w.scale_row_bytes;
}

/// Of groups of 128 columns: each number for two times 64.  `first` is even.
inline F twice(Number type, const uint8_t* p, int first, int n) {
  float t[kWidth], out[kWidth];
  store(t, load_numbers(type, p, first / 2, (n + 1) / 2));
  for (int k = 0; k < kWidth; ++k) out[k] = t[k / 2];
  return load(out);
}

/// Halves of bytes as they are; even columns in the low ones.
struct Nibbles {
  static Bytes low(Bytes b) { return b & 15; }
  static Bytes high(Bytes b) { return right<4, 4, 4, 4>(b) & 15; }
#if defined(__AVX512F__)
  static Bytes halves(const uint8_t* p) { return load64(p); }
  static Bytes halves_part(const uint8_t* p, int columns) { return load64_part(p, columns / 2); }
  static Bytes halves_pair(const uint8_t* p, const uint8_t* q) { return join32(p, q); }
#endif
};

template <int kBits, int kPerChunk>
struct Affine : Nibbles {
  enum {
    kPer = kPerChunk,
    kStep = 8 * kBits,
    kPhases = 1,
    kSplit = kBits == 4,
    kBig = kBits == 8,
    kMerged = kMerges && kBits == 4,
    kHeaded = false,
    kCentre = 0
  };
  template <int>
  static Bytes codes(const uint8_t* p) {
    if constexpr (kBits == 4) return right<0, 0, 4, 4>(twice32(p)) & 15;
    if constexpr (kBits == 8) return load64(p);
    if constexpr (kBits != 4 && kBits != 8) return stream<kBits>(p);
  }
  static void scales(const Matrix& w, int row, int first, int n, F* s, F* z) {
    const uint8_t *p = scales_of(w, row), *q = (const uint8_t*)w.zeros + row * w.scale_row_bytes;
    if (kPer == 1 && w.group > 64) {
      *s = twice(w.scale_type, p, first, n);
      *z = twice(w.scale_type, q, first, n);
      return;
    }
    *s = load_numbers(w.scale_type, p, first, n);
    *z = load_numbers(w.scale_type, q, first, n);
  }
};

template <class T>
constexpr bool kIsAffine4 = false;
template <int kPer>
constexpr bool kIsAffine4<Affine<4, kPer>> = true;

/// E2M1 numbers, doubled, from -12 on.
alignas(16) const uint8_t kE2m1[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

template <int kPerChunk, F (*kLoad)(const uint8_t*), int kOne>  // kOne: the scale 1
struct Float4Codes : Nibbles {
  enum {
    kPer = kPerChunk,
    kStep = 32,
    kPhases = 1,
    kSplit = true,
    kBig = false,
    kMerged = kMerges,
    kHeaded = false,
    kCentre = 12
  };
  static Bytes low(Bytes b) { return lookup(Nibbles::low(b), kE2m1); }
  static Bytes high(Bytes b) { return lookup(Nibbles::high(b), kE2m1); }
  template <int>
  static Bytes codes(const uint8_t* p) {
    return lookup(right<0, 0, 4, 4>(twice32(p)) & 15, kE2m1);
  }
  static void scales(const Matrix& w, int row, int first, int n, F* s, F* z) {
    const uint8_t* p = scales_of(w, row) + first;
    uint8_t t[kWidth];
    if (n < kWidth) p = bytes_part(p, n, kOne, t);
    *s = kLoad(p) * set(0.5f);
    *z = *s * set(-12);
  }
};
typedef Float4Codes<2, load_e8m0, 127> Mxfp4;
typedef Float4Codes<4, load_e4m3, 0x38> Nvfp4;

}  // namespace
}  // namespace mlxcpp::cpu
