#include "mlxcpp/nn/key_indexer.h"

#include "mlxcpp/io/checks.h"

#include <mlx/ops.h>

#include <climits>
#include <utility>

namespace mlxcpp::nn {
namespace {

constexpr float kEps = 1e-6f;

ops::Rope make_rope(const IndexerShape& c, RopeConfig rope, int dims) {
  rope.rope_traditional = c.indexer_rope_interleave;
  return rope.make(dims);
}

}  // namespace

void IndexerShape::fields(io::Fields& f, const LatentShape& latent) {
  f.may("index_n_heads", &index_n_heads)
      .may("index_head_dim", &index_head_dim)
      .may("index_topk", &index_topk)
      .may("indexer_rope_interleave", &indexer_rope_interleave);
  io::require_positive(f.where("index_n_heads"), index_n_heads);
  io::require_positive(f.where("index_topk"), index_topk);
  io::require_in_range(f.where("index_head_dim"), index_head_dim, latent.qk_rope_head_dim, INT_MAX);
  io::require_product(f.where("index_head_dim"), index_n_heads, index_head_dim);
}

KeyIndexer::KeyIndexer(Scope s, const IndexerShape& c, const LatentShape& latent)
    : q(s / "wq_b", latent.q_lora_rank.value_or(latent.dim), c.index_n_heads * c.index_head_dim),
      k(s / "wk", latent.dim, c.index_head_dim),
      weights(s / "weights_proj", latent.dim, c.index_n_heads),
      norm_weight((s / "k_norm").take("weight", {c.index_head_dim})),
      norm_bias((s / "k_norm").take("bias", {c.index_head_dim})),
      rope(make_rope(c, latent.rope, latent.qk_rope_head_dim)),
      topk(c.index_topk) {}

ops::ChosenKeys KeyIndexer::operator()(const array& x,
                                       const array& query_source,
                                       const ops::Layer& layer) const {
  array queries = ops::split_heads(q(query_source), k.w->outputs());
  array key = mx::expand_dims(ops::layer_norm(k(x), norm_weight, norm_bias, kEps), 1);
  array turned = ops::rope(key, rope, layer);
  // mlx-lm's cache has values of zeros here: saved ones must have the same shape.
  auto view = ops::kv_append(layer, turned, mx::zeros_like(turned), 1);
  // Upstream divides all scores by the same number, which changes no order.
  return ops::best_keys(ops::rope(queries, rope, layer), weights(x), view, topk);
}

ops::KvLayout KeyIndexer::layout() const {
  return {.heads = 1, .k_dim = k.w->outputs(), .v_dim = k.w->outputs(), .whole = true};
}

}  // namespace mlxcpp::nn
