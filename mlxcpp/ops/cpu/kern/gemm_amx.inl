// Products of many rows with AMX tiles, operands rounded to bfloat16.
// Weights are the first operand: a tile is 16 outputs by 32 columns in the order of the file.
// Activations are the second: a tile is 16 pairs of columns by 16 rows.  Sums come out with outputs
// down and rows across, and are transposed when they are written.
#if defined(__AMX_BF16__)
namespace mlxcpp::cpu {
namespace {

constexpr int kTile = 1024;      // bytes
constexpr int kTileRows = 16;    // rows of activations, or outputs
constexpr int kTileDepth = 32;   // columns
constexpr int kTilePiece = 256;  // columns that are decoded at a time: every block divides it
constexpr int kTileBlock = 640;  // about so many columns of two tiles' weights fit the first cache

/// Columns of a block: of nearly equal size, multiples of kTilePiece but for the last.
inline int tile_block(int columns) {
  int blocks = (columns + kTileBlock - 1) / kTileBlock;
  return ((columns + blocks - 1) / blocks + kTilePiece - 1) / kTilePiece * kTilePiece;
}
inline int tile_steps(int columns) { return (columns + kTileDepth - 1) / kTileDepth; }

inline size_t gemm_amx_packed_bytes(int rows, int columns) {
  return (size_t)((rows + kTileRows - 1) / kTileRows) * tile_steps(columns) * kTile;
}

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

/// Tiles in the order [block of columns][block of rows][step].
inline void gemm_amx_pack(const InputRows& x, int block, void* packed) {
  int from = block * kTileRows, blocks = (x.rows + kTileRows - 1) / kTileRows;
  int rows = x.rows - from < kTileRows ? x.rows - from : kTileRows;
  const float* source[kTileRows];
  for (int i = 0; i < rows; ++i)
    source[i] = x.data + (x.index ? x.index[from + i] : from + i) * x.stride;
  int depth = tile_block(x.columns);
  char* out = (char*)packed;
  for (int k0 = 0; k0 < x.columns; k0 += depth) {
    int columns = x.columns - k0 < depth ? x.columns - k0 : depth, steps = tile_steps(columns);
    char* tile = out + (size_t)block * steps * kTile;
    for (int s = 0; s < steps; ++s, tile += kTile) {
      __m512i r[kTileRows];
      int k = k0 + s * kTileDepth;
      for (int i = 0; i < rows; ++i) r[i] = to_bf16_32(source[i] + k, x.columns - k);
      for (int i = rows; i < kTileRows; ++i) r[i] = _mm512_setzero_si512();
      transpose(r);
      for (int i = 0; i < kTileRows; ++i) _mm512_store_si512(tile + i * 64, r[i]);
    }
    out += (size_t)blocks * steps * kTile;
  }
}

/// Writes columns [column, column + count) of a row of weights, 64 bytes in each of the tiles from
/// `out` on; zeros up to the end of the last.
using TileDecode = void (*)(const Matrix& w, int row, int column, int count, char* out);

inline void decode_any(const Matrix& w, int row, int column, int count, char* out) {
  float numbers[kTilePiece];
  weights_f32(w, row, column, count, numbers);
  for (int k = 0; k < count; k += 32, out += kTile)
    _mm512_store_si512(out, to_bf16_32(numbers + k, count - k));
}

inline void decode_bf16(const Matrix& w, int row, int column, int count, char* out) {
  const char* p = (const char*)w.data + (long)row * w.row_bytes + 2l * column;
  for (; count > 0; count -= 32, p += 64, out += kTile) {
    __mmask32 m = count >= 32 ? ~0u : (1u << count) - 1;
    _mm_prefetch(p + 4 * kTilePiece, _MM_HINT_T0);
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
  _mm_prefetch((const char*)p + kTilePiece, _MM_HINT_T0);
  _mm_prefetch((const char*)p + kTilePiece + 64, _MM_HINT_T0);
  int g = column / Group, end = (column + count) / Group;
#pragma GCC unroll 4
  for (; g < end; ++g) {
    __m512 t = _mm512_fmadd_ps(codes, broadcast<T>(scales, g), broadcast<T>(zeros, g));
    __m512i table = _mm512_castsi256_si512((__m256i)_mm512_cvtneps_pbh(t));
#pragma GCC unroll 4
    for (int s = 0; s < Group / 32; ++s, p += 16, out += kTile)
      _mm512_store_si512(out, look_up_16(p, table));
  }
}
template <int Group>
inline TileDecode decode_affine4_of(Number scales) {
  switch (scales) {
    case Number::f32: return decode_affine4<Number::f32, Group>;
    case Number::f16: return decode_affine4<Number::f16, Group>;
    case Number::bf16: break;
  }
  return decode_affine4<Number::bf16, Group>;
}

inline TileDecode tile_decode(const Matrix& w) {
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

/// A panel of weights: up to 32 outputs of one block of columns, decoded piece by piece while the
/// tiles work on the panel before it.
struct TilePanel {
  TileDecode decode;
  const Matrix* w;
  int from, to, column, count, steps;
  char* tiles;  // [half of the outputs][step]
  int row, at;  // the piece that is next

  int pieces() const { return 2 * kTileRows * ((count + kTilePiece - 1) / kTilePiece); }
  void piece() {
    char* out = tiles + (size_t)((row / kTileRows) * steps + at / kTileDepth) * kTile +
                (row % kTileRows) * 64;
    int n = count - at < kTilePiece ? count - at : kTilePiece;
    if (from + row < to)
      decode(*w, from + row, column + at, n, out);
    else
      for (int k = 0; k < n; k += kTileDepth, out += kTile)
        _mm512_store_si512(out, _mm512_setzero_si512());
    at += kTilePiece;
    if (at >= count) at = 0, ++row;
  }
  void rest() {
    while (row < 2 * kTileRows) piece();
  }
};

/// Lines that will be written soon: asked for beforehand, a few rows at a time, or the first stores
/// wait for memory.
struct TileTouch {
  const OutputRows* y;
  int n, row, end, each;
  void some() {
    for (int i = 0; i < each && row < end; ++i, ++row) {
      float* p = y->data + (y->index ? y->index[row] : row) * y->stride + n;
      __builtin_prefetch(p, 1);
      __builtin_prefetch(p + 16, 1);
    }
  }
};

/// Adds to tiles 0 ... 3: [half of the outputs][block of rows].  Loads of activations are hinted to
/// leave the weights in the first cache.
template <bool Two>
inline void tile_products(const TilePanel& a,
                          const char* x,
                          long x_block,
                          TilePanel& next,
                          int rate,
                          int& due,
                          int all,
                          TileTouch& touch) {
  const char* w0 = a.tiles;
  const char* w1 = a.tiles + (size_t)a.steps * kTile;
  for (int s = 0; s < a.steps; ++s, w0 += kTile, w1 += kTile, x += kTile) {
    _tile_loadd(4, w0, 64);
    _tile_stream_loadd(6, x, 64);

    _tile_dpbf16ps(0, 4, 6);
    _tile_loadd(5, w1, 64);
    _tile_dpbf16ps(2, 5, 6);
    if (Two) {
      _tile_stream_loadd(7, x + x_block, 64);

      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(3, 5, 7);
    }
    touch.some();
    for (due += rate; due >= all; due -= all) next.piece();
  }
}

template <bool Two>
inline void load_sums(const float* sums) {
  _tile_loadd(0, sums, 64);
  _tile_loadd(2, sums + 512, 64);
  if (Two) {
    _tile_loadd(1, sums + 256, 64);
    _tile_loadd(3, sums + 768, 64);
  }
}
template <bool Two>
inline void store_sums(float* sums) {
  _tile_stored(0, sums, 64);
  _tile_stored(2, sums + 512, 64);
  if (Two) {
    _tile_stored(1, sums + 256, 64);
    _tile_stored(3, sums + 768, 64);
  }
}

/// 16 outputs of 16 rows: [output][row] to rows.
inline void write_tile(
    const float* sums, int n, int outputs, int m, int rows, const OutputRows& y) {
  if (outputs <= 0 || rows <= 0) return;
  __m512i r[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(sums + 16 * i);
  transpose(r);
  __mmask16 mask = outputs >= 16 ? 0xffff : (__mmask16)((1u << outputs) - 1);
  __m512 bias = y.bias ? _mm512_maskz_loadu_ps(mask, y.bias + n) : _mm512_setzero_ps();
  for (int i = 0; i < 16 && i < rows; ++i) {
    __m512 v = _mm512_add_ps(_mm512_castsi512_ps(r[i]), bias);
    if (y.residual)
      v = _mm512_add_ps(v,
                        _mm512_maskz_loadu_ps(mask, y.residual + (m + i) * y.residual_stride + n));
    _mm512_mask_storeu_ps(y.data + (y.index ? y.index[m + i] : m + i) * y.stride + n, mask, v);
  }
}
inline void write_tiles(const float* sums, int n, int to, int m, int rows, const OutputRows& y) {
  write_tile(sums, n, to - n, m, rows - m, y);
  write_tile(sums + 512, n + 16, to - n - 16, m, rows - m, y);
  write_tile(sums + 256, n, to - n, m + 16, rows - m - 16, y);
  write_tile(sums + 768, n + 16, to - n - 16, m + 16, rows - m - 16, y);
}

/// Two panels of weights, then sums: those of all outputs and rows when there are several blocks of
/// columns and more rows than the tiles hold.
inline size_t gemm_amx_scratch_bytes(int rows, int columns, int outputs) {
  size_t panels = (size_t)4 * tile_steps(tile_block(columns)) * kTile;
  bool keep = rows > 2 * kTileRows && tile_block(columns) < columns;
  size_t pairs = keep ? (size_t)((outputs + 31) / 32) * ((rows + 31) / 32) : 1;
  return panels + pairs * 4 * kTile;
}

struct TileJob {
  const Matrix& w;
  const char* packed;
  int rows, from, to;
  char* scratch;
  const OutputRows& y;
  int depth, blocks, pairs, row_blocks, row_pairs;
  bool inner;  // all blocks of columns one after the other, sums stay in the tiles
  TileDecode decode;

  /// Panel p, not decoded.
  TilePanel panel(int p) const {
    int block = inner ? p % blocks : p / pairs, n = inner ? p / blocks : p % pairs;
    int column = block * depth, count = w.columns - column < depth ? w.columns - column : depth;
    char* tiles = scratch + (size_t)(p & 1) * 2 * tile_steps(depth) * kTile;
    return {decode, &w, from + 32 * n, to, column, count, tile_steps(count), tiles, 0, 0};
  }
  template <bool Two>
  void products(
      const TilePanel& a, int p, int m, TilePanel& next, int rate, int& due, int all) const {
    int block = inner ? p % blocks : p / pairs, n = inner ? p / blocks : p % pairs;
    const char* x =
        packed +
        ((size_t)block * (depth / kTileDepth) * row_blocks + (size_t)2 * m * a.steps) * kTile;
    float* sums = (float*)(scratch + (size_t)4 * tile_steps(depth) * kTile);
    if (!inner && blocks > 1) sums += ((size_t)n * row_pairs + m) * kTile;
    if (block == 0) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else if (!inner) {
      load_sums<Two>(sums);
    }
    bool last = block == blocks - 1;
    int end = !last ? 0 : rows - 32 * m < 32 ? rows : 32 * m + 32;
    TileTouch touch = {&y, a.from, 32 * m, end, (32 + a.steps - 1) / a.steps};
    tile_products<Two>(a, x, (long)a.steps * kTile, next, rate, due, all, touch);
    if (last || !inner) store_sums<Two>(sums);

    if (last) write_tiles(sums, a.from, to, 32 * m, rows, y);
  }
  void run() const {
    configure_tiles();
    int count = blocks * pairs;
    TilePanel current = panel(0);
    current.rest();
    for (int p = 0; p < count; ++p) {
      TilePanel next = panel(p + 1 < count ? p + 1 : p);
      if (p + 1 == count) next.row = 2 * kTileRows;
      int due = 0, rate = p + 1 < count ? next.pieces() : 0, all = current.steps * row_pairs;
      for (int m = 0; m < row_pairs; ++m)
        2 * m + 1 < row_blocks ? products<true>(current, p, m, next, rate, due, all)
                               : products<false>(current, p, m, next, rate, due, all);
      next.rest();
      current = next;
    }
    _tile_release();
  }
};

inline void gemm_amx_panel(const Matrix& w,
                           const void* packed,
                           int rows,
                           int from,
                           int to,
                           void* scratch,
                           const OutputRows& y) {
  int depth = tile_block(w.columns), row_blocks = (rows + kTileRows - 1) / kTileRows;
  TileJob job = {w,
                 (const char*)packed,
                 rows,
                 from,
                 to,
                 (char*)scratch,
                 y,
                 depth,
                 (w.columns + depth - 1) / depth,
                 (to - from + 31) / 32,
                 row_blocks,
                 (row_blocks + 1) / 2,
                 row_blocks <= 2,
                 tile_decode(w)};
  job.run();
}

constexpr GemmKernels kGemmAmx = {
    kTileRows, 4, 3, gemm_amx_packed_bytes, gemm_amx_pack, gemm_amx_scratch_bytes, gemm_amx_panel};

}  // namespace
}  // namespace mlxcpp::cpu
#endif
