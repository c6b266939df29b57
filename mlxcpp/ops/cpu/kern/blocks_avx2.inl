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
/// Two factors, then eight scales and eight minima of six bits each in twelve bytes.
MLXCPP_INLINE BlockHead<1> scales_and_minima_at(const uint8_t* p) {
  uint32_t factors, a, b, c;
  memcpy(&factors, p, 4), memcpy(&a, p + 4, 4), memcpy(&b, p + 8, 4), memcpy(&c, p + 12, 4);
  uint64_t scales = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
  uint64_t minima = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
  scales = (a & 0x3f3f3f3f) | scales << 32, minima = (b & 0x3f3f3f3f) | minima << 32;
  __m128 f = _mm_cvtph_ps(_mm_cvtsi32_si128((int)factors));
  auto numbers = [](uint64_t x) {
    return F{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)x)))};
  };
  F d = {_mm256_broadcastss_ps(f)}, least = {_mm256_broadcastss_ps(_mm_movehdup_ps(f))};
  return {{numbers(scales) * d}, {numbers(minima) * (zero() - least)}};
}
/// Groups 0, 2, 4, 6 and 1, 3, 5, 7 of eight, so that two neighbours are in the same place.
MLXCPP_INLINE F by_twos(F x) {
  return {_mm256_permutevar8x32_ps(x.v, _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7))};
}
/// Sixteen scales of eight bits with a sign, as by_twos() has them.
MLXCPP_INLINE BlockHead<2> signed_scales_at(const uint8_t* p, float factor) {
  const __m128i order = _mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
  __m128i x = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i*)p), order);
  F d = set(factor);
  F a = F{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x))} * d;
  F b = F{_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))} * d;
  return {{a, b}, {a, b}};
}

}  // namespace
}  // namespace mlxcpp::cpu
