// DeepSeek's indexer: a small attention without values, which leaves to each query of the large one
// only some keys.
#pragma once

#include "mlxcpp/nn/latent_attention.h"

#include <optional>

namespace mlxcpp::nn {

struct IndexerShape {
  int index_n_heads = 64, index_head_dim = 128, index_topk = 2048;
  bool indexer_rope_interleave = false;

  /// `latent`: of the attention beside it, read before.
  void fields(io::Fields& f, const LatentShape& latent);
};

struct KeyIndexer {
  Linear q, k, weights;
  ops::Param norm_weight, norm_bias;
  ops::Rope rope;  // on the first dims of a head; the others stay as they are
  int topk;

  /// Takes wq_b, wk, k_norm and weights_proj.
  KeyIndexer(Scope s, const IndexerShape& shape, const LatentShape& latent);

  /// Keys of the second store of the layer: (B, 1, L, S) bool, or nothing where all are left.
  /// `query_source`: LatentAttention's.
  ops::ChosenKeys operator()(const array& x,
                             const array& query_source,
                             const ops::Layer& layer) const;
  ops::KvLayout layout() const;
};

}  // namespace mlxcpp::nn
