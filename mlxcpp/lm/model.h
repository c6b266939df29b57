// The interface of every decoder.
#pragma once

#include "mlxcpp/io/fields.h"
#include "mlxcpp/lm/caches.h"
#include "mlxcpp/lm/loaded_model.h"
#include "mlxcpp/nn/blocks.h"

#include <memory>

namespace mlxcpp::lm {

class LanguageModel;

/// What a model file gives: reads its own config, sanitizes the weights, takes what it needs.
using MakeModelFunction = std::unique_ptr<LanguageModel>(io::Fields config, nn::WeightMap& weights);
using MakeModel = MakeModelFunction*;

/// Const and without hidden state: what a pass changes is in Caches.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;

  /// (B, L) tokens -> (B, L, D), of which Input::needed asks for some.  Opens the pass: the caches'
  /// counts advance now, not when the result is evaluated.  Throws InputError when `in` does not
  /// fit itself or the caches.
  array hidden(const Input& in, Caches& caches) const;
  virtual array logits(const array& hidden) const = 0;  ///< (..., D) -> (..., V)
  virtual CacheLayout layout() const = 0;               ///< what each layer keeps; never how
  virtual int vocab_size() const = 0;                   ///< ids must be below it
  /// The head that guesses the token after the next, where it was asked for; else null.  A model
  /// itself: Input::tokens are those that follow, Input::embeddings the states that hidden() gave
  /// before them.  Its own hidden() may take their place, to guess further.
  virtual std::shared_ptr<const LanguageModel> mtp() const { return nullptr; }
  Caches make_caches(const CacheOptions& options = {}) const { return {layout(), options}; }

  /// Every parameter and projection that the model was bound from, by path.
  const nn::Manifest& manifest() const { return manifest_; }
  std::uint64_t nbytes() const;  ///< of all parameters
  /// Of the config that the model was bound with: caches of models that differ do not fit.
  std::uint64_t fingerprint() const { return fingerprint_; }
  /// What adapters of a projection refer to: the row -> adapter map of the running pass.
  std::shared_ptr<const std::optional<array>> adapter_rows() const;
  /// How many adapters the projections have, and which one rows have that an input gives none.
  struct AdapterUse {
    int count = 0, chosen = 0;
    std::optional<array> rows = {};  // of the running pass
  };
  /// Shared as the projections are: who sets adapters there says so here (adapters.h).
  AdapterUse& adapter_use() const { return *adapter_use_; }
  /// The adapters of the rows that are computed next, as Input::adapters: hidden() does it; for
  /// whoever wants logits() of some of its rows only.
  void use_adapters(const std::vector<int>& rows) const;

 private:
  friend std::unique_ptr<LanguageModel> bind(const LoadedModel& loaded, MakeModel make);
  virtual array run(const Input& in, const ops::Pass& pass) const = 0;

  nn::Manifest manifest_;
  std::shared_ptr<AdapterUse> adapter_use_ = std::make_shared<AdapterUse>();
  std::uint64_t fingerprint_ = 0;
};

/// Runs `make` on a private copy of the loaded handles, so that a failure changes nothing.  Throws
/// WeightError when tensors are left over, UnsupportedError where heads for further tokens were
/// asked for and the model has none; logs config keys that nobody read.
std::unique_ptr<LanguageModel> bind(const LoadedModel& loaded, MakeModel make);

/// What most models begin with: the embeddings given, or looked up.
array embed(const Input& in, const nn::Embedding& table);

}  // namespace mlxcpp::lm
