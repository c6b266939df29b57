#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/lm/detail/prompt_form.h"
#include "mlxcpp/ops/basic.h"

#include <mlx/ops.h>

#include <charconv>
#include <set>
#include <string_view>
#include <utility>

namespace mlxcpp::lm {
namespace {

using Texts = std::map<std::string, std::string>;
using detail::join;
using detail::kv_class;
using std::to_string;

constexpr int kDeepest = 8;  // lists in lists

/// Other names for the same.
std::string canonical(const std::string& name) {
  if (name == "ConcatenateKVCache" || name == "KVCacheSimple") return "KVCache";
  if (name == "MambaCache") return "ArraysCache";
  return name;
}

class Reader {
 public:
  Reader(const PromptTree& tree, const std::string& where) : tree_(tree), where_(where) {}
  virtual ~Reader() = default;

  PromptFile file(const std::string& classes) {
    PromptFile all;
    for (size_t i = 0; tree_.texts.count(join(classes, i)); ++i)
      all.caches.push_back(
          cache(to_string(i), "0." + to_string(i), tree_.texts.at(join(classes, i)), 0));
    size_t names = 0;
    for (auto& [key, text] : tree_.texts) names += key.starts_with(classes + ".");
    if (names != all.caches.size() && classes == "1")
      fail("classes", "not numbered from 0 without gaps");
    for (auto& [path, a] : tree_.arrays)
      if (!used_.count(path)) fail(path, "an array that no cache has");
    return all;
  }

 protected:
  [[noreturn]] void fail(const std::string& path,
                         std::string_view wrong,
                         std::string_view expected = {},
                         std::string_view found = {}) const {
    throw InputError(describe(where_ + ": cache " + io::printable(path), wrong, expected, found));
  }

  CacheState cache(const std::string& path,
                   const std::string& meta,
                   const std::string& name,
                   int depth) {
    CacheState s{.class_name = canonical(name), .arrays = {}, .numbers = {}, .parts = {}};
    if (depth > kDeepest) fail(path, "lists in lists too deep", to_string(kDeepest) + " levels");
    if (s.class_name == "CacheList")
      read_list(path, meta, s, depth);
    else if (s.class_name == "ArraysCache")
      read_states(path, s);
    else if (kv_class(s.class_name))
      read_kv(path, meta, name, s);
    else
      fail(path,
           "class not known",
           "KVCache, RotatingKVCache, QuantizedKVCache, ChunkedKVCache, ArraysCache or CacheList",
           io::printable(name));
    return s;
  }

  virtual void read_list(const std::string& path,
                         const std::string& meta,
                         CacheState& s,
                         int depth) = 0;
  virtual void read_kv(const std::string& path,
                       const std::string& meta,
                       const std::string& name,
                       CacheState& s) = 0;
  virtual bool is_none(const std::string&) const { return false; }

  void read_states(const std::string& path, CacheState& s) {
    bool nested = tree_.arrays.count(path + ".0.0");
    std::string at = nested ? join(path, 0) : path;  // older ones have them flat
    for (size_t i = 0; tree_.arrays.count(join(at, i)); ++i) s.arrays.push_back(take(join(at, i)));
    if (nested)
      for (size_t i : {1, 2})
        if (auto padding = take(join(path, i)); padding && padding->size() > 1)
          fail(join(path, i), "padding of several rows", "one row");
    if (s.arrays.empty()) fail(path, "missing arrays");
  }

  /// Keys and values, and how the class has them: each as one array or as three.
  void read_pair(const std::string& path, CacheState& s) {
    for (size_t i : {0, 1}) {
      std::string at = join(path, i);
      bool packed = kv_class(s.class_name)->packed && tree_.arrays.count(at + ".0");
      for (size_t k = 0; k < (packed ? 3 : 1); ++k) {
        s.arrays.push_back(take(packed ? join(at, k) : at));
        check(path, s.arrays.back(), packed && k == 0);
      }
    }
  }

  void check(const std::string& path, const std::optional<array>& a, bool packed) const {
    if (!a) return;
    if (a->ndim() != 4) fail(path, "wrong number of dimensions", "4", to_string(a->ndim()));
    bool numbers = mx::issubdtype(a->dtype(), mx::floating);
    if (packed ? a->dtype() != mx::uint32 : !numbers)
      fail(path, "wrong dtype", packed ? "U32" : "F32, F16 or BF16");
  }

  std::optional<array> take(const std::string& path) {
    auto it = tree_.arrays.find(path);
    if (it == tree_.arrays.end()) fail(path, "missing array");
    used_.insert(path);
    if (is_none(path)) return {};
    return it->second;
  }

  int as_number(const std::string& path, const std::string& text) const {
    int n = 0;
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty())
      fail(path, "no number", "an integer", io::printable(text));
    return n;
  }

  const PromptTree& tree_;
  std::string where_;
  std::set<std::string> used_;
};

class CurrentReader final : public Reader {
 public:
  CurrentReader(const PromptTree& tree, const std::string& where) : Reader(tree, where) {
    for (size_t n = 1; tree.texts.count("2." + to_string(n) + ".0"); ++n) {
      std::string at = "2." + to_string(n);
      auto kind = tree.texts.find(at + ".1");
      auto& path = tree.texts.at(at + ".0");
      if (kind == tree.texts.end()) fail(path, "what it stands for is not said");
      if (kind->second != "scalar" && kind->second != "string" && kind->second != "none")
        fail(path,
             "stands for what is not known",
             "scalar, string or none",
             io::printable(kind->second));
      if (!tree.arrays.count(path)) fail(path, "missing array");
      kinds_[path] = kind->second;
    }
  }

 private:
  bool is_none(const std::string& path) const override { return is(path, "none"); }
  bool is(const std::string& path, std::string_view kind) const {
    auto it = kinds_.find(path);
    return it != kinds_.end() && it->second == kind;
  }

  void read_list(const std::string& path, const std::string&, CacheState& s, int depth) override {
    for (size_t i = 0; tree_.arrays.count(join(path, i) + ".1"); ++i)
      s.parts.push_back(cache(join(path, i) + ".0", {}, text(join(path, i) + ".1"), depth + 1));
    if (s.parts.empty()) fail(path, "a list without caches");
  }
  void read_kv(const std::string& path,
               const std::string&,
               const std::string& name,
               CacheState& s) override {
    read_pair(path, s);
    if (name == "ConcatenateKVCache") {
      s.numbers = {s.arrays[0] ? s.arrays[0]->shape(2) : 0};
      return;
    }
    auto& c = *kv_class(s.class_name);
    bool own = c.packed && tree_.arrays.count(join(path, 2 + c.numbers));  // bits of values
    for (size_t i = 0; i < c.numbers + own; ++i) s.numbers.push_back(number(join(path, 2 + i)));
  }

  int number(const std::string& path) {
    auto a = take(path);
    if (!a || a->size() != 1 || !mx::issubdtype(a->dtype(), mx::integer))
      fail(path, "no number", "an integer");
    auto n = mx::astype(*a, mx::int64).item<std::int64_t>();
    if (n < INT32_MIN || n > INT32_MAX) fail(path, "out of range", "an int", to_string(n));
    return int(n);
  }
  std::string text(const std::string& path) {
    auto a = take(path);
    if (!a || !is(path, "string") || a->ndim() != 1 || a->size() > 100 ||
        !mx::issubdtype(a->dtype(), mx::integer))
      fail(path, "no text", "the name of a class");
    array letters = mx::contiguous(mx::astype(*a, mx::int32));
    letters.eval();
    std::string name;
    for (size_t i = 0; i < letters.size(); ++i) name += char(letters.data<int>()[i] & 0x7f);
    return name;
  }

  std::map<std::string, std::string> kinds_;
};

class OlderReader final : public Reader {
 public:
  using Reader::Reader;

 private:
  void read_list(const std::string& path,
                 const std::string& meta,
                 CacheState& s,
                 int depth) override {
    for (size_t i = 0; tree_.texts.count(meta + ".0." + to_string(i)); ++i)
      s.parts.push_back(cache(join(path, i),
                              meta + ".1." + to_string(i),
                              tree_.texts.at(meta + ".0." + to_string(i)),
                              depth + 1));
    if (s.parts.empty()) fail(path, "a list without caches");
  }

  void read_kv(const std::string& path,
               const std::string& meta,
               const std::string&,
               CacheState& s) override {
    read_pair(path, s);
    int held = s.arrays[0]->shape(2);
    std::vector<int> n;
    for (size_t i = 0; tree_.texts.count(join(meta, i)) && s.class_name != "KVCache"; ++i) {
      if (s.class_name == "RotatingKVCache" && i == 5) break;  // where its size comes from
      n.push_back(as_number(path, tree_.texts.at(join(meta, i))));
    }
    size_t count = kv_class(s.class_name)->numbers;
    if (s.class_name == "KVCache")
      s.numbers = {held};
    else if (s.class_name == "RotatingKVCache" && n.size() == 4)
      s.numbers = {n[2], n[0], n[1], n[3]};
    else if (s.class_name == "RotatingKVCache" && n.size() == 5)  // mlx-swift-lm: the step, too
      s.numbers = {n[3], n[0], n[1], n[4]};
    else if (s.class_name == "QuantizedKVCache" && n.size() == 3)
      s.numbers = n;
    else if (s.class_name == "QuantizedKVCache" && n.size() == 4)  // likewise
      s.numbers = {n[1], n[2], n[3]};
    else if (s.class_name == "ChunkedKVCache" && n.size() == 2)
      s.numbers = {n[1] ? kUnknown : held, n[0], n[1]};
    else
      fail(path, "wrong count of numbers", to_string(count), to_string(n.size()));
  }

 public:
  static constexpr int kUnknown = -1;
};

std::optional<int> offset_of(const CacheState& s) {
  for (auto& part : s.parts)
    if (auto n = offset_of(part)) return n;
  if (s.numbers.empty() || s.numbers[0] == OlderReader::kUnknown) return {};
  return s.numbers[0];
}

/// A chunked cache of the older form does not say its offset once it has forgotten something;
/// others beside it do.
void resolve_offsets(PromptFile& file, const std::string& where) {
  std::optional<int> known;
  for (auto& s : file.caches)
    if (!known) known = offset_of(s);
  for (auto& s : file.caches) {
    if (s.class_name != "ChunkedKVCache" || s.numbers[0] != OlderReader::kUnknown) continue;
    if (!known)
      throw InputError(
          describe(where, "a chunked cache that does not say how many tokens it holds"));
    s.numbers[0] = *known;
    int valid = *known - s.numbers[2];
    for (auto& a : s.arrays) {
      if (valid < 0 || valid > a->shape(2))
        throw InputError(describe(where, "a chunked cache with fewer keys than its offset"));
      a = ops::take_columns(*a, 0, valid, 2);
    }
  }
}

bool older_form(const Texts& texts, const std::string& where) {
  auto first = texts.find("2.0");
  if (first == texts.end())
    throw InputError(describe(where, "no prompt cache", "a file that cache-prompt wrote"));
  return !first->second.empty();
}

}  // namespace

std::map<std::string, std::string> user_metadata(const Texts& texts, const std::string& where) {
  std::string start = older_form(texts, where) ? "1." : "0.";
  Texts user;
  for (auto& [key, text] : texts)
    if (key.starts_with(start)) user[key.substr(start.size())] = text;
  return user;
}

PromptFile PromptTree::file(const std::string& where) const {
  bool older = older_form(texts, where);
  PromptFile all =
      older ? OlderReader(*this, where).file("2") : CurrentReader(*this, where).file("1");
  if (all.caches.empty()) throw InputError(describe(where, "a prompt cache without caches"));
  if (older) resolve_offsets(all, where);
  all.metadata = user_metadata(texts, where);
  return all;
}

}  // namespace mlxcpp::lm
