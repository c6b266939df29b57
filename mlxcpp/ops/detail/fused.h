// Attention, feed-forward network and whole decoder layers as one node each, by our own kernels.
#pragma once

#include "mlxcpp/ops/cpu/attention.h"
#include "mlxcpp/ops/detail/weights.h"
#include "mlxcpp/ops/plan.h"

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace mlxcpp::ops::detail {

/// An RMS norm whose numbers stand still.
struct BoundNorm {
  std::optional<array> weight;  // float32; nothing: no scale
  float eps = 0;

  const float* values() const { return weight ? weight->data<float>() : nullptr; }
};

class BoundAttention {
 public:
  /// Null where kernels have no form for it; kept in `a` until its slots are given other arrays.
  static std::shared_ptr<const BoundAttention> of(const SelfAttention& a);

  int inputs() const { return q_->inputs(); }
  int outputs() const { return o_->outputs(); }

  /// Where the keys of a row go, and what attention sees of them.
  struct Keys {
    void *k, *v;  // (K, columns, size): float32, or float16
    bool half;
    long columns;
    std::vector<cpu::KeyPiece> before;  // columns of other storage
    KvRoom::Sight sight;
  };
  /// Tokens whose outputs are wanted: of row b so many from `first[b]` on, one row's behind the
  /// other's.
  struct Queries {
    std::vector<int> first, count;
    int tokens = 0;

    static Queries all(const Rows& rows);
    static Queries needed(const Rows& rows);
  };
  /// y = o(attention(x)) + residual.  x: (B, L, inputs); x_q: those of the queries, x itself if
  /// that is all; residual null or, as y, (queries, outputs); keys of each row, or none: only the
  /// pass itself is seen.
  void run(const float* x,
           const float* x_q,
           const Queries& queries,
           const float* residual,
           float* y,
           const Rows& rows,
           const std::vector<Keys>& keys) const;

 private:
  static std::shared_ptr<BoundAttention> make(const SelfAttention& a);
  /// Heads of one row's tokens, turned.
  struct Turned {
    float* out;
    long head, token;  // strides
    int first, tokens;
  };
  void turn_row(const float* x, int row, int heads, const Turned& to, const Rows& rows) const;
  void keep_row(float* k, const float* v, int row, const Keys& keys, const Rows& rows) const;
  void fetch_places(const std::vector<Keys>& keys) const;
  cpu::KeyPiece kept(const Keys& keys) const;
  void attend(const float* q,
              const Queries& queries,
              const std::vector<std::vector<cpu::KeyPiece>>& pieces,
              const std::vector<Keys>& keys,
              const Rows& rows,
              float* mixed) const;

  std::shared_ptr<const BoundWeight> q_, k_, v_, o_;
  std::optional<BoundNorm> q_norm_, k_norm_;
  std::optional<array> sinks_;
  std::vector<float> inverse_, long_inverse_;  // frequencies; the second beyond the trained length
  int head_dim_ = 0, v_dim_ = 0, heads_ = 0, kv_heads_ = 0;
  std::optional<Rope> rope_;
  AttentionArgs args_;
  std::vector<std::uintptr_t> made_from_;
};

class BoundMlp {
 public:
  static std::shared_ptr<const BoundMlp> of(const Mlp& m);
  bool operator==(const BoundMlp&) const;

  int inputs() const { return up_->inputs(); }
  int outputs() const { return down_->outputs(); }
  /// y = down(act(gate(x)) * up(x)) + residual, for so many rows.
  void run(const float* x, const float* residual, float* y, int rows) const;

 private:
  std::shared_ptr<const BoundWeight> gate_, up_, down_;
  Glu glu_;
};

class BoundLayer {
 public:
  static std::shared_ptr<const BoundLayer> of(const LayerPlan& p);
  int size() const { return attn_->outputs(); }

  /// h: (B, L, D) -> y.
  void run(const float* h,
           float* y,
           const Rows& rows,
           const std::vector<BoundAttention::Keys>& keys) const;
  /// The same for tokens that Rows::needed asks for; where these are few, the others' y is 0.
  void run_needed(const float* h,
                  float* y,
                  const Rows& rows,
                  const std::vector<BoundAttention::Keys>& keys) const;

 private:
  /// Behind the norm before attention.  x: (B, L, D); h, x_q and y are the queries'.  x_q, which
  /// may be x, is overwritten.
  void run(const float* x,
           float* x_q,
           const float* h,
           const BoundAttention::Queries& queries,
           float* y,
           const Rows& rows,
           const std::vector<BoundAttention::Keys>& keys) const;

  std::shared_ptr<const BoundAttention> attn_;
  std::shared_ptr<const BoundMlp> mlp_;
  BoundNorm pre_attn_, pre_mlp_;
  std::optional<BoundNorm> post_attn_, post_mlp_;
  std::vector<std::uintptr_t> made_from_;  // the norms
};

/// Whether a pass is one that the fused forms know: no positions or spans from outside.
bool plain_pass(const Rows& rows);

/// The nodes; nothing where the composition must be used.
std::optional<array> fused_attention(const array& x,
                                     const SelfAttention& a,
                                     const Layer& layer,
                                     const std::optional<array>& residual);
std::optional<array> fused_mlp(const array& x, const Mlp& m, const std::optional<array>& residual);
std::optional<array> fused_layer(const array& h,
                                 const LayerPlan& plan,
                                 const Layer& layer,
                                 bool is_last);

}  // namespace mlxcpp::ops::detail
