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

template <Number T, int Group>
inline void decode_affine4(const Matrix& w, int row, int column, int count, char* out) {
  const uint8_t* p = (const uint8_t*)w.data + (long)row * w.row_bytes + column / 2;
  const char* scales = (const char*)w.scales + (long)row * w.scale_row_bytes;
  const char* zeros = (const char*)w.zeros + (long)row * w.scale_row_bytes;
  const __m512 codes = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  _mm_prefetch((const char*)p + kHalfPiece, _MM_HINT_T0);
  _mm_prefetch((const char*)p + kHalfPiece + 64, _MM_HINT_T0);
  int g = column / Group, end = (column + count) / Group;
#pragma GCC unroll 4
  for (; g < end; ++g) {
    __m512 t = _mm512_fmadd_ps(codes, broadcast<T>(scales, g), broadcast<T>(zeros, g));
    __m512i table = _mm512_castsi256_si512((__m256i)_mm512_cvtneps_pbh(t));
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
    default: return decode_any;
  }
}

}  // namespace
}  // namespace mlxcpp::cpu
#endif
