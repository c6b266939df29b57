// What each instruction set brings: tables of functions over plain pointers.  Units with special
// compiler flags include this: no functions here, or the linker might choose one that was compiled
// for another CPU.
#pragma once

#include "mlxcpp/ops/cpu/elementwise.h"
#include "mlxcpp/ops/cpu/matrix.h"
#include "mlxcpp/ops/cpu/recurrent.h"

#include <cstddef>

namespace mlxcpp::cpu {

/// Activations as 16-bit integers, one scale for each kChunk columns, so that products with integer
/// codes are exact.  Columns are padded with zeros to a multiple of kPadded.  quantised.h makes
/// them.
struct QuantisedRows {
  enum { kChunk = 64, kPadded = 128, kLevels = 3 };
  int rows = 0, columns = 0, padded = 0;
  // (rows, padded): number = (256 high + low) * scale.  Split: the even columns first; halves: the
  // first sixteen of each 32 first; of as many columns as the tier multiplies together.
  signed char *high = nullptr, *low = nullptr, *high_split = nullptr, *low_split = nullptr,
              *high_halves = nullptr, *low_halves = nullptr;
  /// 256 high + low; of a chunk the first eight columns of each sixteen, then the others.
  short* wide = nullptr;
  /// (rows, group_stride): for each 16, 32 and 64 columns their scale, and the sum of the numbers.
  float *scales[kLevels] = {}, *sums[kLevels] = {};
  long group_stride = 0;
};

/// Loops over registers that measure what a unit can do: each call is `n` times so many products.
struct Probe {
  void (*run)(long n) = nullptr;  // null: the tier has no such instruction
  double products = 0;            // multiply-adds of one iteration
};
struct Probes {
  Probe f32, half, byte, tile_half;
  /// Reads so many bytes and returns something of them.
  int (*read)(const void* data, std::size_t bytes) = nullptr;
};

struct MatrixKernels {
  /// Row `row` of `out` from x: (columns).
  void (*quantise)(const float* x, int row, const QuantisedRows& out);
  /// y[m * stride + n] = w_n . x_m, for outputs [from, to) and all rows, at most kMaxRows.  Not for
  /// f32, f16, bf16 and mxfp8.
  void (*dots)(const Matrix& w, const QuantisedRows& x, int from, int to, float* y, long stride);
  /// Likewise for codings without small integers, x: (rows, columns) in rows of x_stride.
  void (*dense_dots)(const Matrix& w,
                     const float* x,
                     long x_stride,
                     int rows,
                     int from,
                     int to,
                     float* y,
                     long stride);
  /// Numbers [column, column + count) of a row; both multiples of the group or block, or of 8 where
  /// there is none.
  void (*unpack)(const Matrix& w, int row, int column, int count, float* out);
};
inline constexpr int kMaxRows = 4;

/// Rows of float32 that need not be neighbours: row m is data + (index ? index[m] : m) * stride.
struct InputRows {
  const float* data;
  long stride;
  const int* index;
  int rows, columns;
};
/// Likewise, to be written: product + bias + residual.  The residual may be what is overwritten.
struct OutputRows {
  float* data;
  long stride;
  const int* index;
  const float* bias = nullptr;      // per output
  const float* residual = nullptr;  // row m is residual + m * residual_stride
  long residual_stride = 0;
};

/// A product of many rows with a matrix: activations are packed once, block by block; then panels
/// of outputs, each by itself.
struct GemmKernels {
  int block_rows;   // rows that are packed together
  int least_rows;   // from so many rows on it beats kMaxRows rows at a time, for integer codes
  int least_dense;  // likewise for codings without
  std::size_t (*packed_bytes)(int rows, int columns);
  void (*pack)(const InputRows& x, int block, void* packed);
  /// Outputs [from, to) for all rows; `from` is a multiple of 64.
  std::size_t (*scratch_bytes)(int rows, int columns, int outputs);
  void (*panel)(const Matrix& w,
                const void* packed,
                int rows,
                int from,
                int to,
                void* scratch,
                const OutputRows& y);
};

/// One row, or a stretch of one.
struct ElementwiseKernels {
  /// `total` = x + add, where there is one, and y its norm.
  void (*rms_norm)(const float* x,
                   const float* add,
                   const float* weight,
                   float eps,
                   int size,
                   float* total,
                   float* y);
  void (*layer_norm)(
      const float* x, const float* weight, const float* bias, float eps, int size, float* y);
  void (*activate)(const float* x, Act act, long size, float* y);
  void (*gated)(const float* gate, const float* up, const Gate& how, int size, float* y);
  void (*softcap)(const float* x, float cap, long size, float* y);
  /// What is not a number is passed over; minus infinity and 0 where nothing is left.
  float (*largest)(const float* x, long size);
  unsigned (*argmax)(const float* x, long size);
  /// y = e^(x - shift), for x <= shift, and their sum; y may be null.
  float (*exp_shifted)(const float* x, float shift, long size, float* y);
  void (*scale_shift)(
      const float* x, float by, float shift, long size, float* y);  // x * by + shift
  /// x to float16, to nearest.
  void (*to_half)(const float* x, long size, unsigned short* y);
  /// The largest of each `block` numbers.
  void (*block_maxima)(const float* x, long size, int block, float* maxima);
  /// Numbers that are at least `low`, in order; returns how many.
  long (*at_least)(const float* x, long size, float low, float* found);
  /// y = x, or minus infinity where x < low.
  void (*keep_from)(const float* x, float low, long size, float* y);
  /// Cosine and sine of positions * inverse, times magnitude.
  void (*turns)(const float* inverse,
                const float* positions,
                float magnitude,
                int pairs,
                float* cosines,
                float* sines);
  /// One head, turned by them; y may be x.
  void (*turn)(const float* x,
               const float* cosines,
               const float* sines,
               int pairs,
               int size,
               bool traditional,
               float* y);
};

/// Which keys a query sees: low <= index < high, but not hidden_from <= index < hidden_to.
struct Sight {
  float low, high, hidden_from, hidden_to;
};
/// Up to kKeyBlock neighbouring keys of one head, and the queries that look at them.
struct KeyBlock {
  const float *k, *v;
  const unsigned short *k_half, *v_half;  // float16, instead, where reads_half() says so
  long k_token, v_token;                  // strides in numbers
  int keys, k_size, v_size;
  int first;         // index of the first key, the others follow; unless there is
  const int* index;  // (keys)
  const float* q;    // (rows, k_padded): scaled, zeros behind k_size
  const void* packed;
  int rows, k_padded;
  float softcap;                 // 0: none
  const Sight* sight;            // (rows)
  const unsigned char* allowed;  // (rows / group, kKeyBlock), instead of sight; null: none
  int group;
  bool same_sums;  // a query's sums may not depend on how many there are
};
/// What queries have of some keys: the largest score, the sum of e^(score - largest), and that of
/// the values, weighted so: `stride` numbers for each, in an order of the kernels' own.  There is
/// room for a multiple of kRowsTogether queries.
struct Attended {
  enum { kRowsTogether = 32 };
  float *largest, *sum, *out;
  int stride;
};
/// How a block of keys is attended to, and what follows the blocks, in their order.
struct AttentionKernels {
  int most_rows, least_rows;                // of queries in one call
  std::size_t (*packed_bytes)(int k_size);  // null: queries are not packed
  void (*pack)(const KeyBlock& b, void* packed);
  /// Whether block() takes keys and values in float16; null: never.
  bool (*reads_half)(const KeyBlock& b);
  std::size_t (*scratch_bytes)(int k_size, int v_size);
  void (*block)(const KeyBlock& b, void* scratch, const Attended& y);
  /// Adds `more` to `y`, which starts with largest -inf, sum 0, out 0.
  void (*merge)(const Attended& more, int rows, const Attended& y);
  /// Row r of y, divided by its sum, to out[r]; *sinks[r] takes part in the sum where it is given.
  void (*finish)(
      const Attended& y, int rows, const float* const* sinks, int v_size, float* const* out);
};
inline constexpr int kKeyBlock = 256;

struct RecurrentKernels {
  /// Of one token.
  void (*time_steps)(const TimeSteps& t, int row, int token);
  /// All tokens of a row, for heads [head, head_end) that share a key head, and states' rows
  /// [p, p_end).  scratch: recurrence_scratch(n) numbers, aligned to 64 bytes.
  void (*recurrence)(
      const Recurrence& r, int row, int head, int head_end, int p, int p_end, float* scratch);
  long (*recurrence_scratch)(int n);
  /// All tokens of a row, for channels [from, to).  scratch: as above.
  void (*causal_conv)(const CausalConv& c, int row, int from, int to, float* scratch);
  long (*causal_conv_scratch)(int kernel, int channels);
  /// One row.
  void (*gated_norm)(const GatedNorm& g, int row);
};

/// Everything of one tier.
struct Kernels {
  Probes probes;
  MatrixKernels matrix;
  GemmKernels gemm_f32;          // float32 throughout
  const GemmKernels* gemm_half;  // operands rounded to bfloat16, float32 sums; null: none
  const GemmKernels* gemm_int;   // as MatrixKernels::dots, for the same codings; null: none
  ElementwiseKernels elementwise;
  AttentionKernels attention_f32;  // a query gets the same, whatever other queries there are
  const AttentionKernels* attention_half;  // products of bfloat16, without `allowed`; null: none
  RecurrentKernels recurrent;
};

}  // namespace mlxcpp::cpu
