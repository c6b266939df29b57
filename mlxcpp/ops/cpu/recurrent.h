// Mixers that carry a state from token to token, over all threads.  Padding moves no state.  Sums
// are float32; a row's numbers depend neither on the other rows nor on the number of threads.
// Units with special compiler flags include this: no function bodies here.
#pragma once

#include "mlxcpp/ops/cpu/matrix.h"

namespace mlxcpp::cpu {

/// (rows, tokens, heads, size), the last axis contiguous; strides in numbers.
struct Sequence {
  const float* data = nullptr;
  long row = 0, token = 0, head = 0;
};
/// Numbers one after the other, as a file stores them.
struct Stored {
  const void* data = nullptr;
  Number type = Number::f32;
};

/// What a projection says of time, made into factors.  (heads) each: bias, a_log.
struct TimeSteps {
  int rows, tokens, heads;
  Sequence raw;  // one number a head, side by side
  const float *bias, *a_log;
  float least, most;
  float *step, *decay;    // (rows, tokens, heads): softplus(raw + bias) inside its limits, and
                          // exp(-exp(a_log) step).  step null: not wanted
  Sequence gate = {};     // as raw
  float* open = nullptr;  // (rows, tokens, heads): sigmoid(gate).  null: not wanted
};
void time_steps(const TimeSteps& t);

/// y = s q + skip v, after s = decay s + w k^T, where w is write v, and under the delta rule
/// write (v - s k).  Key heads serve heads / key_heads heads each.
struct Recurrence {
  int rows, tokens, heads, key_heads, n, p;
  bool delta = false;
  Sequence q, k, v;               // size n of key_heads, n, and p of heads
  bool unit = false;              // q and k are brought to length one before
  float q_scale = 1;              // with unit only: and q to this one
  const float *decay, *write;     // (rows, tokens, heads)
  const float* skip = nullptr;    // (heads)
  const int* lengths = nullptr;   // (rows): valid tokens; null: all
  const float* before = nullptr;  // (rows, heads, p, n); null: zeros
  float* after;                   // likewise, may be `before`
  float* y;                       // (rows, tokens, heads, p); 0 for padding
  bool stepwise = false;          // no chunks: see recurrence()
};
/// Few tokens go one by one; many in chunks, as products of matrices, which rounds otherwise in the
/// last bits: there a row's numbers depend on how its tokens were cut into passes.  With
/// machine().deterministic, or `stepwise`, they do not.
void recurrence(const Recurrence& r);

/// Depthwise: y = after act(bias + sum over i of weight[i] (x * before)[t - (kernel - 1) + i]).
struct CausalConv {
  int rows, tokens, channels, kernel;
  Sequence x, before, after;  // one head; before and after null: ones
  Stored weight, bias;        // (channels, kernel), (channels); bias may be none
  bool silu = false;
  const int* lengths = nullptr;  // (rows): valid tokens; null: all
  const float* old = nullptr;    // (rows, kernel - 1, channels): the last inputs; null: zeros
  float* next;                   // likewise, may be `old`
  float* y;                      // (rows, tokens, channels)
};
void causal_conv(const CausalConv& c);

/// x / rms(x) * weight * silu(gate) over each of `groups` parts, or the norm of x * silu(gate).
struct GatedNorm {
  int rows, groups, size;
  const float* x;     // (rows, groups, size)
  const float* gate;  // rows of gate_row
  long gate_row;
  Stored weight;  // repeats after `period` numbers; none: no norm
  int period;
  float eps;
  bool gate_first = false;
  float* y;  // (rows, groups, size)
};
void gated_norm(const GatedNorm& g);

}  // namespace mlxcpp::cpu
