// Multi-head latent attention: keys and values of all heads are made from one short vector of each
// token, which is all that is kept, beside a rotated part of the key that all heads share.
#pragma once

#include "mlxcpp/nn/blocks.h"
#include "mlxcpp/nn/config.h"

#include <optional>

namespace mlxcpp::nn {

/// Extents by DeepSeek's names.  Every one is positive after fields(); products fit an int.
struct LatentShape {
  int dim, heads;  // the decoder's: set before fields()
  int kv_lora_rank = 512, qk_nope_head_dim = 128, qk_rope_head_dim = 64, v_head_dim = 128;
  std::optional<int> q_lora_rank;  // absent: queries are made from the input directly
  bool bias = false;
  RopeConfig rope{.rope_traditional = true};

  void fields(io::Fields& f);
  int q_head_dim() const { return qk_nope_head_dim + qk_rope_head_dim; }
  /// Of the softmax; yarn's mscale_all_dim stretches it once more.
  float scale() const;
};

struct LatentAttention {
  struct LowRank {
    Linear down;
    RmsNorm norm;
  };
  std::optional<LowRank> q_low;
  Linear q, kv_down;
  RmsNorm kv_norm;
  ops::LatentArgs up;
  Linear o;
  ops::Rope rope;

  /// Takes embed_q and unembed_out; split_kv_b makes them of a raw checkpoint.
  LatentAttention(Scope s, const LatentShape& shape);

  /// What queries are made from: (B, L, q_lora_rank), or x where there is no low rank.
  array query_source(const array& x) const;
  /// `chosen`: keys that an indexer left.
  array attend(const array& x,
               const array& query_source,
               const ops::Layer& layer,
               const ops::ChosenKeys& chosen = {}) const;
  array operator()(const array& x, const ops::Layer& layer) const {
    return attend(x, query_source(x), layer);
  }
  ops::LayerLayout layout() const;
};

/// Hugging Face keeps both matrices of a head, from the latent to its keys and to its values, in
/// kv_b_proj: (H * (nope + v), rank), perhaps packed.  Here they are embed_q (H, rank, nope) and
/// unembed_out (H, v, rank), as mlx-lm converts them; a packed one is made dense.
void split_kv_b(WeightMap& w, const Scope& attention, const LatentShape& shape);

}  // namespace mlxcpp::nn
