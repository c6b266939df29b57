#include "mlxcpp/io/fields.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/detail/json_tree.h"
#include "mlxcpp/io/json.h"

#include <nlohmann/json.hpp>

#include <cmath>
#include <limits>
#include <set>
#include <unordered_map>

namespace mlxcpp::io {

struct Fields::Document {
  detail::JsonTree tree;
  std::unordered_map<const void*, bool> read;  // value -> with all that is inside
  std::set<std::string, std::less<>> asked;    // whole paths, label included
};

namespace {
using nlohmann::json;

constexpr std::size_t kShownText = 40;

// A value that is being read, with what a message about it needs.
struct Slot {
  const json& value;
  const std::string& where;
  bool may_be_non_finite;

  bool is_word(std::string_view word) const {
    return may_be_non_finite && value.is_string() && value.get_ref<const std::string&>() == word;
  }
  bool is_non_finite() const {
    return is_word(detail::kInfinity) || is_word(detail::kMinusInfinity) || is_word(detail::kNan);
  }
};

std::string shown(const Slot& s) {
  if (s.is_word(detail::kInfinity)) return "Infinity";
  if (s.is_word(detail::kMinusInfinity)) return "-Infinity";
  if (s.is_word(detail::kNan)) return "NaN";
  switch (s.value.type()) {
    case json::value_t::null: return "null";
    case json::value_t::boolean: return s.value.get<bool>() ? "true" : "false";
    case json::value_t::string: {
      const auto& text = s.value.get_ref<const std::string&>();
      if (text.size() <= kShownText) return "string " + dump_string(text);
      return "string " + dump_string(text.substr(0, kShownText)) + "...";
    }
    case json::value_t::array: return "list of " + std::to_string(s.value.size());
    case json::value_t::object: return "object";
    case json::value_t::number_float: return "number " + s.value.dump();
    default: return "integer " + s.value.dump();
  }
}

[[noreturn]] void mismatch(const Slot& s, std::string_view expected) {
  throw ConfigError(s.where + ": expected " + std::string(expected) + ", found " + shown(s));
}

constexpr std::string_view expected_name(const int*) { return "integer"; }
constexpr std::string_view expected_name(const std::int64_t*) { return "integer"; }
constexpr std::string_view expected_name(const float*) { return "number"; }
constexpr std::string_view expected_name(const double*) { return "number"; }
constexpr std::string_view expected_name(const bool*) { return "boolean"; }
constexpr std::string_view expected_name(const std::string*) { return "string"; }
constexpr std::string_view expected_name(const std::map<std::string, std::string>*) {
  return "object";
}
template <class T>
constexpr std::string_view expected_name(const std::optional<T>*) {
  return expected_name(static_cast<const T*>(nullptr));
}
template <class T>
constexpr std::string_view expected_name(const std::vector<T>*) {
  return "list";
}

template <class Int>
void get_integer(const Slot& s, Int& out) {
  using Limits = std::numeric_limits<Int>;
  if (!s.value.is_number_integer()) mismatch(s, "integer");
  bool fits = s.value.is_number_unsigned()
                  ? s.value.get<std::uint64_t>() <= static_cast<std::uint64_t>(Limits::max())
                  : s.value.get<std::int64_t>() >= static_cast<std::int64_t>(Limits::min());
  if (!fits)
    mismatch(
        s,
        "integer from " + std::to_string(Limits::min()) + " to " + std::to_string(Limits::max()));
  out = s.value.get<Int>();
}

void get(const Slot& s, int& out) { get_integer(s, out); }
void get(const Slot& s, std::int64_t& out) { get_integer(s, out); }
void get(const Slot& s, double& out) {
  if (s.is_non_finite()) mismatch(s, "finite number");
  if (!s.value.is_number()) mismatch(s, "number");
  out = s.value.get<double>();
}
void get(const Slot& s, float& out) {
  double wide;
  get(s, wide);
  out = static_cast<float>(wide);
  if (!std::isfinite(out) || (out == 0 && wide != 0)) mismatch(s, "number that a float can hold");
}
void get(const Slot& s, bool& out) {
  if (!s.value.is_boolean()) mismatch(s, "boolean");
  out = s.value.get<bool>();
}
void get(const Slot& s, std::string& out) {
  if (!s.value.is_string() || s.is_non_finite()) mismatch(s, "string");
  out = s.value.get_ref<const std::string&>();
}
template <class T>
void get(const Slot& s, std::optional<T>& out) {
  T value;
  get(s, value);
  out = std::move(value);
}
template <class T>
void get(const Slot& s, std::vector<T>& out) {
  if (!s.value.is_array()) mismatch(s, "list");
  std::vector<T> list;
  list.reserve(s.value.size());
  for (const json& item : s.value) {
    std::string where = s.where + "[" + std::to_string(list.size()) + "]";
    T value;
    get(Slot{item, where, s.may_be_non_finite}, value);
    list.push_back(std::move(value));
  }
  out = std::move(list);
}

void get(const Slot& s, std::map<std::string, std::string>& out) {
  if (!s.value.is_object()) mismatch(s, "object");
  std::map<std::string, std::string> map;
  for (const auto& [key, item] : s.value.items()) {
    std::string where = s.where + "." + printable(key);
    get(Slot{item, where, s.may_be_non_finite}, map[key]);
  }
  out = std::move(map);
}

// As `time_step_limit` of Mamba2 checkpoints: [0.0, Infinity], or {"__float__": "Infinity"} since
// transformers 5.
float get_unbounded(const Slot& s) {
  if (s.is_word(detail::kInfinity)) return std::numeric_limits<float>::infinity();
  if (s.is_word(detail::kMinusInfinity)) return -std::numeric_limits<float>::infinity();
  if (s.value.is_object() && s.value.size() == 1) {
    auto word = s.value.find("__float__");
    if (word != s.value.end() && *word == "Infinity") return std::numeric_limits<float>::infinity();
    if (word != s.value.end() && *word == "-Infinity")
      return -std::numeric_limits<float>::infinity();
  }
  float out;
  get(s, out);
  return out;
}

void null_non_finite(json& value) {
  static const std::string no_path;
  if (Slot{value, no_path, true}.is_non_finite()) value = nullptr;
  if (value.is_structured())
    for (json& item : value) null_non_finite(item);
}

}  // namespace

// What of Fields needs the JSON library.
struct FieldsReader {
  static const json& object(const Fields& f) { return *static_cast<const json*>(f.object_); }

  // Null is absent.
  static const json* find(const Fields& f, std::string_view key) {
    auto it = object(f).find(key);
    return it == object(f).end() || it->is_null() ? nullptr : &*it;
  }

  // `whole`: what is inside counts as read too.
  static const json* mark(const Fields& f, std::string_view key, bool whole) {
    const json* value = find(f, key);
    if (value) f.document_->read[value] |= whole;
    return value;
  }

  static const json* read(const Fields& f, std::string_view key, bool whole) {
    f.document_->asked.insert(f.where(key));
    return mark(f, key, whole);
  }

  static bool non_finite(const Fields& f) { return f.document_->tree.has_non_finite; }

  template <class T>
  static bool may(const Fields& f, std::string_view key, T& out) {
    const json* value = read(f, key, true);
    if (!value) return false;
    get(Slot{*value, f.where(key), non_finite(f)}, out);
    return true;
  }

  template <class T>
  static void one_or_many(const Fields& f, std::string_view key, std::vector<T>& out) {
    const json* value = read(f, key, true);
    if (!value) return;
    Slot slot{*value, f.where(key), non_finite(f)};
    if (value->is_array()) return get(slot, out);
    T one;
    get(slot, one);
    out.assign(1, std::move(one));
  }

  static Fields child(const Fields& f, const json& value, std::string where) {
    if (!value.is_object()) mismatch(Slot{value, where, non_finite(f)}, "object");
    return Fields(f.document_, &value, std::move(where));
  }

  // Appends the paths of unread keys of `object`, whose own path is `path` ("" or "a.b.").
  static void unread(const Fields& f,
                     const json& object,
                     const std::string& path,
                     std::vector<std::string>& out) {
    for (const auto& [key, value] : object.items()) {
      if (value.is_null()) continue;
      auto read = f.document_->read.find(&value);
      if (read == f.document_->read.end()) {
        out.push_back(path + key);
      } else if (read->second) {
        continue;
      } else if (value.is_object()) {
        unread(f, value, path + key + ".", out);
      } else if (value.is_array()) {
        for (std::size_t i = 0; i < value.size(); ++i)
          if (value[i].is_object())
            unread(f, value[i], path + key + "[" + std::to_string(i) + "].", out);
      }
    }
  }
};

Fields::Fields(std::shared_ptr<Document> document, const void* object, std::string where)
    : document_(std::move(document)), object_(object), where_(std::move(where)) {}

Fields Fields::parse(std::string_view text, std::string label) {
  auto document = std::make_shared<Document>(Document{detail::parse_json(text, label), {}});
  const json& root = document->tree.root;
  if (!root.is_object()) mismatch(Slot{root, label, document->tree.has_non_finite}, "object");
  return Fields(std::move(document), &root, std::move(label));
}

Fields& Fields::need(std::string_view key, Target out) {
  std::visit(
      [&](auto* to) {
        if (!FieldsReader::may(*this, key, *to))
          throw ConfigError(where(key) + ": missing; expected " + std::string(expected_name(to)));
      },
      out);
  return *this;
}

Fields& Fields::may(std::string_view key, Target out) {
  std::visit([&](auto* to) { FieldsReader::may(*this, key, *to); }, out);
  return *this;
}

Fields& Fields::may_one_or_many(std::string_view key, std::vector<int>* out) {
  FieldsReader::one_or_many(*this, key, *out);
  return *this;
}

Fields& Fields::may_one_or_many(std::string_view key, std::vector<std::string>* out) {
  FieldsReader::one_or_many(*this, key, *out);
  return *this;
}

Fields& Fields::may_unbounded(std::string_view key, std::vector<float>* out) {
  const json* value = FieldsReader::read(*this, key, true);
  if (!value) return *this;
  bool non_finite = FieldsReader::non_finite(*this);
  if (!value->is_array()) mismatch(Slot{*value, where(key), non_finite}, "list");
  std::vector<float> list;
  for (const json& item : *value)
    list.push_back(get_unbounded(
        Slot{item, where(key) + "[" + std::to_string(list.size()) + "]", non_finite}));
  *out = std::move(list);
  return *this;
}

bool Fields::has(std::string_view key) const { return FieldsReader::find(*this, key) != nullptr; }

std::optional<JsonType> Fields::type(std::string_view key) const {
  const json* value = FieldsReader::find(*this, key);
  if (!value) return {};
  if (Slot{*value, where_, FieldsReader::non_finite(*this)}.is_non_finite())
    return JsonType::number;
  switch (value->type()) {
    case json::value_t::boolean: return JsonType::boolean;
    case json::value_t::string: return JsonType::string;
    case json::value_t::array: return JsonType::list;
    case json::value_t::object: return JsonType::object;
    case json::value_t::number_float: return JsonType::number;
    default: return JsonType::integer;
  }
}

std::vector<std::string> Fields::keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, value] : FieldsReader::object(*this).items())
    if (!value.is_null()) keys.push_back(key);
  return keys;
}

std::optional<Fields> Fields::object(std::string_view key) const {
  const json* value = FieldsReader::read(*this, key, false);
  if (!value) return {};
  return FieldsReader::child(*this, *value, where(key));
}

Fields Fields::need_object(std::string_view key) const {
  if (auto f = object(key)) return *f;
  throw ConfigError(where(key) + ": missing; expected object");
}

std::vector<Fields> Fields::objects(std::string_view key) const {
  std::vector<Fields> list;
  const json* value = FieldsReader::read(*this, key, false);
  if (!value) return list;
  if (!value->is_array())
    mismatch(Slot{*value, where(key), FieldsReader::non_finite(*this)}, "list of objects");
  for (const json& item : *value)
    list.push_back(
        FieldsReader::child(*this, item, where(key) + "[" + std::to_string(list.size()) + "]"));
  return list;
}

std::optional<std::string> Fields::json_text(std::string_view key) const {
  const json* value = FieldsReader::read(*this, key, true);
  if (!value) return {};
  if (!FieldsReader::non_finite(*this)) return value->dump();
  json copy = *value;
  null_non_finite(copy);
  return copy.dump();
}

Fields& Fields::ignore(std::string_view key) {
  FieldsReader::mark(*this, key, true);
  return *this;
}

std::string Fields::where(std::string_view key) const { return where_ + "." + printable(key); }

std::vector<std::string> Fields::unread() const {
  std::vector<std::string> paths;
  FieldsReader::unread(*this, FieldsReader::object(*this), "", paths);
  return paths;
}

std::vector<std::string> Fields::asked() const {
  std::vector<std::string> paths;
  std::string inside = where_ + ".";
  for (const auto& path : document_->asked)
    if (path.starts_with(inside)) paths.push_back(path.substr(inside.size()));
  return paths;
}

}  // namespace mlxcpp::io
