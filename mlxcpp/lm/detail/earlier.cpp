#include "mlxcpp/lm/detail/earlier.h"

#include "mlxcpp/base/log.h"

#include <exception>
#include <limits>
#include <utility>

namespace mlxcpp::lm::detail {

/// Caches fit each other under this name.
std::string Earlier::name_of(const CacheOptions& o, int adapter) const {
  std::string name = name_;
  for (int n : {adapter,
                int(o.rotate),
                o.max_kv_size,
                o.keep,
                o.quant.k_bits,
                o.quant.v_bits,
                o.quant.group_size,
                o.quant.start})
    name += "/" + std::to_string(n);
  return name;
}

void Earlier::find(CachedPrompt& cache, int adapter, std::span<const TokenId> prompt) const {
  if (!store_) return;
  auto hit = store_->lookup(
      name_of(cache.options, adapter), prompt, [&] { return model_.make_caches(cache.options); });
  if (!hit) return;
  cache.caches = std::move(hit->caches);
  cache.ids.assign(prompt.begin(), prompt.begin() + hit->tokens);
}

void Earlier::keep(const CachedPrompt& cache, int adapter, PromptKind kind) const {
  if (store_) insert(cache, cache.caches.fork(), adapter, kind);
}

void Earlier::take(CachedPrompt& cache, int adapter, PromptKind kind) const {
  if (store_) insert(cache, std::move(cache.caches), adapter, kind);
}

void Earlier::insert(const CachedPrompt& cache, Caches caches, int adapter, PromptKind kind) const {
  if (cache.ids.empty()) return;
  try {
    store_->insert(name_of(cache.options, adapter), cache.ids, std::move(caches), kind);
  } catch (const std::exception& e) {
    log(LogLevel::warning, std::string("an answer's cache was not kept: ") + e.what());
  }
}

void Earlier::give_way(std::uint64_t bytes) const {
  if (store_) store_->shrink(std::numeric_limits<std::size_t>::max(), bytes);
}

}  // namespace mlxcpp::lm::detail
