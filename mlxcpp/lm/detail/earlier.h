// What a batch's rows get from, and give to, the store of earlier prompts.
#pragma once

#include "mlxcpp/lm/prompt_cache.h"
#include "mlxcpp/lm/step.h"

#include <memory>
#include <span>
#include <string>

namespace mlxcpp::lm::detail {

class Earlier {
 public:
  /// `store` null: nothing is found and nothing is kept.
  Earlier(const LanguageModel& model, std::shared_ptr<PromptCache> store, std::string name)
      : model_(model), store_(std::move(store)), name_(std::move(name)) {}

  bool there() const { return store_ != nullptr; }
  /// Fills an empty cache with what there is of a prompt, under an adapter.
  void find(CachedPrompt& cache, int adapter, std::span<const TokenId> prompt) const;
  /// Keeps a fork.  What fails is logged: the row is well without it.
  void keep(const CachedPrompt& cache, int adapter, PromptKind kind) const;
  /// Keeps the caches of a row that has ended.
  void take(CachedPrompt& cache, int adapter, PromptKind kind) const;
  /// Entries go until they take at most so many bytes.
  void give_way(std::uint64_t bytes) const;

 private:
  void insert(const CachedPrompt& cache, Caches caches, int adapter, PromptKind kind) const;
  std::string name_of(const CacheOptions& options, int adapter) const;

  const LanguageModel& model_;
  std::shared_ptr<PromptCache> store_;
  std::string name_;
};

}  // namespace mlxcpp::lm::detail
