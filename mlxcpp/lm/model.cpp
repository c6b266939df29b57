#include "mlxcpp/lm/model.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/log.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace mlxcpp::lm {
namespace {

/// Keys that are read by others, or that say nothing about a forward pass.
constexpr const char* kReadElsewhere[] = {
    "model_type",
    "architectures",
    "quantization",
    "quantization_config",
    "eos_token_id",
    "bos_token_id",
    "pad_token_id",
    "torch_dtype",
    "dtype",
    "transformers_version",
    "_name_or_path",
    "use_cache",
    "is_decoder",
    "initializer_range",
    "attention_dropout",
    "pretraining_tp",
};

/// FNV-1a.
std::uint64_t hash_of(const std::string& text) {
  std::uint64_t h = 0xcbf29ce484222325u;
  for (unsigned char c : text) h = (h ^ c) * 0x100000001b3u;
  return h;
}

}  // namespace

array LanguageModel::hidden(const Input& in, Caches& caches) const {
  auto before = caches.mark();
  try {
    ops::Pass pass = caches.begin(layout(), in);
    use_adapters(in.adapters.empty()
                     ? std::vector<int>(size_t(in.tokens.shape(0)), adapter_use_->chosen)
                     : in.adapters);
    array h = run(in, pass);
    caches.end(pass);
    return h;
  } catch (...) {
    caches.rollback(*before);
    throw;
  }
}

std::shared_ptr<const std::optional<array>> LanguageModel::adapter_rows() const {
  return {adapter_use_, &adapter_use_->rows};
}

void LanguageModel::use_adapters(const std::vector<int>& rows) const {
  auto& use = *adapter_use_;
  use.rows.reset();
  for (int a : rows)
    if (a < 0 || a > use.count)
      throw InputError(describe("input.adapters",
                                "no such adapter",
                                "0 to " + std::to_string(use.count),
                                std::to_string(a)));
  if (std::ranges::any_of(rows, [](int a) { return a != 0; }))
    use.rows = array(rows.data(), {int(rows.size())}, mx::int32);
}

std::uint64_t LanguageModel::nbytes() const {
  std::uint64_t n = 0;
  for (auto& [path, param] : manifest_.params) n += param->nbytes();
  return n;
}

std::unique_ptr<LanguageModel> bind(const LoadedModel& loaded, MakeModel make) {
  auto config = io::Fields::parse(loaded.config_json);
  for (const char* key : kReadElsewhere) config.ignore(key);
  nn::WeightMap weights{loaded.weights, loaded.quantization, {}};
  weights.mtp = loaded.mtp;
  auto model = make(config, weights);
  weights.expect_empty();
  if (loaded.mtp && !model->mtp())
    throw UnsupportedError(describe("mtp",
                                    "models of this type have no heads for further tokens",
                                    {},
                                    loaded.config.model_type));
  model->manifest_ = std::move(weights.manifest);
  model->fingerprint_ = hash_of(loaded.config_json);
  std::string unread;
  for (auto& key : config.unread()) unread += (unread.empty() ? "" : ", ") + key;
  if (!unread.empty()) log(LogLevel::debug, "config: keys that have no effect: " + unread);
  return model;
}

array embed(const Input& in, const nn::Embedding& table) {
  return in.embeddings ? *in.embeddings : table(in.tokens);
}

}  // namespace mlxcpp::lm
