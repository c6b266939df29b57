#include "mlxcpp/lm/prompt_disk.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/log.h"
#include "mlxcpp/base/strings.h"
#include "mlxcpp/lm/detail/token_trie.h"
#include "mlxcpp/lm/prompt_file.h"

#include <mlx/transforms.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <list>
#include <map>
#include <string>
#include <system_error>
#include <utility>

namespace mlxcpp::lm {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kEnding = ".prompt.safetensors";
constexpr std::string_view kKinds[kPromptKinds] = {"assistant", "user", "system"};
constexpr const char *kStore = "mlxcpp_store", *kKind = "mlxcpp_kind", *kTrim = "mlxcpp_trimmable";
constexpr std::uint64_t kHeaderRoom = 64 << 10;  // beside the arrays, and 12 bytes a token

/// FNV-1a over bytes, continued.
std::uint64_t hashed(std::uint64_t h, const void* data, std::size_t n) {
  for (auto *p = static_cast<const unsigned char*>(data), *end = p + n; p < end; ++p)
    h = (h ^ *p) * 0x100000001b3u;
  return h;
}

/// A name is no proof: what a file says is compared with what was asked for.
std::string name_for(std::string_view model, std::span<const TokenId> ids) {
  std::uint64_t parts[] = {0xcbf29ce484222325u, 0x9e3779b97f4a7c15u};
  std::string name;
  for (auto h : parts) {
    std::uint64_t length = model.size();
    h = hashed(h, &length, sizeof length);
    h = hashed(h, model.data(), model.size());
    name += hex(hashed(h, ids.data(), ids.size_bytes()));
  }
  return name + std::string(kEnding);
}

bool is_our_name(std::string_view name) {
  if (name.size() != 32 + kEnding.size() || !name.ends_with(kEnding)) return false;
  return name.substr(0, 32).find_first_not_of("0123456789abcdef") == name.npos;
}

/// The temporary of a process that is gone: ".mlxcpp-<pid>-<n>.tmp", as io::AtomicFile has it.
bool is_left_over(std::string_view name) {
  constexpr std::string_view start = ".mlxcpp-";
  if (!name.starts_with(start) || !name.ends_with(".tmp")) return false;
  int pid = 0;
  auto rest = name.substr(start.size());
  auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), pid);
  return error == std::errc{} && pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH;
}

struct File {
  std::string model;
  std::vector<TokenId> ids;
  PromptKind kind = PromptKind::assistant;
  bool trimmable = false;
  std::string name;
  std::uint64_t bytes = 0;
  std::int64_t used = 0;  // nanoseconds of its last use
  std::list<File*>::iterator place;
};

/// What a file says of itself.  Throws Error when that is not all there.
File described_by(const std::map<std::string, std::string>& metadata) {
  auto need = [&](const char* key) -> const std::string& {
    auto it = metadata.find(key);
    if (it == metadata.end()) throw InputError(describe(key, "missing"));
    return it->second;
  };
  File file;
  file.model = need(kStore);
  auto kind = std::find(std::begin(kKinds), std::end(kKinds), need(kKind));
  if (kind == std::end(kKinds)) throw InputError(describe(kKind, "not known"));
  file.kind = PromptKind(kind - std::begin(kKinds));
  file.trimmable = need(kTrim) == "yes";
  auto info = PromptFileInfo::of(metadata);
  if (!info.ids || info.ids->empty()) throw InputError(describe("tokens", "missing"));
  file.ids = std::move(*info.ids);
  return file;
}

std::int64_t last_use(const fs::path& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return 0;
#ifdef __APPLE__
  auto t = info.st_mtimespec;
#else
  auto t = info.st_mtim;
#endif
  return std::int64_t(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
}

}  // namespace

struct PromptDisk::Impl {
  using Trie = TokenTrie<std::unique_ptr<File>>;
  fs::path folder;
  std::uint64_t max_bytes, bytes = 0;
  std::map<std::string, Trie, std::less<>> tries;
  std::list<File*> by_use;  // the one that was used longest ago first

  void take(std::unique_ptr<File> file) {
    auto& trie = tries[file->model];
    if (auto* old = trie.find(file->ids)) forget(**old);
    auto ids = file->ids;
    File* f = tries[file->model].put(ids, std::move(file)).get();
    f->place = by_use.insert(by_use.end(), f);
    bytes += f->bytes;
  }
  void forget(File& file) {
    bytes -= file.bytes;
    by_use.erase(file.place);
    auto trie = tries.find(file.model);
    auto ids = std::move(file.ids);  // the file dies with its place in the tree
    trie->second.erase(ids);
    if (trie->second.empty()) tries.erase(trie);
  }
  void remove(File& file) {
    std::error_code ignored;
    fs::remove(folder / file.name, ignored);
    forget(file);
  }
  void make_room(std::uint64_t needed) {
    while (!by_use.empty() && bytes + needed > max_bytes) remove(*by_use.front());
  }
  void touch(File& file) {
    ::utimensat(AT_FDCWD, (folder / file.name).c_str(), nullptr, 0);  // for the next process
    by_use.splice(by_use.end(), by_use, file.place);
  }

  void open() {
    bool made = fs::create_directories(folder);
    if (made) fs::permissions(folder, fs::perms::owner_all);
    std::vector<std::unique_ptr<File>> found;
    for (auto& item : fs::directory_iterator(folder)) {
      std::string name = item.path().filename().string();
      std::error_code ignored;
      if (is_left_over(name)) fs::remove(item.path(), ignored);
      if (!is_our_name(name)) continue;
      if (auto file = examined(item.path(), name))
        found.push_back(std::move(file));
      else
        fs::remove(item.path(), ignored);
    }
    std::ranges::sort(found, {}, [](auto& file) { return file->used; });
    for (auto& file : found) take(std::move(file));
    make_room(0);
  }

  /// Null for what is not to be trusted.
  std::unique_ptr<File> examined(const fs::path& path, const std::string& name) {
    try {
      auto file = std::make_unique<File>(described_by(prompt_metadata(path)));
      if (name_for(file->model, file->ids) != name) return nullptr;
      file->name = name;
      file->bytes = fs::file_size(path);
      file->used = last_use(path);
      return file;
    } catch (const std::exception& e) {
      log(LogLevel::debug, std::string("prompt cache: removed: ") + e.what());
      return nullptr;
    }
  }

  struct Found {
    File* file = nullptr;
    std::size_t tokens = 0;
  };
  Found find(std::string_view model, std::span<const TokenId> ids, std::size_t known) {
    auto trie = tries.find(model);
    if (trie == tries.end() || ids.size() < 2) return {};
    auto walk = trie->second.walk(ids);
    std::size_t usable = ids.size() - 1;
    Found best{nullptr, known};
    auto cut = [&](File* f) {
      std::size_t n = std::min(walk.common, usable);
      if (f->trimmable && n > best.tokens) best = {f, n};
    };
    for (auto& [length, f] : walk.prefixes) {
      if (length <= usable && length > best.tokens) best = {f->get(), length};
      if (length > usable) cut(f->get());
    }
    for (auto* f : walk.beyond) cut(f->get());
    return best;
  }

  /// Nothing when the file is gone or not what it was; then it is forgotten.
  std::optional<Saved> load(const Found& found, const PromptCache::MakeCaches& make) {
    File& file = *found.file;
    try {
      auto saved = PromptFile::read(folder / file.name, max_bytes);
      auto says = described_by(saved.metadata);
      if (says.model != file.model || says.ids != file.ids)
        throw InputError(describe(file.name, "says something else than its name"));
      Saved s{file.ids, make(), file.kind, found.tokens};
      auto layers = with_empty_layers(std::move(saved.caches), s.caches.state());
      s.caches.set_state(layers, int(file.ids.size()));
      mx::eval(s.caches.arrays());
      if (s.caches.consumed() != std::vector<int>{int(file.ids.size())})
        throw InputError(describe(file.name, "holds another number of tokens"));
      if (file.ids.size() > found.tokens && !s.caches.trimmable())
        throw InputError(describe(file.name, "can not be trimmed"));
      touch(file);
      return s;
    } catch (const Error& e) {
      log(LogLevel::warning, std::string("prompt cache: ") + e.what());
      remove(file);
      return {};
    }
  }
};

PromptDisk::PromptDisk(fs::path folder, std::uint64_t max_bytes) : impl_(std::make_unique<Impl>()) {
  impl_->folder = std::move(folder);
  impl_->max_bytes = max_bytes;
  try {
    impl_->open();
  } catch (const fs::filesystem_error& e) {
    throw IoError(impl_->folder.string() + ": cannot be used: " + e.code().message());
  }
}
PromptDisk::~PromptDisk() = default;

std::optional<PromptDisk::Saved> PromptDisk::read(std::string_view model,
                                                  std::span<const TokenId> ids,
                                                  std::size_t known,
                                                  const PromptCache::MakeCaches& make) {
  auto found = impl_->find(model, ids, known);
  if (!found.file) return {};
  return impl_->load(found, make);
}

bool PromptDisk::write(std::string_view model,
                       std::span<const TokenId> ids,
                       const Caches& caches,
                       PromptKind kind) {
  auto& self = *impl_;
  if (auto trie = self.tries.find(model); trie != self.tries.end())
    if (auto* there = trie->second.find(ids)) {
      self.touch(**there);
      return true;
    }
  auto file = std::make_unique<File>(File{std::string(model),
                                          {ids.begin(), ids.end()},
                                          kind,
                                          caches.trimmable(),
                                          name_for(model, ids),
                                          0,
                                          0,
                                          {}});
  std::uint64_t needed = caches.nbytes() + kHeaderRoom + 12 * ids.size();
  if (needed > self.max_bytes) return false;
  PromptFileInfo info;
  info.ids = file->ids;
  PromptFile saved{without_empty_layers(caches.state()), info.metadata()};
  saved.metadata[kStore] = model;
  saved.metadata[kKind] = kKinds[int(kind)];
  saved.metadata[kTrim] = file->trimmable ? "yes" : "no";
  self.make_room(needed);
  fs::path path = self.folder / file->name;
  saved.write(path);
  std::error_code gone;  // another process may have made room
  file->bytes = fs::file_size(path, gone);
  if (gone) return true;
  self.take(std::move(file));
  self.make_room(0);
  return true;
}

std::size_t PromptDisk::size() const { return impl_->by_use.size(); }
std::uint64_t PromptDisk::nbytes() const { return impl_->bytes; }
const fs::path& PromptDisk::folder() const { return impl_->folder; }

}  // namespace mlxcpp::lm
