// A strict reader of JSON objects: configs, request bodies, adapter files.
// A struct reads itself by `void fields(io::Fields& f)`, naming each key once:
//
//   void fields(io::Fields& f) {
//     f.need("hidden_size", &hidden_size).may("head_dim", &head_dim).may("rope_scaling", &scaling);
//   }
//
// Messages hold the whole path:
//   config.rope_scaling.factor: expected number, found string "x"
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace mlxcpp::io {

class Fields;

template <class T>
concept HasFields = requires(T t, Fields& f) {
  t.fields(f);
};

/// Where a key is read to.  Scalars are strict: an integer may fill a float, but neither does a
/// float fill an integer nor a bool a number.  Integers must fit, floats must stay finite in their
/// own width.  A list must be a list and hold no null; a map is an object whose values are strings.
using Target = std::variant<int*,
                            std::int64_t*,
                            float*,
                            double*,
                            bool*,
                            std::string*,
                            std::optional<int>*,
                            std::optional<std::int64_t>*,
                            std::optional<float>*,
                            std::optional<double>*,
                            std::optional<bool>*,
                            std::optional<std::string>*,
                            std::vector<int>*,
                            std::vector<std::int64_t>*,
                            std::vector<float>*,
                            std::vector<bool>*,
                            std::vector<std::string>*,
                            std::map<std::string, std::string>*>;

enum class JsonType { boolean, integer, number, string, list, object };

/// One JSON object inside a document.  Copies and nested objects share the document and its record
/// of read keys, so that unread() may be asked after a model has been built.  One thread at a time.
class Fields {
 public:
  /// `label` opens every message ("config", "config.json", "request").
  /// Throws ConfigError with line and column when `text` is not one JSON object, names a key twice
  /// in an object, or nests deeper than 64 levels.
  static Fields parse(std::string_view text, std::string label = "config");

  /// Throws ConfigError when the key is absent or null.
  Fields& need(std::string_view key, Target out);
  /// Absent or null leaves `out` as it is.
  Fields& may(std::string_view key, Target out);

  /// One value or a list of such values, as eos_token_id has it.  Absent or null leaves `out`.
  Fields& may_one_or_many(std::string_view key, std::vector<int>* out);
  Fields& may_one_or_many(std::string_view key, std::vector<std::string>* out);
  /// A list of numbers where Infinity (or {"__float__": "Infinity"}) is meant, as time_step_limit.
  Fields& may_unbounded(std::string_view key, std::vector<float>* out);

  template <HasFields T>
  Fields& need(std::string_view key, T* nested) {
    Fields f = need_object(key);
    nested->fields(f);
    return *this;
  }
  template <HasFields T>
  Fields& may(std::string_view key, T* nested) {
    if (auto f = object(key)) nested->fields(*f);
    return *this;
  }
  template <HasFields T>
  Fields& may(std::string_view key, std::optional<T>* nested) {
    if (auto f = object(key)) nested->emplace().fields(*f);
    return *this;
  }
  template <HasFields T>
  Fields& may(std::string_view key, std::vector<T>* nested) {
    if (!has(key)) return *this;
    nested->clear();
    for (Fields& f : objects(key)) nested->emplace_back().fields(f);
    return *this;
  }

  /// Present and not null.  Asking does not count as reading.
  bool has(std::string_view key) const;
  /// Nothing when absent or null.  For values such as "false or an object".  Does not read either.
  std::optional<JsonType> type(std::string_view key) const;
  /// Sorted by bytes.  Null values are left out.
  std::vector<std::string> keys() const;

  /// Nothing when absent or null; throws ConfigError when it is not an object.
  std::optional<Fields> object(std::string_view key) const;
  Fields need_object(std::string_view key) const;
  /// A list of objects; empty when absent or null.
  std::vector<Fields> objects(std::string_view key) const;
  /// The value as JSON text on one line, whatever it is; counts as read with all that is inside.
  /// Infinity and NaN become null there.
  std::optional<std::string> json_text(std::string_view key) const;
  /// Counts the key as read, with all that is inside: known, and of no use to us.
  Fields& ignore(std::string_view key);

  /// "config.rope_scaling": the path of this object.
  const std::string& where() const { return where_; }
  /// "config.rope_scaling.factor": for messages of checks made after reading.
  std::string where(std::string_view key) const;
  /// Paths below this object that nobody read, without the label: "rope_scaling.factor".  A key
  /// that is unread as a whole is given once, without what is inside.  Nulls are not given.
  std::vector<std::string> unread() const;
  /// Paths below this object that were asked for, whether there or not; ignored ones are not.
  std::vector<std::string> asked() const;

 private:
  struct Document;
  friend struct FieldsReader;  // sees the JSON library, which this header hides
  Fields(std::shared_ptr<Document> document, const void* object, std::string where);

  std::shared_ptr<Document> document_;
  const void* object_;  // inside document_
  std::string where_;
};

/// A value of type Config, read from `fields`.
template <HasFields Config>
Config read(Fields fields) {
  Config config{};
  config.fields(fields);
  return config;
}

}  // namespace mlxcpp::io
