// All tensors of a checkpoint by name, and the scope in which modules bind them.
#pragma once

#include "mlxcpp/io/fields.h"
#include "mlxcpp/ops/linear.h"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mlxcpp::nn {

/// The extents of a packed weight, as the file has them.
struct PackedShape {
  int inputs;   // that the model wants
  int columns;  // uint32 in a row
  int groups;   // scales in a row
  bool affine;  // whether it has biases
};

/// How packed weights of a checkpoint are to be read: config.json's `quantization`.
struct Quantization {
  std::optional<ops::Quant> all;                                // of every packed weight ...
  std::map<std::string, std::optional<ops::Quant>> exceptions;  // ... but these; nothing: dense
  std::set<std::string> zero_biases;  // tensors of zeros, which a model may have no place for

  /// Reads `quantization`, else `quantization_config` where that is MLX's.  Keys that are paths
  /// hold an object, true (as the others) or false (dense).  Throws ConfigError, UnsupportedError
  /// for another quantisation method.
  static Quantization read(const io::Fields& config);
  /// The entry for this path; without one, what the shapes say, as mlx-lm has it (a checkpoint may
  /// mix widths without naming them); where they say nothing, `all`.
  std::optional<ops::Quant> of(const std::string& path, const PackedShape& shape) const;
  /// How the tensor of this name is stored where it is a GGUF file's blocks; else nothing.
  std::optional<ops::Format> blocks_of(const std::string& tensor) const;
};

/// What a tensor was in the checkpoint, where names were changed, rows split or experts stacked.
struct Origin {
  std::string tensor;
  int row = 0;      // of the checkpoint's: where the first one is
  int expert = -1;  // the entry of the stack that it became; -1: it is all of it
};

/// What binding recorded: every parameter and projection by path.  Training, adapters, quantising
/// and sharding work on these slots and never touch a model.
struct Manifest {
  std::map<std::string, ops::Param> params;
  std::map<std::string, ops::Weight> linears;
  std::set<std::string> tables;  // those of linears that embed
  /// Of a projection's weight, by the path of the projection, if not its own name.
  std::map<std::string, std::vector<Origin>> origins;
  /// Tensors that checkpoints may have and no layer uses: the name there, empty if it is not there,
  /// by the one that it would have had here.
  std::map<std::string, std::string> unused;
  /// Whose adapters alone ("mlx-lm", "PEFT") fit the numbers of this checkpoint, where mlx-lm's
  /// conversion multiplies weights; empty: both.
  std::string adapters_of;
};

/// Modules take from it; what is left over is an error.  A model's sanitizing is these verbs
/// (sanitize.cpp), all lazy.  A suffix is the end of a name; a part is a whole piece of it between
/// dots.  Throws WeightError naming the tensor where extents do not fit, and where numbers were to
/// be changed that are GGUF's blocks: only their rows can be moved.
struct WeightMap {
  std::map<std::string, array> arrays;
  Quantization quantization;
  Manifest manifest;
  std::map<std::string, std::vector<Origin>> origins = {};  // of tensors that verbs moved
  bool mtp = false;  // heads for further tokens (multi-token prediction) are wanted

  bool has(const std::string& name) const { return arrays.count(name) > 0; }
  void drop_containing(std::string_view part);
  void drop_prefix(std::string_view prefix);
  void drop_unused(std::string_view module);  ///< "a.k_proj."; the manifest remembers it
  /// Layers beyond the last one, as multi-token prediction has them: drop_layers("model.layers",
  /// n).
  void drop_layers(std::string_view list, int from);
  /// Names, and the paths of quantization.exceptions.
  void rename_prefix(std::string_view from, std::string_view to);
  void rename_part(std::string_view from, std::string_view to);
  /// Norms that are stored as a distance from one.
  void add_one(std::string_view suffix);
  void scale(std::string_view suffix, const array& by);
  /// (C, 1, k) as torch has it -> (C, k, 1), where it is not so already.
  void transpose_conv(std::string_view suffix);
  /// A fused projection, with its bias, scales and biases, into projections of so many outputs.
  void split_rows(std::string_view part, const std::vector<std::pair<std::string, int>>& into);
  /// `x.from.<e>.rest` of experts 0 ... count - 1 -> `x.to.rest`, stacked.
  void stack_experts(std::string_view from, std::string_view to, int count);
  /// Throws WeightError naming what no module took.
  void expect_empty() const;

 private:
  template <class NewName>
  void rename(NewName new_name);
  std::vector<Origin> origins_of(const std::string& tensor) const;
};

/// A place in the tree of names: w / "layers" / 3 / "mlp".
class Scope {
 public:
  explicit Scope(WeightMap& map, std::string path = "") : map_(&map), path_(std::move(path)) {}
  Scope operator/(std::string_view child) const;
  Scope operator/(int index) const { return *this / std::to_string(index); }
  const std::string& path() const { return path_; }
  bool has(std::string_view leaf) const { return map_->has((*this / leaf).path_); }

  /// Moves a tensor out of the map; blocks become numbers.  Throws WeightError when it is missing
  /// or has another shape.
  ops::Param take(std::string_view leaf, const mx::Shape& shape) const;
  /// A projection or table of shape (..., out, in): dense, in blocks, or packed when `scales` is
  /// there.
  ops::Weight take_linear(const mx::Shape& shape, bool bias = false) const;
  /// Likewise a table (rows, size) that embeds.
  ops::Weight take_table(const mx::Shape& shape) const;

 private:
  array extract(std::string_view leaf, const mx::Shape& shape) const;
  void take_packed(ops::WeightData& w, const mx::Shape& shape) const;
  ops::WeightData take_blocks(ops::Format format, const mx::Shape& shape) const;

  WeightMap* map_;
  std::string path_;
};

/// "(64, 128)".
std::string to_string(const mx::Shape& shape);

}  // namespace mlxcpp::nn
