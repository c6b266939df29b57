// With AVX2: products of blocks whose scales are read where their codes are, as blocks_avx512.inl.
namespace mlxcpp::cpu {
namespace {

constexpr bool kMerges = false;  // 128 columns together
constexpr bool kHeads = true;

/// The words at p and at q as numbers, each in the four lanes of its block.
MLXCPP_INLINE F words_of_two(const uint8_t* p, const uint8_t* q) {
  __m128i x = _mm_set1_epi16((short)half_at(p)), y = _mm_set1_epi16((short)half_at(q));
  return {_mm256_cvtph_ps(_mm_blend_epi16(x, y, 0xf0))};
}
/// Of four rows: lane r the word `first` bytes behind p[r], lane 4 + r that `second` bytes behind.
MLXCPP_INLINE F words_of_eight(const uint8_t* const* p, int first, int second) {
  auto four = [&](int at) {
    return (long long)(half_at(p[0] + at) | half_at(p[1] + at) << 16 | half_at(p[2] + at) << 32 |
                       half_at(p[3] + at) << 48);
  };
  return {_mm256_cvtph_ps(_mm_set_epi64x(four(second), four(first)))};
}
/// Lanes r and 4 + r, each in the four lanes of its block.
MLXCPP_INLINE F spread_row(F x, int r) { return {_mm256_permutevar_ps(x.v, _mm256_set1_epi32(r))}; }
/// Two numbers, each in the four lanes of its block.
MLXCPP_INLINE F both_of_two(const float* x) {
  return {_mm256_set_m128(_mm_broadcast_ss(x + 1), _mm_broadcast_ss(x))};
}
/// x, and to its first lane what lanes r and 4 + r are together.
MLXCPP_INLINE F add_lanes(F x, F y, int r, float factor) {
  float t[8];
  store(t, y);
  return x + F{_mm256_zextps128_ps256(_mm_set_ss((t[r] + t[4 + r]) * factor))};
}
/// Two blocks of 16 bytes at p and at q: their low halves, then the high ones.
MLXCPP_INLINE Bytes halves_of_two(const uint8_t* p, const uint8_t* q) {
  __m256i x = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)p)),
                                      _mm_loadu_si128((const __m128i*)q),
                                      1);
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(x, mask), _mm256_and_si256(_mm256_srli_epi16(x, 4), mask)};
}

/// Of a block of 256 columns: the scales of its 8 or 16 groups, and what the sums of activations
/// are multiplied with.
template <int kVectors>
struct BlockHead {
  F scales[kVectors], zeros[kVectors];
};
/// Of two rows: two factors, then eight scales and eight minima of six bits each in twelve bytes.
/// The scales and minima as bytes, sixteen a row.
MLXCPP_INLINE void keep_six_bits(const uint8_t* p, const uint8_t* q, uint8_t* bytes) {
  __m256i x = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i*)p)),
                                      _mm_loadu_si128((const __m128i*)q),
                                      1);
  auto in_both = [](int a, int b, int c, int d) {
    return _mm256_broadcastsi128_si256(_mm_setr_epi32(a, b, c, d));
  };
  // The first four of each in six bits of a word, the last four in its two others and in four of
  // the last word.
  __m256i low = _mm256_srlv_epi32(_mm256_shuffle_epi32(x, 0xa5), in_both(0, 2, 0, 2));
  __m256i high = _mm256_srlv_epi32(_mm256_shuffle_epi32(x, 0xff), in_both(0, 0, 0, 4));
  low = _mm256_and_si256(low, in_both(0x3f3f3f3f, 0x30303030, 0x3f3f3f3f, 0x30303030));
  high = _mm256_and_si256(high, in_both(0, 0x0f0f0f0f, 0, 0x0f0f0f0f));
  _mm256_store_si256((__m256i*)bytes, _mm256_or_si256(low, high));
}
/// p: the factors; bytes: of keep_six_bits().
MLXCPP_INLINE BlockHead<1> scales_and_minima_at(const uint8_t* p, const uint8_t* bytes) {
  F factors = {_mm256_cvtph_ps(_mm_castps_si128(_mm_broadcast_ss((const float*)p)))};
  auto numbers = [](const uint8_t* x) {
    return F{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)x)))};
  };
  return {{numbers(bytes) * F{_mm256_moveldup_ps(factors.v)}},
          {numbers(bytes + 8) * F{_mm256_movehdup_ps(factors.v)}}};
}
/// Sixteen scales of eight bits with a sign.
MLXCPP_INLINE BlockHead<2> signed_scales_at(const uint8_t* p, const uint8_t* factor) {
  F d = {_mm256_cvtph_ps(_mm_set1_epi16((short)half_at(factor)))};
  auto numbers = [](const uint8_t* x) {
    return F{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)x)))};
  };
  F a = numbers(p) * d, b = numbers(p + 8) * d;
  return {{a, b}, {a, b}};
}

}  // namespace
}  // namespace mlxcpp::cpu
