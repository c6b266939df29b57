// Weights rounded to bfloat16, for products of many rows: 32 columns of a row of weights are 64
// bytes, a row of a tile of 16 rows.
#if defined(__AVX512BF16__)
namespace mlxcpp::cpu {
namespace {

constexpr int kHalfTile = 1024;  // bytes
constexpr int kHalfPiece = 256;  // columns that are decoded at a time: every block divides it

/// 32 numbers, of which `count` are there.
inline __m512i to_bf16_32(const float* p, int count) {
  F a, b;
  if (count >= 32) {
    a = load(p);
    b = load(p + 16);
  } else {
    a = count >= 16 ? load(p) : load_part(p, count);
    b = count > 16 ? load_part(p + 16, count - 16) : zero();
  }
  return (__m512i)_mm512_cvtne2ps_pbh(b.v, a.v);
}

/// Writes columns [column, column + count) of a row of weights, 64 bytes in each of the
/// tiles from `out` on; zeros up to the end of the last.
using HalfDecode = void (*)(const Matrix& w, int row, int column, int count, char* out);

inline void decode_any(const Matrix& w, int row, int column, int count, char* out) {
  float numbers[kHalfPiece];
  weights_f32(w, row, column, count, numbers);
  for (int k = 0; k < count; k += 32, out += kHalfTile)
    _mm512_store_si512(out, to_bf16_32(numbers + k, count - k));
}

/// Times the matrix's factor.
template <class T>
inline void piece_scales(const Matrix& w, int row, int column, int columns, float* s, float* z) {
  scales_from<T>(w, row, column, columns, s, z);
  if (T::kPhases == 1) store(s, load(s) * set(w.factor)), store(z, load(z) * set(w.factor));
}

/// Sixteen codes as numbers: quarter q of 64.
template <int q>
inline F quarter(Bytes codes, float scale, float zero_at) {
  __m512i c = _mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(codes.v, q));
  return fma({_mm512_cvtepi32_ps(c)}, set(scale), set(zero_at));
}
/// 64 columns, the first 32 of them in `first`.
struct Halves {
  __m512i first, second;
};
/// Of which n are there, the others zero.
template <class T>
MLXCPP_INLINE Halves numbers_64(Bytes codes, const float* s, const float* z, int n) {
  constexpr int kEach = 4 / T::kPer;  // quarters that share a scale
  if (T::kSplit) codes = natural(codes);
  F a = quarter<0>(codes, s[0], z[0]), b = quarter<1>(codes, s[1 / kEach], z[1 / kEach]);
  F c = quarter<2>(codes, s[2 / kEach], z[2 / kEach]);
  F d = quarter<3>(codes, s[3 / kEach], z[3 / kEach]);
  if (n < 64) {
    if (n < 32) b = zero();
    if (n < 48) c = zero();
    d = zero();
  }
  return {(__m512i)_mm512_cvtne2ps_pbh(b.v, a.v), (__m512i)_mm512_cvtne2ps_pbh(d.v, c.v)};
}

MLXCPP_INLINE __m512 zero_to_fifteen() {
  return _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
/// Whether codes of at most kMost bits are looked up.
template <class T, int kMost = 5>
constexpr bool has_tables() {
  if constexpr (T::kPhases == 4) return T::kTableBits > 0 && T::kTableBits <= kMost;
  return false;
}
/// What the codes of group g stand for: of four bits, twice.
template <class T>
MLXCPP_INLINE __m512i table_of_group(const float* head, int g) {
  const __m512 codes = zero_to_fifteen();
  __m512 scale = _mm512_set1_ps(head[g]), least = _mm512_set1_ps(head[8 + g]);
  __m512 first = _mm512_fmsub_ps(codes, scale, least), second = first;
  if (T::kTableBits == 5)
    second = _mm512_fmsub_ps(_mm512_add_ps(codes, _mm512_set1_ps(16)), scale, least);
  return (__m512i)_mm512_cvtne2ps_pbh(second, first);
}
/// The i-th 64 columns; `head` has eight scales and eight minima.
template <class T, int i>
MLXCPP_INLINE Halves two_groups(const uint8_t* p, const float* head) {
  __m512i low = _mm512_cvtepu8_epi16(load32(p + T::kLowBits + 32 * i));
  __m512i high = _mm512_srli_epi16(low, 4);
  // Look-ups take five bits of an index; the fifth of a code of four makes no difference.
  if constexpr (T::kTableBits == 5) {
    __m512i fifth = _mm512_cvtepu8_epi16(load32(p + 16)), four = _mm512_set1_epi16(15);
    auto moved = [&](int from) {
      return from < 4 ? _mm512_slli_epi16(fifth, 4 - from) : _mm512_srli_epi16(fifth, from - 4);
    };
    low = _mm512_ternarylogic_epi32(four, low, moved(2 * i), 0xca);
    high = _mm512_ternarylogic_epi32(four, high, moved(2 * i + 1), 0xca);
  }
  return {_mm512_permutexvar_epi16(low, table_of_group<T>(head, 2 * i)),
          _mm512_permutexvar_epi16(high, table_of_group<T>(head, 2 * i + 1))};
}
template <class T>
MLXCPP_INLINE void keep_head(const uint8_t* p, float* head) {
  store(head, T::head(p));
  asm("" : "+m"(*(float(*)[kWidth])head));  // as in decode_nibbles()
}

template <class T>
inline void decode_64(Bytes codes, const float* s, const float* z, int n, char* out) {
  Halves h = numbers_64<T>(codes, s, z, n);
  _mm512_store_si512(out, h.first);
  if (n > 32) _mm512_store_si512(out + kHalfTile, h.second);
}
template <class T, int i>
MLXCPP_INLINE void decode_groups(const uint8_t* p, const float* head, char* out) {
  Halves h = two_groups<T, i>(p, head);
  _mm512_store_si512(out + 2 * i * kHalfTile, h.first);
  _mm512_store_si512(out + (2 * i + 1) * kHalfTile, h.second);
}
/// A block.
template <class T>
inline void decode_tables(const Matrix& w, int row, int column, int, char* out) {
  alignas(64) float head[kWidth];
  const uint8_t* p = row_of(w, row) + (long)column / 256 * T::kStep;
  keep_head<T>(p, head);
  decode_groups<T, 0>(p, head, out);
  decode_groups<T, 1>(p, head, out);
  decode_groups<T, 2>(p, head, out);
  decode_groups<T, 3>(p, head, out);
}
template <class T>
inline void decode_codes(const Matrix& w, int row, int column, int count, char* out) {
  alignas(64) float s[kWidth], z[kWidth];
  piece_scales<T>(w, row, column, count, s, z);
  const uint8_t* p = row_of(w, row) + (long)column / 64 * T::kStep / T::kPhases;
  if constexpr (T::kPhases == 4) {  // blocks of 256 columns are never cut
    decode_64<T>(T::template codes<0>(p), s, z, 64, out);
    decode_64<T>(T::template codes<1>(p), s + T::kPer, z + T::kPer, 64, out + 2 * kHalfTile);
    decode_64<T>(
        T::template codes<2>(p), s + 2 * T::kPer, z + 2 * T::kPer, 64, out + 4 * kHalfTile);
    decode_64<T>(
        T::template codes<3>(p), s + 3 * T::kPer, z + 3 * T::kPer, 64, out + 6 * kHalfTile);
  } else {
    int c = 0, g = 0;
    for (; c + 64 <= count; c += 64, g += T::kPer, p += T::kStep, out += 2 * kHalfTile) {
      __builtin_prefetch(p + 2 * kHalfPiece);
      decode_64<T>(T::template codes<0>(p), s + g, z + g, 64, out);
    }
    if (c == count) return;
    uint8_t rest[128] = {};
    memcpy(rest, p, bytes_of<T>(count - c));
    decode_64<T>(T::template codes<0>(rest), s + g, z + g, count - c, out);
  }
}

/// Sixteen bytes as indices of 32 numbers: the low halves first, then the high ones, in the first
/// or second of two tables.
MLXCPP_INLINE __m512i halves_in_table(const uint8_t* p, __m512i shifts, __m512i second) {
  __m512i twice = _mm512_cvtepu8_epi16(_mm256_broadcastsi128_si256(load16(p)));
  return _mm512_ternarylogic_epi32(
      _mm512_srlv_epi16(twice, shifts), _mm512_set1_epi16(15), second, 0xEA);
}

/// Where two registers with four blocks each have the scales of all eight; then the zeros.
template <int kBytes>
struct EightScales {
  uint16_t from[32];
  constexpr EightScales() : from() {
    static_assert(3 * kBytes + 4 <= 64);
    for (int i = 0; i < 16; ++i)
      from[i] = (uint16_t)(i % 4 * kBytes / 2 + (i / 4 % 2) * 32 + i / 8);
  }
};
template <int kBytes>
constexpr EightScales<kBytes> kEightScales;

/// What the sixteen codes of block i, less the centre, stand for.
template <class T>
MLXCPP_INLINE __m512 meanings(__m512 codes, const float* s, const float* z, int i) {
  if (T::kCentre != 0) return _mm512_mul_ps(codes, _mm512_set1_ps(s[i]));
  return _mm512_fmadd_ps(codes, _mm512_set1_ps(s[i]), _mm512_set1_ps(z[i]));
}
/// Two blocks of 32 columns.
template <class T>
MLXCPP_INLINE Halves
two_blocks(const uint8_t* p, __m512 codes, __m512i shifts, const float* s, const float* z) {
  constexpr int kBytes = T::kStep / 2;
  const __m512i first = _mm512_setzero_si512(), second = _mm512_set1_epi16(16);
  __m512i tables =
      (__m512i)_mm512_cvtne2ps_pbh(meanings<T>(codes, s, z, 1), meanings<T>(codes, s, z, 0));
  return {_mm512_permutexvar_epi16(halves_in_table(p, shifts, first), tables),
          _mm512_permutexvar_epi16(halves_in_table(p + kBytes, shifts, second), tables)};
}
/// The codes' numbers, less the centre; and what brings both halves of a byte to its low one.
template <class T>
MLXCPP_INLINE __m512 codes_of_book() {
  __m512 codes = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(load16(T::kBook)));
  return _mm512_sub_ps(codes, _mm512_set1_ps(T::kCentre));
}
MLXCPP_INLINE __m512i halves_shifts() {
  return _mm512_inserti64x4(_mm512_setzero_si512(), _mm256_set1_epi16(4), 1);
}
/// Blocks of 32 columns in 16 bytes, the low halves first: sixteen numbers for the codes of each.
template <class T>
inline void decode_nibbles(const Matrix& w, int row, int column, int count, char* out) {
  constexpr int kBytes = T::kStep / 2;
  alignas(64) float s[kWidth], z[kWidth];
  const uint8_t* p = row_of(w, row) + (long)column / 32 * kBytes;
  const __m512 codes = codes_of_book<T>();
  const __m512i shifts = halves_shifts();
  if (count == kHalfPiece) {
    __m512i words = _mm512_permutex2var_epi16(_mm512_loadu_si512(p),
                                              _mm512_loadu_si512(kEightScales<kBytes>.from),
                                              _mm512_loadu_si512(p + 4 * kBytes));
    __m512 both = _mm512_cvtph_ps(_mm512_castsi512_si256(words));
    _mm512_store_ps(s, _mm512_mul_ps(both, _mm512_set1_ps(w.factor)));
    asm("" : "+m"(s));      // or g++ broadcasts from the register, with two shuffles for each
#if !defined(__AMX_BF16__)  // where panels are fetched as a whole
    for (int b = 0; b < 8 * kBytes; b += 64) __builtin_prefetch(p + 2 * kHalfPiece + b);
#endif
    p += kBytes - 16;
#pragma GCC unroll 4
    for (int g = 0; g < 8; g += 2) {
      Halves h = two_blocks<T>(p + g * kBytes, codes, shifts, s + g, s + 8 + g);
      _mm512_store_si512(out + g * kHalfTile, h.first);
      _mm512_store_si512(out + (g + 1) * kHalfTile, h.second);
    }
    return;
  }
  piece_scales<T>(w, row, column, count, s, z);
  p += kBytes - 16;
  for (int g = 0; g < count / 32; ++g, p += kBytes, out += kHalfTile) {
    __m512 t = meanings<T>(codes, s, z, g);
    __m512i table = (__m512i)_mm512_cvtne2ps_pbh(t, t);
    _mm512_store_si512(
        out, _mm512_permutexvar_epi16(halves_in_table(p, shifts, _mm512_setzero_si512()), table));
  }
}

inline void decode_bf16(const Matrix& w, int row, int column, int count, char* out) {
  const char* p = (const char*)w.data + (long)row * w.row_bytes + 2l * column;
  for (; count > 0; count -= 32, p += 64, out += kHalfTile) {
    __mmask32 m = count >= 32 ? ~0u : (1u << count) - 1;
    _mm_prefetch(p + 4 * kHalfPiece, _MM_HINT_T0);
    _mm512_store_si512(out, _mm512_maskz_loadu_epi16(m, p));
  }
}

template <Number T>
inline __m512 broadcast(const void* p, int i) {
  if (T == Number::f32) return _mm512_set1_ps(((const float*)p)[i]);
  uint16_t h = ((const uint16_t*)p)[i];
  if (T == Number::f16) return _mm512_cvtph_ps(_mm256_set1_epi16((short)h));
  return _mm512_castsi512_ps(_mm512_set1_epi32((int)((uint32_t)h << 16)));
}

/// 16 bytes of two codes each to 32 numbers of a table of 16.
inline __m512i look_up_16(const uint8_t* codes, __m512i table) {
  __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)codes));
  v = _mm512_ternarylogic_epi32(  // (v | v << 12) & mask
      v,
      _mm512_slli_epi32(v, 12),
      _mm512_set1_epi32(0x000f000f),
      0xa8);
  return _mm512_permutexvar_epi16(v, table);
}

/// What the sixteen codes of a group stand for.
MLXCPP_INLINE __m512i affine4_table(__m512 scale, __m512 zero) {
  __m512 t = _mm512_fmadd_ps(zero_to_fifteen(), scale, zero);
  return _mm512_castsi256_si512((__m256i)_mm512_cvtneps_pbh(t));
}

template <Number T, int Group>
inline void decode_affine4(const Matrix& w, int row, int column, int count, char* out) {
  const uint8_t* p = (const uint8_t*)w.data + (long)row * w.row_bytes + column / 2;
  const char* scales = (const char*)w.scales + (long)row * w.scale_row_bytes;
  const char* zeros = (const char*)w.zeros + (long)row * w.scale_row_bytes;
  _mm_prefetch((const char*)p + kHalfPiece, _MM_HINT_T0);
  _mm_prefetch((const char*)p + kHalfPiece + 64, _MM_HINT_T0);
  int g = column / Group, end = (column + count) / Group;
#pragma GCC unroll 4
  for (; g < end; ++g) {
    __m512i table = affine4_table(broadcast<T>(scales, g), broadcast<T>(zeros, g));
#pragma GCC unroll 4
    for (int s = 0; s < Group / 32; ++s, p += 16, out += kHalfTile)
      _mm512_store_si512(out, look_up_16(p, table));
  }
}
template <int Group>
inline HalfDecode decode_affine4_of(Number scales) {
  switch (scales) {
    case Number::f32: return decode_affine4<Number::f32, Group>;
    case Number::f16: return decode_affine4<Number::f16, Group>;
    case Number::bf16: break;
  }
  return decode_affine4<Number::bf16, Group>;
}

template <int kBits>
inline HalfDecode decode_affine(const Matrix& w) {
  return w.group == 32 ? decode_codes<Affine<kBits, 2>> : decode_codes<Affine<kBits, 1>>;
}

inline HalfDecode half_decode(const Matrix& w) {
  switch (w.coding) {
    case Coding::bf16: return decode_bf16;
    case Coding::affine4:
      switch (w.group) {
        case 32: return decode_affine4_of<32>(w.scale_type);
        case 64: return decode_affine4_of<64>(w.scale_type);
        case 128: return decode_affine4_of<128>(w.scale_type);
      }
      return decode_any;
    case Coding::q4_0: return decode_nibbles<Q4_0>;
    case Coding::q4_1: return decode_nibbles<Q4_1>;
    case Coding::iq4_nl: return decode_nibbles<Iq4Nl>;
    case Coding::affine2: return decode_affine<2>(w);
    case Coding::affine3: return decode_affine<3>(w);
    case Coding::affine5: return decode_affine<5>(w);
    case Coding::affine6: return decode_affine<6>(w);
    case Coding::affine8: return decode_affine<8>(w);
    case Coding::mxfp4: return decode_codes<Mxfp4>;
    case Coding::nvfp4: return decode_codes<Nvfp4>;
    case Coding::q5_0: return decode_codes<Q5_0>;
    case Coding::q5_1: return decode_codes<Q5_1>;
    case Coding::q8_0: return decode_codes<Q8_0>;
    case Coding::q2_k: return decode_codes<Q2K>;
    case Coding::q3_k: return decode_codes<Q3K>;
    case Coding::q4_k: return decode_tables<Q4K>;
    case Coding::q5_k: return decode_tables<Q5K>;
    case Coding::q6_k: return decode_codes<Q6K>;
    case Coding::iq4_xs: return decode_codes<Iq4Xs>;
    default: return decode_any;
  }
}

}  // namespace
}  // namespace mlxcpp::cpu
#endif
