// Attention over cached keys, and rotary embeddings, over all threads.
#pragma once

#include "mlxcpp/ops/cpu/matrix.h"

namespace mlxcpp::cpu {

/// (B, heads, tokens, size) with the last axis contiguous; strides in numbers.
struct Heads {
  const float* data = nullptr;
  long row = 0, head = 0, token = 0;
};

inline constexpr int kNoToken = 1 << 30;  // the index of a column that holds none

/// Keys or values of one row: float32, or a matrix with a row for each token, of the first head.
/// Matrices of float16 are read where they lie, others a block at a time.
struct KeyNumbers {
  const float* data = nullptr;                // (heads, tokens, size)
  long head = 0, token = 0;                   // strides in numbers
  Matrix packed = {};                         // where data is null
  long head_bytes = 0, head_scale_bytes = 0;  // from one head's matrix to the next one's

  /// float16, (heads, tokens, size) with the last axis contiguous; strides in numbers.
  static KeyNumbers half(const void* data, long head, long token, int size);
};
/// Neighbouring columns.
struct KeyPiece {
  KeyNumbers k, v;
  int keys;
};
/// What one row attends to.
struct RowKeys {
  const KeyPiece* pieces = nullptr;
  int count = 0, keys = 0;                 // pieces, and keys in them
  int offset = 0;                          // the index of query 0; the others follow
  int end = 0;                             // index after the last valid token
  bool all = false;                        // every query sees every column
  const int* index = nullptr;              // (keys), kNoToken for holes; null: the column
  int kept_first = 0, kept_last = 0;       // kept_last 0: everything is still there
  const unsigned char* allowed = nullptr;  // (queries, keys), 0: hidden as well; null: none
};

/// softmax(scale q k^T + mask) v in float32.
struct Attention {
  int rows, heads, kv_heads, queries, k_size, v_size;
  Heads q;
  const RowKeys* keys;  // (rows)
  float* out;           // (rows, heads, queries, v_size)
  long out_row, out_head, out_token;
  float scale = 1, softcap = 0;
  const float* sinks = nullptr;  // (heads)
  // Who sees whom.  A query that sees nothing gets finite numbers.
  bool causal = true;
  int window = 0, chunk = 0;   // 0: none
  const int* spans = nullptr;  // (rows, queries): equal numbers > 0 see each other
};
/// What a row gets does not depend on how its keys are cut into pieces.
void attention(const Attention& a);

/// Turns the leading `dims` of each head, copies the others.  In place is allowed.
struct Rotation {
  int rows, heads, tokens, size, dims;
  Heads x;
  float* out;
  long out_row, out_head, out_token;
  bool traditional = false;   // neighbours, not halves
  float magnitude = 1;        // factor on the rotated part
  const float* inverse;       // (dims / 2): angle = position * inverse
  long inverse_row = 0;       // from one row's frequencies to the next one's
  const int* positions;       // (rows, tokens), or (streams, rows, tokens)
  const int* axis = nullptr;  // (dims / 2): the stream of each frequency; null: the first
};
void rotate(const Rotation& r);

}  // namespace mlxcpp::cpu
