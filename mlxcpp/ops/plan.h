// What a standard decoder layer is, as data.  nn binds it from a checkpoint; ops computes it: piece
// by piece here, as one primitive where a backend has one.  No model file knows which.
#pragma once

#include "mlxcpp/ops/attention.h"
#include "mlxcpp/ops/basic.h"
#include "mlxcpp/ops/rope.h"

namespace mlxcpp::ops {

namespace detail {
class BoundAttention;
class BoundLayer;
}  // namespace detail

struct Norm {
  Param weight;  // null: no scale
  float eps;
};
struct SelfAttention {
  Weight q, k, v, o;
  int head_dim;  // not the number of heads: a shard has fewer
  Rope rope;
  AttentionArgs args;
  std::optional<Norm> q_norm, k_norm;  // over each head
  /// What our kernels made of it, while its slots hold the same arrays.
  mutable std::shared_ptr<const detail::BoundAttention> bound = {};
};
struct Mlp {
  Weight gate;  // null: down(act(up(x)))
  Weight up, down;
  Glu glu;
};
/// h + post_attn(attn(pre_attn(h))), then the same with mlp; the post norms are optional.
struct LayerPlan {
  Norm pre_attn;
  SelfAttention attn;
  std::optional<Norm> post_attn;
  Norm pre_mlp;
  Mlp mlp;
  std::optional<Norm> post_mlp;
  mutable std::shared_ptr<const detail::BoundLayer> bound = {};  // as SelfAttention's
};

KvLayout layout(const SelfAttention& a);

array norm(const array& x, const Norm& n);

/// x: (B, L, D) -> (B, L, D).  `residual` is added to the result.
array self_attention(const array& x,
                     const SelfAttention& a,
                     const Layer& layer,
                     const std::optional<array>& residual = {});
array mlp(const array& x, const Mlp& m, const std::optional<array>& residual = {});

/// h: (B, L, D) -> (B, L, D).  The last layer of a decoder may leave out what Rows::needed does not
/// ask for.
array layer(const array& h, const LayerPlan& plan, const Layer& layer, bool is_last = false);

/// All layers of a decoder, in order.
array layers(array h, const std::vector<const LayerPlan*>& plans, const Pass& pass);

}  // namespace mlxcpp::ops
