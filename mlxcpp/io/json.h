// Writes JSON.  Reading is in fields.h.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace mlxcpp::io {

/// `text` as a JSON string with its quotes.  Ill-formed UTF-8 becomes U+FFFD.
std::string dump_string(std::string_view text);

/// A name from a file as a message may hold it: control characters escaped, ill-formed UTF-8
/// replaced, cut after `limit` bytes ("...").
std::string printable(std::string_view name, std::size_t limit = 100);

/// Builds one JSON value front to back, keys in the order given.
///
///   JsonWriter json;
///   json.begin_object().member("model", name).key("usage").begin_object() ... .end_object();
///   json.end_object();
///   puts(json.str().c_str());
///
/// Throws std::logic_error when calls do not make a value (a member without a key, an end too
/// many): that is a mistake in the caller, not in its data.
class JsonWriter {
 public:
  /// indent < 0: on one line ({"a": 1, "b": [2, 3]}), as Python's json.dumps.
  explicit JsonWriter(int indent = -1) : indent_(indent) {}

  JsonWriter& begin_object();
  JsonWriter& end_object();
  JsonWriter& begin_list();
  JsonWriter& end_list();
  JsonWriter& key(std::string_view key);

  JsonWriter& value(std::string_view text);
  JsonWriter& value(const char* text) { return value(std::string_view(text)); }
  JsonWriter& value(const std::string& text) { return value(std::string_view(text)); }
  JsonWriter& value(std::same_as<bool> auto flag) { return raw(flag ? "true" : "false"); }
  /// The shortest digits that read back as the same number; NaN and infinity become null.
  JsonWriter& value(double number);
  JsonWriter& value(float number);
  template <std::integral T>
  requires(!std::same_as<T, bool> && !std::same_as<T, char>) JsonWriter& value(T number) {
    if constexpr (std::is_signed_v<T>)
      return integer(static_cast<std::int64_t>(number));
    else
      return natural(static_cast<std::uint64_t>(number));
  }
  JsonWriter& null() { return raw("null"); }
  template <class T>
  JsonWriter& value(const std::optional<T>& maybe) {
    return maybe ? value(*maybe) : null();
  }
  template <class T>
  JsonWriter& value(const std::vector<T>& list) {
    begin_list();
    for (const auto& item : list) value(static_cast<const T&>(item));
    return end_list();
  }
  /// Text that is JSON already; it is not checked.
  JsonWriter& raw(std::string_view json);

  template <class T>
  JsonWriter& member(std::string_view name, const T& v) {
    return key(name).value(v);
  }

  /// The finished value.
  const std::string& str() const;

 private:
  JsonWriter& integer(std::int64_t number);
  JsonWriter& natural(std::uint64_t number);
  void before_value();
  void open(char bracket);
  void close(char open, char bracket);
  void new_line();

  struct Level {
    char bracket;
    bool empty = true;
  };
  std::string text_;
  std::vector<Level> levels_;
  int indent_;
  bool after_key_ = false;
};

}  // namespace mlxcpp::io
