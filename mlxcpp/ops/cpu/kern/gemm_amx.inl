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
constexpr int kCachedRows = 64;  // outputs of more rows are not kept in caches
constexpr int kSumRows = 512;    // so many sums of 512 outputs fit the second cache
constexpr int kTileBlock = 640;  // so many columns of two tiles' weights fit the first cache

/// Columns of a block, the last may have less.  Measured: 512 where there are several, since the
/// next panel's weights want room, too; sums that leave the tiles cost more than room gives below.
inline int tile_block(int columns) { return columns <= kTileBlock ? columns : 2 * kHalfPiece; }
inline int tile_steps(int columns) { return (columns + kTileDepth - 1) / kTileDepth; }

inline size_t gemm_amx_packed_bytes(int rows, int columns) {
  return (size_t)((rows + kTileRows - 1) / kTileRows) * tile_steps(columns) * kTile;
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

/// A panel of weights: up to 32 outputs of some columns, decoded piece by piece while the tiles
/// work on the panel before it.
struct TilePanel {
  HalfDecode decode;
  const Matrix* w;
  int from, to, column, count, steps;
  char* tiles;              // [half of the outputs][step]
  int after, scales_after;  // bytes from its codes and scales to those of the panel after it
  int row, at;              // the piece that is next

  int pieces() const { return 2 * kTileRows * ((count + kHalfPiece - 1) / kHalfPiece); }
  /// Brings nearer what the panel after this one is decoded from.  Inlined by force: g++ 12 drops
  /// calls of functions that do nothing but prefetch.
  MLXCPP_INLINE void fetch() const {
    long r = from + row, c = (column + at) / kHalfPiece;
    long size = kHalfPiece * w->row_bytes / w->columns;
    const char* p = (const char*)w->data + r * w->row_bytes + c * size + after;
    const char* end = p + size;
    for (p -= (uintptr_t)p & 63; p < end; p += 64) _mm_prefetch(p, _MM_HINT_T1);
    if (!w->scales) return;
    long scale = r * w->scale_row_bytes + c * (kHalfPiece * w->scale_row_bytes / w->columns);
    _mm_prefetch((const char*)w->scales + scale + scales_after, _MM_HINT_T1);
    if (w->zeros) _mm_prefetch((const char*)w->zeros + scale + scales_after, _MM_HINT_T1);
  }
  void piece() {
    char* out = tiles + (size_t)((row / kTileRows) * steps + at / kTileDepth) * kTile +
                (row % kTileRows) * 64;
    int n = count - at < kHalfPiece ? count - at : kHalfPiece;
    fetch();
    if (from + row < to)
      decode(*w, from + row, column + at, n, out);
    else
      for (int k = 0; k < n; k += kTileDepth, out += kTile)
        _mm512_store_si512(out, _mm512_setzero_si512());
    at += kHalfPiece;
    if (at >= count) at = 0, ++row;
  }
  void rest() {
    while (row < 2 * kTileRows) piece();
  }
};

/// What is done beside the products: `rate` pieces of the next panel in `all` steps, and the next
/// sums are brought nearer, `each` lines a step.
struct TilePace {
  int due, rate, all, each;
  const float* sums;
};

/// Adds to tiles 0 ... 3: [half of the outputs][block of rows].  Loads of activations are hinted to
/// leave the weights in the first cache.
template <bool Two>
inline void tile_products(
    const TilePanel& a, const char* x, long x_block, TilePanel& next, TilePace& pace) {
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
    for (pace.due += pace.rate; pace.due >= pace.all; pace.due -= pace.all) next.piece();
    for (int i = 0; i < pace.each; ++i, pace.sums += 16) __builtin_prefetch(pace.sums, 1);
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

/// Part of a row of outputs.  Past: whole lines go past the caches, which want to keep activations
/// and sums; scattered lines would be read first, at a tenth of the speed.
template <bool Past>
inline void write_row(
    const float* sums, int count, float* out, const float* bias, const float* residual) {
  int n = 0;
  int head = (int)((64 - ((uintptr_t)out & 63)) & 63) / 4;
  for (int size = head < count ? head : count; n < count;
       n += size, size = count - n < 16 ? count - n : 16) {
    if (size == 0) continue;
    __mmask16 mask = (__mmask16)((1u << size) - 1);
    __m512 v = _mm512_maskz_loadu_ps(mask, sums + n);
    if (bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, bias + n));
    if (residual) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(mask, residual + n));
    if (Past && size == 16 && ((uintptr_t)(out + n) & 63) == 0)
      _mm512_stream_ps(out + n, v);
    else
      _mm512_mask_storeu_ps(out + n, mask, v);
  }
}

/// Two panels of weights, then sums: [pair of tiles of outputs][pair of blocks of rows], of all
/// rows when there are more than the tiles hold.
inline size_t gemm_amx_scratch_bytes(int rows, int columns, int outputs) {
  size_t panels = (size_t)4 * tile_steps(tile_block(columns)) * kTile;
  size_t lines = (size_t)(outputs + 15) / 16 * kTile;
  if (rows > kSumRows) rows = kSumRows;
  size_t pairs = (size_t)((outputs + 31) / 32) * ((rows + 31) / 32);
  return (panels > lines ? panels : lines) + pairs * 4 * kTile;
}

struct TileJob {
  const Matrix& w;
  const char* packed;
  int first, rows;  // at most kSumRows of all
  int all_blocks;   // of rows
  int from, to;
  char* scratch;
  const OutputRows& y;
  int depth;  // columns that activations are packed by
  int width, blocks, pairs, row_blocks, row_pairs;
  bool inner;  // all blocks of columns one after the other, sums stay in the tiles
  HalfDecode decode;

  int block_of(int p) const { return inner ? p % blocks : p / pairs; }
  int pair_of(int p) const { return inner ? p / blocks : p % pairs; }
  /// Panel p, not decoded.
  TilePanel panel(int p) const {
    bool last = p + 1 == blocks * pairs;
    int down = last ? 32 : 32 * (pair_of(p + 1) - pair_of(p));
    int pieces = width / kHalfPiece * (last ? -block_of(p) : block_of(p + 1) - block_of(p));
    int column = block_of(p) * width, left = w.columns - column,
        count = left < width ? left : width;
    return {decode,
            &w,
            from + 32 * pair_of(p),
            to,
            column,
            count,
            tile_steps(count),
            scratch + (size_t)(p & 1) * 2 * tile_steps(depth) * kTile,
            (int)(down * w.row_bytes + pieces * (kHalfPiece * w.row_bytes / w.columns)),
            (int)(down * w.scale_row_bytes + pieces * (kHalfPiece * w.scale_row_bytes / w.columns)),
            0,
            0};
  }
  float* sums() const {
    size_t panels = (size_t)4 * tile_steps(depth) * kTile,
           lines = (size_t)(to - from + 15) / 16 * kTile;
    return (float*)(scratch + (panels > lines ? panels : lines));
  }
  template <bool Two>
  void products(const TilePanel& a, int p, int m, TilePanel& next, TilePace& pace) const {
    int in = a.column % depth, begin = a.column - in, left = w.columns - begin;
    int steps = tile_steps(left < depth ? left : depth);
    const char* x = packed + ((size_t)begin / kTileDepth * all_blocks +
                              (size_t)(first / kTileRows + 2 * m) * steps + in / kTileDepth) *
                                 kTile;
    int block = block_of(p);
    float* sums = this->sums() + ((size_t)pair_of(p) * row_pairs + m) * kTile;
    pace.sums = sums + kTile;
    if (block == 0) {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    } else if (!inner) {
      load_sums<Two>(sums);
    }
    tile_products<Two>(a, x, (long)steps * kTile, next, pace);
    if (!inner || block == blocks - 1) store_sums<Two>(sums);
  }
  /// All outputs of a row one after the other, for 16 rows at a time.
  template <bool Past>
  void write() const {
    int all = (to - from + 15) / 16 * 16;
    float* lines = (float*)scratch;  // the panels are done with
    for (int m = 0; m < row_blocks; ++m) {
      for (int n = 0; n < all; n += 16) {
        const float* tile = sums() + ((size_t)(n / 32) * row_pairs + m / 2) * kTile +
                            (n / 16 % 2) * 512 + (m % 2) * 256;
        __m512i r[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) r[i] = _mm512_load_si512(tile + 16 * i);
        transpose(r);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) _mm512_store_si512(lines + i * all + n, r[i]);
      }
      for (int i = 0; i < 16 && 16 * m + i < rows; ++i) {
        int row = first + 16 * m + i;
        write_row<Past>(lines + i * all,
                        to - from,
                        y.data + (y.index ? y.index[row] : row) * y.stride + from,
                        y.bias ? y.bias + from : nullptr,
                        y.residual ? y.residual + row * y.residual_stride + from : nullptr);
      }
    }
    if (Past) _mm_sfence();
  }
  void run() const {
    int count = blocks * pairs;
    TilePanel current = panel(0);
    current.rest();
    for (int p = 0; p < count; ++p) {
      TilePanel next = panel(p + 1 < count ? p + 1 : p);
      if (p + 1 == count) next.row = 2 * kTileRows;
      int rate = p + 1 == count ? 0 : next.pieces(), steps = current.steps;
      TilePace pace = {0, rate, steps * row_pairs, inner ? 0 : 64 / steps, nullptr};
      for (int m = 0; m < row_pairs; ++m)
        2 * m + 1 < row_blocks ? products<true>(current, p, m, next, pace)
                               : products<false>(current, p, m, next, pace);
      next.rest();
      current = next;
    }
    rows > kCachedRows ? write<true>() : write<false>();
  }
};

inline void gemm_amx_panel(const Matrix& w,
                           const void* packed,
                           int rows,
                           int from,
                           int to,
                           void* scratch,
                           const OutputRows& y) {
  int depth = tile_block(w.columns);
  // Few rows: smaller panels, but cutting short rows costs more than it gives (measured).
  int width = rows <= 2 * kTileRows && w.columns > kTileBlock ? kHalfPiece : depth;
  configure_tiles();
  for (int first = 0; first < rows; first += kSumRows) {
    int some = rows - first < kSumRows ? rows - first : kSumRows;
    int row_blocks = (some + kTileRows - 1) / kTileRows;
    TileJob job = {w,
                   (const char*)packed,
                   first,
                   some,
                   (rows + kTileRows - 1) / kTileRows,
                   from,
                   to,
                   (char*)scratch,
                   y,
                   depth,
                   width,
                   (w.columns + width - 1) / width,
                   (to - from + 31) / 32,
                   row_blocks,
                   (row_blocks + 1) / 2,
                   rows <= 2 * kTileRows,
                   half_decode(w)};
    job.run();
  }
  _tile_release();
}

constexpr GemmKernels kGemmAmx = {
    kTileRows, 5, 3, gemm_amx_packed_bytes, gemm_amx_pack, gemm_amx_scratch_bytes, gemm_amx_panel};

}  // namespace
}  // namespace mlxcpp::cpu
#endif
