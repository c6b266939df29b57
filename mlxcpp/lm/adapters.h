// Low-rank adapters (LoRA, DoRA) from folders of mlx-lm and PEFT, applied beside the weights of a
// model: several at once, each row of a batch its own.
// Source: mlx-lm tuner/{lora,dora,utils}.py (0.32.2), PEFT 0.21.2.  Differs: docs/deviations.md.
#pragma once

#include "mlxcpp/lm/adapter_config.h"
#include "mlxcpp/lm/model.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace mlxcpp::lm {

/// The factors of one module as its file has them.  mlx-lm: (in, r) and (r, out); of experts
/// (E, r, in) and (E, out, r); of tables (rows, r) and (r, size).  PEFT: (r, in) and (out, r).
struct AdapterFactors {
  array a, b;
  std::optional<array> magnitude;  // (out), of weight-decomposed adapters
};

struct Adapter {
  std::string where;  // the folder, for messages
  AdapterConfig config;
  std::map<std::string, AdapterFactors> factors;  // by path, as the model's modules are named there

  /// adapter_config.json, and adapters.safetensors or adapter_model.safetensors.  Evaluates
  /// nothing.  Throws IoError for missing files, ConfigError, UnsupportedError, and WeightError for
  /// tensors that are not an adapter's, that miss their other half, or have the wrong rank.
  static Adapter read(const std::filesystem::path& folder);
};

/// What an adapter makes of one weight, scale included: W + b a, and rows of it as long as
/// magnitude says.  float32.
struct LowRank {
  array a, b;                      // (r, in), (out, r); of experts (E, r, in), (E, out, r)
  std::optional<array> magnitude;  // (out)
};

/// A part of an adapter's product, and the weight of the model that it belongs to.
struct AdaptedWeight {
  std::string path;    // the model's
  ops::Weight weight;  // null: no layer uses `path`, a tensor of the checkpoint, if it is there
  LowRank change;
};

/// Finds an adapter's modules in a model, by the model's names or those of its checkpoint.
/// Evaluates nothing.  Throws WeightError naming the module: one that the model has not, or that
/// the config does not select; another shape; one that the config selects and that has no factors.
/// UnsupportedError when the checkpoint's numbers are others than those that it was trained with.
std::vector<AdaptedWeight> resolve(const Adapter& adapter, const LanguageModel& model);

/// The adapters of a model.  They stay when the set goes.  On the model's thread.
class AdapterSet {
 public:
  /// Throws InputError when the model has adapters already.
  explicit AdapterSet(std::shared_ptr<const LanguageModel> model);

  /// The number that stands for it in Input::adapters: 1, 2, ...  Evaluates nothing.  Throws as
  /// resolve(), and InputError for a name that is taken; then nothing has changed.
  int add(const std::string& name, const Adapter& adapter);
  std::optional<int> find(const std::string& name) const;
  const std::vector<std::string>& names() const { return names_; }
  /// What rows have whose input names none; 0, as at the start: no adapter.
  void choose(int adapter);
  /// Evaluates all of them: then their files are no longer needed.
  void materialize() const;
  std::uint64_t nbytes() const;

 private:
  using Changes = std::map<std::string, AdaptedWeight>;  // by path
  std::map<std::string, ops::Adapters> stacked(const std::vector<Changes>& all) const;

  std::shared_ptr<const LanguageModel> model_;
  std::vector<std::string> names_;
  std::vector<Changes> changes_;  // of each adapter
};

}  // namespace mlxcpp::lm
