// Attention of decoders whose last layers have no keys of their own: they read those of an earlier
// layer.
#pragma once

#include "mlxcpp/nn/blocks.h"

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::nn {

/// Which layers have keys, as the config says it.
struct KeySharing {
  int num_kv_shared_layers = 0;  // the last ones
  int owners = 0;                // the others; set by fields()
  std::string where = "";        // for messages

  void fields(io::Fields& f, int layers);
  bool reads(int layer) const { return layer >= owners; }  ///< the keys of another
  /// The layer whose keys this one reads: itself, or the last of its kind that has keys.  Throws
  /// ConfigError when there is none.
  int owner(int layer, const std::function<bool(int)>& slides) const;
};

/// What the layers of one pass have appended so far, for later ones to read.
using KvViews = std::vector<std::optional<ops::KvView>>;

struct KeySource {
  int layer, owner;
  bool as_values = false;  // values are the keys, before norm and rope
};

/// Norms over the heads of queries, keys and (without a weight) values.
class SharingAttention {
 public:
  /// shape.qk_norm must be given.
  SharingAttention(Scope s, const AttentionShape& shape, ops::Rope rope, const KeySource& source);

  /// x: (B, L, D) -> (B, L, D).  `views` has a place for each layer.
  array operator()(const array& x, const ops::Layer& layer, KvViews& views) const;
  ops::LayerLayout layout() const;

 private:
  struct Keys {
    ops::Weight k, v;  // null: the keys are the values
    ops::Norm norm;
  };
  ops::KvView append(const array& x, const ops::Layer& layer) const;

  ops::Weight q_, o_;
  ops::Norm q_norm_;
  std::optional<Keys> keys_;  // absent: those of another layer
  KeySource source_;
  int head_dim_;
  ops::Rope rope_;
  ops::AttentionArgs args_;
};

/// Checkpoints may hold keys for layers that read those of another.
void drop_keys(WeightMap& w, const Scope& attention);

}  // namespace mlxcpp::nn
