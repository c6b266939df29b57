#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/detail/prompt_form.h"
#include "mlxcpp/ops/basic.h"

#include <mlx/ops.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::lm {
namespace {

using detail::join;
using detail::kv_class;
using std::to_string;

/// How many arrays keys (part 0) or values (part 1) are.
size_t arrays_of(const CacheState& s, size_t part) {
  auto& c = *kv_class(s.class_name);
  if (!c.packed) return 1;
  return (part ? s.numbers.back() : s.numbers[c.numbers - 1]) ? 3 : 1;
}

array no_numbers() { return mx::zeros({0}, mx::float32); }

class CurrentWriter {
 public:
  explicit CurrentWriter(PromptTree& tree) : tree_(tree) { tree_.texts["2.0"] = ""; }

  void put(const std::string& path, const CacheState& s) {
    if (s.class_name == "CacheList") {
      for (size_t i = 0; i < s.parts.size(); ++i) {
        put(join(path, i) + ".0", s.parts[i]);
        put_text(join(path, i) + ".1", s.parts[i].class_name);
      }
    } else if (s.class_name == "ArraysCache") {
      for (size_t i = 0; i < s.arrays.size(); ++i)
        put_array(join(path, 0) + "." + to_string(i), s.arrays[i]);
      for (size_t i : {1, 2}) put_array(join(path, i), {});
    } else {
      put_kv(path, s);
    }
  }

 private:
  void put_kv(const std::string& path, const CacheState& s) {
    bool empty = std::ranges::none_of(s.arrays, [](auto& a) { return a.has_value(); });
    auto next = s.arrays.begin();
    for (size_t i : {0, 1}) {
      size_t n = arrays_of(s, i);
      if (empty || n == 1) {
        put_array(join(path, i), empty ? std::nullopt : *next++);
        continue;
      }
      for (size_t k = 0; k < n; ++k) put_array(join(path, i) + "." + to_string(k), *next++);
    }
    for (size_t i = 0; i < s.numbers.size(); ++i) {
      note(join(path, 2 + i), "scalar");
      tree_.arrays.emplace(join(path, 2 + i), array(s.numbers[i]));
    }
  }
  void put_array(const std::string& path, const std::optional<array>& a) {
    if (!a) note(path, "none");
    tree_.arrays.emplace(path, a ? *a : no_numbers());
  }
  void put_text(const std::string& path, const std::string& text) {
    note(path, "string");
    std::vector<int> letters(text.begin(), text.end());
    tree_.arrays.emplace(path, array(letters.data(), {int(letters.size())}, mx::int32));
  }
  void note(const std::string& path, const char* kind) {
    std::string at = "2." + to_string(++notes_);
    tree_.texts[at + ".0"] = path;
    tree_.texts[at + ".1"] = kind;
  }

  PromptTree& tree_;
  int notes_ = 0;
};

class OlderWriter {
 public:
  OlderWriter(PromptTree& tree, PromptFileForm form)
      : tree_(tree), flat_(form == PromptFileForm::release_0_31) {}

  /// `meta` is where the numbers go.
  void put(const std::string& path, const std::string& meta, const CacheState& s) {
    if (s.class_name == "CacheList") return put_list(path, meta, s);
    if (s.arrays.empty() || !std::ranges::all_of(s.arrays, [](auto& a) { return a.has_value(); }))
      throw UnsupportedError(describe("prompt cache in mlx-lm's older form",
                                      "a " + s.class_name + " without content"));
    if (s.class_name == "ArraysCache") {
      std::string at = flat_ ? path : join(path, 0);
      for (size_t k = 0; k < s.arrays.size(); ++k) tree_.arrays.emplace(join(at, k), *s.arrays[k]);
      for (size_t k : {1, 2})
        if (!flat_) tree_.arrays.emplace(join(path, k), no_numbers());
      tree_.texts[meta] = "";
    } else {
      put_kv(path, meta, s);
    }
  }

 private:
  void put_list(const std::string& path, const std::string& meta, const CacheState& s) {
    for (size_t i = 0; i < s.parts.size(); ++i) {
      CacheState part = s.parts[i];
      // Two of keys and values: the second is an indexer's, which has keys only.
      bool indexer = i == 1 && part.class_name == "KVCache" && s.parts[0].class_name == "KVCache";
      if (indexer && part.arrays[1])
        part.arrays[1] = mx::slice(*part.arrays[1], {0, 0, 0, 0}, narrow(*part.arrays[1]));
      tree_.texts[meta + ".0." + to_string(i)] = part.class_name;
      put(join(path, i), meta + ".1." + to_string(i), part);
    }
  }
  static mx::Shape narrow(const array& a) { return {a.shape(0), a.shape(1), a.shape(2), 0}; }

  void put_kv(const std::string& path, const std::string& meta, CacheState s) {
    auto n = s.numbers;
    if (s.class_name == "KVCache") {
      for (auto& a : s.arrays) a = ops::take_columns(*a, 0, n[0], 2);
      tree_.texts[meta] = "";
    } else if (s.class_name == "RotatingKVCache") {
      put_numbers(meta, {n[1], n[2], n[0], n[3]});
    } else if (s.class_name == "QuantizedKVCache") {
      for (auto& a : s.arrays) a = ops::take_columns(*a, 0, n[0], 2);
      put_numbers(meta, n);
    } else {
      // Its reader takes the number of columns for the offset, so that those it has forgotten must
      // be there; it forgets them again before it looks.
      for (auto& a : s.arrays) {
        array kept = ops::take_columns(*a, 0, n[0] - n[2], 2);
        auto gone = kept.shape();
        gone[2] = n[2];
        a = mx::concatenate({mx::zeros(gone, kept.dtype()), kept}, 2);
      }
      put_numbers(meta, {n[1], 0});
    }
    size_t each = s.arrays.size() / 2;
    for (size_t i = 0; i < s.arrays.size(); ++i) {
      std::string at = join(path, i / each);
      tree_.arrays.emplace(each == 1 ? at : join(at, i % each), *s.arrays[i]);
    }
  }
  void put_numbers(const std::string& meta, const std::vector<int>& numbers) {
    for (size_t i = 0; i < numbers.size(); ++i) tree_.texts[join(meta, i)] = to_string(numbers[i]);
  }

  PromptTree& tree_;
  bool flat_;  // recurrent states without masks
};

void check_writable(const CacheState& s, PromptFileForm form) {
  for (auto& part : s.parts) check_writable(part, form);
  if (s.class_name == "CacheList" || s.class_name == "ArraysCache") return;
  auto* kv = kv_class(s.class_name);
  size_t n = s.numbers.size();
  bool fits = kv && (n == kv->numbers || (kv->packed && n == kv->numbers + 1));
  if (fits && form != PromptFileForm::current)
    fits = n == kv->numbers && kv->name != "QuantizedRotatingKVCache";
  if (!fits)
    throw UnsupportedError(
        describe("prompt cache", "no form in such files", "a class of mlx-lm", s.class_name));
}

}  // namespace

const detail::KvClass* detail::kv_class(std::string_view name) {
  for (auto& c : kKvClasses)
    if (c.name == name) return &c;
  return nullptr;
}

std::string detail::join(const std::string& path, std::size_t i) {
  return path + "." + std::to_string(i);
}

PromptTree PromptTree::of(const PromptFile& file, PromptFileForm form) {
  PromptTree tree;
  bool older = form != PromptFileForm::current;
  for (auto& [key, text] : file.metadata) tree.texts[(older ? "1." : "0.") + key] = text;
  for (size_t i = 0; i < file.caches.size(); ++i) {
    auto& s = file.caches[i];
    check_writable(s, form);
    tree.texts[(older ? "2." : "1.") + to_string(i)] = s.class_name;
    if (older) OlderWriter(tree, form).put(to_string(i), "0." + to_string(i), s);
  }
  if (older) return tree;
  CurrentWriter writer(tree);
  for (size_t i = 0; i < file.caches.size(); ++i) writer.put(to_string(i), file.caches[i]);
  return tree;
}

}  // namespace mlxcpp::lm
