// Products of many rows with dot products of bfloat16 pairs, for CPUs where these are faster than
// float32.  As gemm_f32.inl, a number there being a pair of columns here.
#if defined(__AVX512BF16__)
namespace mlxcpp::cpu {
namespace {

struct MultiplyHalf {
  static F add(F x, F w, F sum) { return {_mm512_dpbf16_ps(sum.v, (__m512bh)x.v, (__m512bh)w.v)}; }
};

constexpr int kPairDepth = 2 * kGemmDepth;  // columns of a panel

inline int pairs_of(int columns) { return (columns + 31) / 32 * 16; }

inline size_t gemm_bf16_packed_bytes(int rows, int columns) {
  if (rows <= kMostFew) return few_packed_bytes(rows, columns);
  return gemm_f32_packed_bytes(rows, pairs_of(columns));
}

/// Block by block: [pair of columns][row].
inline void gemm_bf16_pack(const InputRows& x, int block, void* packed) {
  if (x.rows <= kMostFew) return few_pack(x, block * kGemmRows, kGemmRows, packed);
  int from = block * kGemmRows, rows = x.rows - from < kGemmRows ? x.rows - from : kGemmRows;
  float* out = (float*)packed + (size_t)from * pairs_of(x.columns);
  for (int k = 0; k < x.columns; k += 32, out += 16 * kGemmRows) {
    __m512i r[16];
    for (int i = 0; i < 16; ++i) {
      int m = i < rows ? from + i : from;  // rows that are not there are never read again
      const float* row = x.data + (x.index ? x.index[m] : m) * x.stride;
      r[i] = to_bf16_32(row + k, x.columns - k);
    }
    transpose(r);
    __mmask16 mask = (1 << kGemmRows) - 1;
    for (int i = 0; i < 16; ++i) _mm512_mask_storeu_epi32(out + i * kGemmRows, mask, r[i]);
  }
}

/// Weights of outputs [from, from + count) as [pair of columns][kGemmOutputs]; zeros beyond.
inline void gemm_bf16_weights(
    const Matrix& w, HalfDecode decode, int from, int count, int column, int depth, float* out) {
  alignas(64) char tiles[kHalfPiece / 32 * kHalfTile];
  for (int k = 0; k < depth; k += kHalfPiece) {
    int n = depth - k < kHalfPiece ? depth - k : kHalfPiece;
    for (int j = 0; j < kGemmOutputs; j += 16) {
      for (int i = 0; i < 16 && j + i < count; ++i)
        decode(w, from + j + i, column + k, n, tiles + i * 64);
      for (int s = 0; s < n; s += 32) {
        __m512i r[16];
        for (int i = 0; i < 16; ++i)
          r[i] = j + i < count ? _mm512_load_si512(tiles + s / 32 * kHalfTile + i * 64)
                               : _mm512_setzero_si512();
        transpose(r);
        for (int i = 0; i < 16; ++i)
          _mm512_storeu_si512(out + ((k + s) / 2 + i) * kGemmOutputs + j, r[i]);
      }
    }
  }
}

inline size_t gemm_bf16_scratch_bytes(int rows, int columns, int outputs) {
  return rows <= kMostFew ? few_scratch_bytes(outputs)
                          : gemm_f32_scratch_bytes(rows, columns, outputs);
}

inline void gemm_bf16_panel(const Matrix& w,
                            const void* packed,
                            int rows,
                            int from,
                            int to,
                            void* scratch,
                            const OutputRows& y) {
  if (rows <= kMostFew) return few_panel(w, packed, rows, from, to, scratch, y);
  float* weights = (float*)scratch;
  float* sums = weights + kGemmDepth * kGemmOutputs;
  HalfDecode decode = half_decode(w);
  for (int n = from; n < to; n += kGemmOutputs) {
    int count = to - n < kGemmOutputs ? to - n : kGemmOutputs;
    for (int k = 0; k < w.columns; k += kPairDepth) {
      int depth = w.columns - k < kPairDepth ? w.columns - k : kPairDepth;
      gemm_bf16_weights(w, decode, n, count, k, depth, weights);
      for (int m = 0; m < rows; m += kGemmRows) {
        const float* a =
            (const float*)packed + (size_t)m * pairs_of(w.columns) + (size_t)(k / 2) * kGemmRows;
        int r = rows - m < kGemmRows ? rows - m : kGemmRows;
        gemm_rows<MultiplyHalf>(r, a, weights, pairs_of(depth), k == 0, sums + m * kGemmOutputs);
      }
    }
    for (int m = 0; m < rows; ++m) write_outputs(sums + m * kGemmOutputs, m, n, count, y);
  }
}

// Measured on Zen 4: five rows in registers are faster than four and one.
constexpr GemmKernels kGemmBf16 = {kGemmRows,
                                   5,
                                   kMaxRows + 1,
                                   gemm_bf16_packed_bytes,
                                   gemm_bf16_pack,
                                   gemm_bf16_scratch_bytes,
                                   gemm_bf16_panel};

}  // namespace
}  // namespace mlxcpp::cpu
#endif
