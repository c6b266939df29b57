// MLX's formats: codes in one array, scales in others.  A format has
//   kPer       how many groups of columns 64 columns have, where none is larger than 64
//   kStep      bytes of kPhases times 64 columns
//   kSplit     the order in which codes() gives them
//   kBig       codes may be above 127
//   codes<i>   the codes of the i-th 64 columns of a step
//   scales     of n groups from `first` on: something finite follows, up to a multiple of kWidth
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
inline void twice(Number type, const uint8_t* p, int first, int n, float* out) {
  constexpr int kHalf = kWidth / 2;
  float t[kWidth];
  for (int i = 0; i < n; i += kWidth) {
    int left = (n - i + 1) / 2;
    store(t, load_numbers(type, p, (first + i) / 2, left < kHalf ? left : kHalf));
    for (int k = 0; k < kHalf; ++k) out[i + 2 * k] = out[i + 2 * k + 1] = t[k];
  }
}

template <int kBits, int kPerChunk>
struct Affine {
  enum { kPer = kPerChunk, kStep = 8 * kBits, kPhases = 1, kSplit = kBits == 4, kBig = kBits == 8 };
  template <int>
  static Bytes codes(const uint8_t* p) {
    if constexpr (kBits == 4) return right<0, 0, 4, 4>(twice32(p)) & 15;
    if constexpr (kBits == 8) return load64(p);
    if constexpr (kBits != 4 && kBits != 8) return stream<kBits>(p);
  }
  static void scales(const Matrix& w, int row, int first, int n, float* s, float* z) {
    const uint8_t *p = scales_of(w, row), *q = (const uint8_t*)w.zeros + row * w.scale_row_bytes;
    if (kPer == 1 && w.group > 64) {
      twice(w.scale_type, p, first, n, s);
      twice(w.scale_type, q, first, n, z);
      return;
    }
    for (int i = 0; i < n; i += kWidth) {
      int count = n - i < kWidth ? n - i : kWidth;
      store(s + i, load_numbers(w.scale_type, p, first + i, count));
      store(z + i, load_numbers(w.scale_type, q, first + i, count));
    }
  }
};

/// E2M1 numbers, doubled, from -12 on.
alignas(16) const uint8_t kE2m1[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

template <int kPerChunk, F (*kLoad)(const uint8_t*), int kOne>  // kOne: the scale 1
struct Float4Codes {
  enum { kPer = kPerChunk, kStep = 32, kPhases = 1, kSplit = true, kBig = false };
  template <int>
  static Bytes codes(const uint8_t* p) {
    return lookup(right<0, 0, 4, 4>(twice32(p)) & 15, kE2m1);
  }
  static void scales(const Matrix& w, int row, int first, int n, float* s, float* z) {
    const uint8_t* p = scales_of(w, row) + first;
    uint8_t t[kWidth];
    for (int i = 0; i < n; i += kWidth) {
      const uint8_t* from = p + i;
      if (n - i < kWidth) from = bytes_part(from, n - i, kOne, t);
      F x = kLoad(from) * set(0.5f);
      store(s + i, x);
      store(z + i, x * set(-12));
    }
  }
};
typedef Float4Codes<2, load_e8m0, 127> Mxfp4;
typedef Float4Codes<4, load_e4m3, 0x38> Nvfp4;

}  // namespace
}  // namespace mlxcpp::cpu
