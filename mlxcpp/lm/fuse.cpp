#include "mlxcpp/lm/fuse.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json_edit.h"
#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/lm/adapters.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/lm/save.h"
#include "mlxcpp/nn/checkpoint.h"
#include "mlxcpp/nn/foreign.h"
#include "mlxcpp/ops/basic.h"
#include "mlxcpp/text/tokenizer.h"

#include <mlx/ops.h>

#include <algorithm>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

namespace mlxcpp::lm {
namespace {

namespace fs = std::filesystem;
using Tensors = std::map<std::string, array>;

/// A change of rows of one tensor of the checkpoint.
struct Piece {
  int row;  // the first
  LowRank change;
};
using Changes = std::map<std::string, std::vector<Piece>>;  // by the tensor's name

constexpr std::string_view kLeaf = ".weight";

std::string module_of(const std::string& tensor) {
  return tensor.ends_with(kLeaf) ? tensor.substr(0, tensor.size() - kLeaf.size()) : tensor;
}

LoadedModel read_checkpoint(const fs::path& folder, const ModelTypeRegistry& registry) {
  std::error_code ignored;
  if (!fs::exists(folder / "config.json", ignored)) {
    bool gguf = folder.extension() == ".gguf" || fs::is_directory(folder, ignored);
    if (!gguf) throw IoError(describe(folder.string(), "no such model folder"));
    throw UnsupportedError(describe(
        folder.string(), "not a checkpoint that can be fused", "config.json and safetensors"));
  }
  auto config = load_config(folder.string());
  registry.require(config.config.model_type);
  auto fields = io::Fields::parse(config.json);
  if (nn::Foreign::read(fields))
    throw UnsupportedError(describe(folder.string(),
                                    "weights that another program packed can not be fused",
                                    "numbers, or weights that MLX packed"));
  auto files = io::find_weight_files(folder);
  using Kind = io::WeightFiles::Kind;
  if (files.kind == Kind::gguf)
    throw UnsupportedError(
        describe(files.paths.at(0).string(), "GGUF files can not be fused", "safetensors"));
  return {.config = config.config,
          .config_json = config.json,
          .weights = files.kind == Kind::npz ? nn::load_npz(files.paths.at(0))
                                             : nn::load_safetensors(files),
          .quantization = nn::Quantization::read(fields)};
}

/// Which tensors of the checkpoint the changes of a model's weights are changes of.
Changes changes_of(const std::vector<AdaptedWeight>& adapted,
                   const LanguageModel& model,
                   const Tensors& tensors) {
  Changes changes;
  auto put = [&](const AdaptedWeight& w, const std::string& tensor, Piece piece) {
    if (!tensors.count(tensor))
      throw UnsupportedError(describe(w.path,
                                      "is stored in a form that can not be fused",
                                      "a tensor of that name, or rows or entries of one",
                                      tensor));
    changes[tensor].push_back(std::move(piece));
  };
  for (auto& w : adapted) {
    if (!w.weight) {
      if (!w.path.empty()) put(w, w.path, {0, w.change});
      continue;
    }
    auto origins = model.manifest().origins.find(w.path);
    if (origins == model.manifest().origins.end()) {
      put(w, w.path + std::string(kLeaf), {0, w.change});
      continue;
    }
    for (auto& origin : origins->second) {
      LowRank change = w.change;
      if (origin.expert >= 0) {
        change.a = mx::take(change.a, array(origin.expert), 0);
        change.b = mx::take(change.b, array(origin.expert), 0);
      }
      put(w, origin.tensor, {origin.row, std::move(change)});
    }
  }
  for (auto& [tensor, pieces] : changes) std::ranges::sort(pieces, {}, &Piece::row);
  return changes;
}

/// A weight of the checkpoint with what belongs to it, taken out of `tensors`.
ops::WeightData take(Tensors& tensors,
                     const std::string& tensor,
                     const nn::Quantization& quantization,
                     std::optional<int> inputs) {
  std::string module = module_of(tensor);
  auto slot = [&](const char* leaf) -> std::optional<ops::Param> {
    auto node = tensors.extract(module + leaf);
    if (!node) return {};
    return std::make_shared<array>(std::move(node.mapped()));
  };
  ops::WeightData w;
  auto value = tensors.extract(tensor);
  w.value = std::make_shared<array>(std::move(value.mapped()));
  if (!tensor.ends_with(kLeaf)) return w;
  w.scales = slot(".scales");
  if (!w.scales) return w;
  w.zeros = slot(".biases");
  w.global_scale = slot(".global_scale");
  int columns = w.value->shape(-1), groups = (*w.scales)->shape(-1);
  auto quant = quantization.of(module,
                               {.inputs = inputs.value_or(0),
                                .columns = columns,
                                .groups = groups,
                                .affine = w.zeros.has_value()});
  if (!quant)
    throw WeightError(
        describe(module + ".scales", "packed weight without an entry in config.quantization"));
  w.quant = *quant;
  // Without the model's own word for the inputs: groups times their size.
  if (!inputs &&
      std::int64_t(columns) * 32 != std::int64_t(groups) * quant->group_size * quant->bits)
    w.quant = *quantization.of(module,
                               {.inputs = groups * quant->group_size,
                                .columns = columns,
                                .groups = groups,
                                .affine = w.zeros.has_value()});
  return w;
}

/// The numbers with the change, in their dtype.
array changed(const std::string& tensor, const array& numbers, const std::vector<Piece>& pieces) {
  int axis = int(numbers.ndim()) - 2, at = 0;
  std::vector<array> parts;
  auto rows = [&](int from, int to) { return ops::take_columns(numbers, from, to, axis); };
  for (auto& [row, change] : pieces) {
    mx::Shape product = numbers.shape();
    product[size_t(axis)] = change.b.shape(-2);
    if (row + product[size_t(axis)] > numbers.shape(axis) || change.a.ndim() != numbers.ndim() ||
        change.a.shape(-1) != product.back())
      throw WeightError(
          describe(tensor,
                   "factors for a weight of another shape",
                   nn::to_string(numbers.shape()),
                   nn::to_string(change.b.shape()) + " times " + nn::to_string(change.a.shape())));
    if (row > at) parts.push_back(rows(at, row));
    at = row + change.b.shape(-2);
    array delta = mx::astype(mx::matmul(change.b, change.a), numbers.dtype());
    array sum = mx::add(rows(row, at), delta);
    if (change.magnitude) {
      array wide = mx::astype(sum, mx::float32);
      array norms = mx::sqrt(mx::sum(mx::square(wide), 1));
      sum = mx::astype(mx::multiply(wide, mx::expand_dims(mx::divide(*change.magnitude, norms), 1)),
                       numbers.dtype());
    }
    parts.push_back(sum);
  }
  if (at < numbers.shape(axis)) parts.push_back(rows(at, numbers.shape(axis)));
  return parts.size() == 1 ? parts[0] : mx::concatenate(parts, axis);
}

void put_packed(Tensors& out,
                const std::string& module,
                const array& numbers,
                const ops::Quant& q) {
  auto parts = mx::quantize(numbers, q.group_size, q.bits, ops::mode_of(q.format));
  const char* leaves[] = {".weight", ".scales", ".biases"};
  for (size_t i = 0; i < parts.size(); ++i) out.insert_or_assign(module + leaves[i], parts[i]);
}

/// Puts what is taken out of `in` into `out`, changed.
class Fuser {
 public:
  Fuser(Tensors in, const nn::Quantization& quantization, bool dequantize)
      : in_(std::move(in)), quantization_(quantization), dequantize_(dequantize) {}

  void fuse(const Changes& changes) {
    for (auto& [tensor, pieces] : changes) {
      auto w = take(in_, tensor, quantization_, pieces[0].change.a.shape(-1));
      bool packs = !w.dense() && !dequantize_;
      if (packs && w.global_scale)
        throw UnsupportedError(describe(module_of(tensor),
                                        "nvfp4 with a global scale can not be packed anew",
                                        {},
                                        {},
                                        "--dequantize"));
      array numbers = changed(tensor, ops::dequantised(w), pieces);
      parameters_ += numbers.size();
      if (packs)
        put_packed(out_, module_of(tensor), numbers, w.quant);
      else
        out_.insert_or_assign(tensor, mx::astype(numbers, w.dtype()));
    }
  }

  Tensors rest() {
    while (!in_.empty()) {
      std::string name = next();
      bool packed = name.ends_with(kLeaf) && in_.count(module_of(name) + ".scales");
      if (!packed) {
        auto node = in_.extract(name);
        parameters_ += node.mapped().size();
        out_.insert(std::move(node));
        continue;
      }
      keep_packed(name);
    }
    return std::move(out_);
  }
  std::uint64_t parameters() const { return parameters_; }

 private:
  /// A weight before its scales: by its name it would come after them.
  std::string next() const {
    std::string name = in_.begin()->first;
    for (std::string_view leaf : {".biases", ".scales", ".global_scale"})
      if (name.ends_with(leaf)) {
        std::string weight = name.substr(0, name.size() - leaf.size()) + std::string(kLeaf);
        if (in_.count(weight) && in_.count(name.substr(0, name.size() - leaf.size()) + ".scales"))
          return weight;
      }
    return name;
  }

  void keep_packed(const std::string& name) {
    std::string module = module_of(name);
    auto w = take(in_, name, quantization_, {});
    parameters_ += w.value->size() * 32 / std::uint64_t(w.quant.bits);
    if (dequantize_) {
      out_.insert_or_assign(name, mx::astype(ops::dequantised(w), w.dtype()));
      return;
    }
    out_.insert_or_assign(name, *w.value);
    out_.insert_or_assign(module + ".scales", **w.scales);
    if (w.zeros) out_.insert_or_assign(module + ".biases", **w.zeros);
    if (w.global_scale) out_.insert_or_assign(module + ".global_scale", **w.global_scale);
  }

  Tensors in_, out_;
  const nn::Quantization& quantization_;
  bool dequantize_;
  std::uint64_t parameters_ = 0;
};

std::string without_quantization(const std::string& config_json) {
  io::JsonEdit config(config_json);
  config.remove("quantization");
  config.remove("quantization_config");
  return config.text();
}

/// The result must load before it takes its name.
void check_result(const ModelTypeRegistry& registry,
                  const CheckpointParts& parts,
                  const BaseConfig& config) {
  registry.create({.config = config,
                   .config_json = parts.config_json,
                   .weights = parts.weights,
                   .quantization = nn::Quantization::read(io::Fields::parse(parts.config_json))});
}

}  // namespace

Fused fuse(const fs::path& model_folder,
           const fs::path& adapter_folder,
           const fs::path& save_path,
           const ModelTypeRegistry& registry,
           const FuseOptions& options) {
  auto loaded = read_checkpoint(model_folder, registry);
  text::Tokenizer::from_directory(model_folder.string());  // a folder without one is no model
  auto adapter = Adapter::read(adapter_folder);
  Changes changes;
  {
    auto model = registry.create(loaded);
    changes = changes_of(resolve(adapter, *model), *model, loaded.weights);
  }
  Fuser fuser(std::move(loaded.weights), loaded.quantization, options.dequantize);
  fuser.fuse(changes);
  CheckpointParts parts{.weights = fuser.rest(),
                        .parameters = fuser.parameters(),
                        .config_json = options.dequantize ? without_quantization(loaded.config_json)
                                                          : loaded.config_json,
                        .source = model_folder};
  check_result(registry, parts, loaded.config);
  Fused result{.tensors = {}, .bytes = 0, .parameters = parts.parameters};
  for (auto& [tensor, pieces] : changes) result.tensors.push_back(tensor);
  for (auto& [name, value] : parts.weights) result.bytes += value.nbytes();
  changes.clear();
  save_checkpoint(save_path, std::move(parts), options.save);
  return result;
}

}  // namespace mlxcpp::lm
