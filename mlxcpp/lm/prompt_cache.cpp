#include "mlxcpp/lm/prompt_cache.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/log.h"
#include "mlxcpp/lm/detail/token_trie.h"
#include "mlxcpp/lm/prompt_disk.h"

#include <mlx/transforms.h>

#include <algorithm>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

namespace mlxcpp::lm {
namespace {

/// Memory of arrays, by the block that it lies in: arrays that are views or forks of each other
/// have the same one.
using Blocks = std::unordered_map<const void*, std::uint64_t>;

Blocks blocks_of(const Caches& caches) {
  Blocks blocks;
  for (auto& a : caches.stored()) {
    bool there = a.status() == array::Status::available && a.data_shared_ptr();
    const void* key = there ? static_cast<const void*>(a.data_shared_ptr().get())
                            : reinterpret_cast<const void*>(a.id());
    std::uint64_t bytes = there ? std::uint64_t(a.data_size()) * a.itemsize() : a.nbytes();
    auto& n = blocks[key];
    n = std::max(n, bytes);
  }
  return blocks;
}

struct Entry {
  std::string model;
  std::vector<TokenId> ids;
  Caches caches;
  PromptKind kind;
  Blocks blocks;
  std::list<Entry*>::iterator place;  // among those of its kind
};

}  // namespace

struct PromptCache::Impl {
  using Trie = TokenTrie<std::unique_ptr<Entry>>;
  struct Block {
    std::uint64_t bytes = 0;
    std::size_t entries = 0;
  };

  PromptCacheOptions options;
  std::map<std::string, Trie, std::less<>> tries;
  std::list<Entry*> by_use[kPromptKinds];  // the one that was used longest ago first
  std::unordered_map<const void*, Block> blocks;
  std::uint64_t bytes = 0, lookups = 0, hits = 0, hit_tokens = 0, evictions = 0;
  std::shared_ptr<PromptDisk> disk;

  std::list<Entry*>& list_of(PromptKind kind) { return by_use[int(kind)]; }
  std::size_t size() const {
    std::size_t n = 0;
    for (auto& list : by_use) n += list.size();
    return n;
  }

  void count(const Entry& e) {
    for (auto& [key, size] : e.blocks) {
      auto& block = blocks[key];
      ++block.entries;
      if (size <= block.bytes) continue;
      bytes += size - block.bytes;
      block.bytes = size;
    }
  }
  void discount(const Entry& e) {
    for (auto& [key, size] : e.blocks) {
      auto block = blocks.find(key);
      if (--block->second.entries) continue;
      bytes -= block->second.bytes;
      blocks.erase(block);
    }
  }

  void remove(Entry* e) {
    discount(*e);
    list_of(e->kind).erase(e->place);
    auto trie = tries.find(e->model);
    std::vector<TokenId> ids = std::move(e->ids);  // the entry dies with its place in the tree
    trie->second.erase(ids);
    if (trie->second.empty()) tries.erase(trie);
  }

  /// As mlx-lm: answers go first, unless there are fewer of them than of users' turns, and so on.
  Entry* next_to_go() {
    for (int kind = 0; kind + 1 < kPromptKinds; ++kind) {
      auto &list = by_use[kind], &next = by_use[kind + 1];
      if (!list.empty() && list.size() >= next.size()) return list.front();
    }
    return by_use[kPromptKinds - 1].front();
  }

  void shrink(std::size_t entries, std::uint64_t max_bytes) {
    while (size() > entries || (bytes > max_bytes && size())) {
      Entry* e = next_to_go();
      if (disk) spill(*e);
      remove(e);
      ++evictions;
      tighten();
    }
  }

  /// What only those held that are gone.
  void tighten() {
    std::vector<Caches*> all;
    for (auto& list : by_use)
      for (Entry* e : list) all.push_back(&e->caches);
    if (!Caches::tighten(all)) return;
    blocks.clear();
    bytes = 0;
    for (auto& list : by_use)
      for (Entry* e : list) {
        e->blocks = blocks_of(e->caches);
        count(*e);
      }
  }

  /// What the disk can not take is lost, and no reason for a request to fail.
  void spill(const Entry& e) {
    try {
      disk->write(e.model, e.ids, e.caches, e.kind);
    } catch (const Error& error) {
      log(LogLevel::warning, std::string("prompt cache: ") + error.what());
    }
  }

  /// Answers and users' turns that this one begins with: it can be trimmed to any of them.
  void remove_prefixes(Trie& trie, const Entry& e) {
    std::vector<Entry*> needless;
    for (auto& [length, other] : trie.walk(e.ids).prefixes)
      if (length < e.ids.size() &&
          ((*other)->kind != PromptKind::system || e.kind == (*other)->kind))
        needless.push_back(other->get());
    for (Entry* other : needless) remove(other);
  }

  void touch(Entry* e) {
    auto& list = list_of(e->kind);
    list.splice(list.end(), list, e->place);
  }

  struct Found {
    Entry* entry = nullptr;
    std::size_t tokens = 0;
  };
  /// At most `usable` tokens.
  Found find(std::string_view model, std::span<const TokenId> ids, std::size_t usable) {
    auto trie = tries.find(model);
    if (trie == tries.end()) return {};
    auto walk = trie->second.walk(ids);
    Found best;
    auto cut = [&](Entry* e) {  // entries that are longer than what is common, to be trimmed
      std::size_t n = std::min(walk.common, usable);
      bool better =
          n > best.tokens || (n == best.tokens && best.entry && best.entry->ids.size() > n &&
                              e->ids.size() < best.entry->ids.size());
      if (better && e->caches.trimmable()) best = {e, n};
    };
    for (auto& [length, e] : walk.prefixes) {
      if (length <= usable && length > best.tokens) best = {e->get(), length};
      if (length > usable) cut(e->get());
    }
    for (auto* e : walk.beyond) cut(e->get());
    return best;
  }

  Hit counted(Hit hit) {
    ++hits;
    hit_tokens += std::uint64_t(hit.tokens);
    return hit;
  }

  /// What the disk has beyond `known` tokens; it is an entry from now on.
  std::optional<Hit> read(PromptCache& self,
                          std::string_view model,
                          std::span<const TokenId> ids,
                          std::size_t known,
                          const MakeCaches& make) {
    auto saved = disk->read(model, ids, known, make);
    if (!saved) return {};
    Hit hit{saved->caches.fork(), int(saved->common)};
    int surplus = int(saved->ids.size() - saved->common);
    if (surplus) hit.caches.trim({surplus});
    self.insert(model, saved->ids, std::move(saved->caches), saved->kind);
    return counted(std::move(hit));
  }
};

PromptCache::PromptCache(PromptCacheOptions options) : impl_(std::make_unique<Impl>()) {
  impl_->options = options;
}
PromptCache::PromptCache(PromptCache&&) noexcept = default;
PromptCache& PromptCache::operator=(PromptCache&&) noexcept = default;
PromptCache::~PromptCache() = default;

std::optional<PromptCache::Hit> PromptCache::lookup(std::string_view model,
                                                    std::span<const TokenId> ids,
                                                    const MakeCaches& make) {
  auto& self = *impl_;
  ++self.lookups;
  if (ids.size() < 2) return {};
  std::size_t usable = ids.size() - 1;
  auto found = self.find(model, ids, usable);
  if (self.disk && make)
    if (auto hit = self.read(*this, model, ids, found.tokens, make)) return hit;
  if (!found.entry) return {};
  Hit hit{found.entry->caches.fork(), int(found.tokens)};
  int surplus = int(found.entry->ids.size() - found.tokens);
  if (surplus) hit.caches.trim({surplus});
  self.touch(found.entry);
  return self.counted(std::move(hit));
}

bool PromptCache::insert(std::string_view model,
                         std::span<const TokenId> ids,
                         const Caches& caches,
                         PromptKind kind) {
  return insert(model, ids, caches.fork(), kind);
}

bool PromptCache::insert(std::string_view model,
                         std::span<const TokenId> ids,
                         Caches&& caches,
                         PromptKind kind) {
  auto& self = *impl_;
  if (ids.empty() || caches.rows() != 1 || caches.consumed()[0] != int(ids.size()))
    throw InputError(describe("prompt cache",
                              "caches do not hold the tokens given",
                              "one row of " + std::to_string(ids.size()) + " tokens",
                              caches.rows() == 1 ? std::to_string(caches.consumed()[0]) + " tokens"
                                                 : std::to_string(caches.rows()) + " rows"));
  Caches kept = caches.fork();  // apart from states of other rows, once that is evaluated
  caches = Caches();
  mx::eval(kept.arrays());
  Caches::tighten({&kept});
  auto entry = std::make_unique<Entry>(
      Entry{std::string(model), {ids.begin(), ids.end()}, std::move(kept), kind, {}, {}});
  entry->blocks = blocks_of(entry->caches);
  std::uint64_t own = 0;
  for (auto& [key, size] : entry->blocks) own += size;
  if (own > self.options.max_bytes || !self.options.max_entries) return false;

  auto& trie = self.tries[entry->model];
  std::list<Entry*> place = {entry.get()};
  if (auto* old = trie.find(ids)) {
    self.discount(**old);
    self.list_of((*old)->kind).erase((*old)->place);
  }
  Entry* e = trie.put(ids, std::move(entry)).get();
  self.count(*e);
  auto& list = self.list_of(kind);
  list.splice(list.end(), place);
  e->place = std::prev(list.end());
  if (e->caches.trimmable()) self.remove_prefixes(trie, *e);
  self.tighten();
  self.shrink(self.options.max_entries, self.options.max_bytes);
  return true;
}

void PromptCache::shrink(std::size_t entries, std::uint64_t bytes) {
  impl_->shrink(entries, bytes);
}

void PromptCache::erase(std::string_view model) {
  std::vector<Entry*> gone;
  for (auto& list : impl_->by_use)
    for (Entry* e : list)
      if (e->model == model) gone.push_back(e);
  for (Entry* e : gone) impl_->remove(e);
}

void PromptCache::spill_to(std::shared_ptr<PromptDisk> disk) { impl_->disk = std::move(disk); }

void PromptCache::flush() {
  if (!impl_->disk) throw InputError(describe("prompt cache", "no disk to write to"));
  for (auto& list : impl_->by_use)
    for (Entry* e : list) impl_->spill(*e);
}

PromptCache::Stats PromptCache::stats() const {
  Stats s{.bytes = impl_->bytes,
          .lookups = impl_->lookups,
          .hits = impl_->hits,
          .hit_tokens = impl_->hit_tokens,
          .evictions = impl_->evictions};
  for (int kind = 0; kind < kPromptKinds; ++kind) s.entries[kind] = impl_->by_use[kind].size();
  return s;
}
std::size_t PromptCache::size() const { return impl_->size(); }
std::uint64_t PromptCache::nbytes() const { return impl_->bytes; }

}  // namespace mlxcpp::lm
