// Attention over a view of keys.  Who sees whom is derived here: models and blocks pass no masks.
#pragma once

#include "mlxcpp/ops/kv.h"
#include "mlxcpp/ops/linear.h"

namespace mlxcpp::ops {

struct AttentionArgs {
  float scale = 1;
  int window = 0;              // > 0: only the last `window` tokens, the query's own included
  int chunk = 0;               // > 0: only tokens of the same chunk
  bool causal = true;          // false: all valid tokens of the row
  float softcap = 0;           // > 0: scores become softcap * tanh(score / softcap)
  std::optional<Param> sinks;  // (H,) logits that take part in the softmax only
};

/// q: (B, H, L, dk) -> (B, H, L, dv), dtype of q.  Softmax in float32.
array attention(const array& q, const KvView& kv, const AttentionArgs& args);

array split_heads(const array& x, int head_dim);  ///< (B, L, H*d) -> (B, H, L, d), whatever H is
array merge_heads(const array& x);                ///< (B, H, L, d) -> (B, L, H*d)

}  // namespace mlxcpp::ops
