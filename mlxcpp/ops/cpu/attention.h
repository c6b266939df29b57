// Attention over cached keys, and rotary embeddings, over all threads.
#pragma once

namespace mlxcpp::cpu {

/// (B, heads, tokens, size) with the last axis contiguous; strides in numbers.
struct Heads {
  const float* data = nullptr;
  long row = 0, head = 0, token = 0;
};

inline constexpr int kNoToken = 1 << 30;  // the index of a column that holds none

/// softmax(scale q k^T + mask) v in float32.  Query l of row b has the index offsets[b] + l.
struct Attention {
  int rows, heads, kv_heads, queries, keys, k_size, v_size;
  Heads q, k, v;
  float* out;  // (rows, heads, queries, v_size)
  long out_row, out_head, out_token;
  float scale = 1, softcap = 0;
  const float* sinks = nullptr;  // (heads)
  // Who sees whom.  A query that sees nothing gets finite numbers.
  bool causal = true;
  int window = 0, chunk = 0;               // 0: none
  int kept_first = 0, kept_last = 0;       // kept_last 0: everything is still there
  const int* offsets = nullptr;            // (rows)
  const int* ends = nullptr;               // (rows): index after the last valid token
  const int* key_index = nullptr;          // (rows, keys), kNoToken for holes; null: the column
  const int* spans = nullptr;              // (rows, queries): equal numbers > 0 see each other
  const unsigned char* allowed = nullptr;  // (rows, queries, keys), 0: hidden as well; null: none
};
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
