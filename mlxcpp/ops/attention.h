// Attention over a view of keys.  Who sees whom is derived here: models and blocks pass no masks.
#pragma once

#include "mlxcpp/ops/kv.h"
#include "mlxcpp/ops/linear.h"

#include <optional>
#include <vector>

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

/// Multi-head latent attention, over a view of k = latent (B, 1, S, r), v = rotated part of the key
/// (B, 1, S, p).  up_k: (H, r, n), up_v: (H, dv, r).
struct LatentArgs {
  Weight up_k, up_v;
  float scale;
};
/// For each part of a view: (rows, 1, L, S) bool, or nothing where all keys are chosen.
using ChosenKeys = std::vector<std::optional<array>>;

/// q_nope: (B, H, L, n), q_rope: (B, H, L, p) -> (B, H, L, dv).  Absorbed or expanded is chosen
/// here.  `chosen`: keys that an indexer left; empty: all.
array latent_attention(const array& q_nope,
                       const array& q_rope,
                       const KvView& kv,
                       const LatentArgs& args,
                       const ChosenKeys& chosen = {});

/// Keys that an indexer leaves to each query: the k of those that it may see which score best, and
/// all that score as much as the last of them.  A score is the sum over heads of weight times
/// max(q . key, 0).  q: (B, H, L, d), weights: (B, L, H), keys: a view of k (B, 1, S, d).  All are
/// chosen where there are no more than k keys.  Gradients stop.
ChosenKeys best_keys(const array& q, const array& weights, const KvView& keys, int k);

array split_heads(const array& x, int head_dim);  ///< (B, L, H*d) -> (B, H, L, d), whatever H is
array merge_heads(const array& x);                ///< (B, H, L, d) -> (B, L, H*d)

}  // namespace mlxcpp::ops
