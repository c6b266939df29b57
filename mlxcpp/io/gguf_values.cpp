// Typed access to GGUF metadata.
#include "mlxcpp/base/error.h"
#include "mlxcpp/io/detail/gguf_format.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/io/utf8.h"

#include <cmath>
#include <concepts>
#include <cstring>
#include <limits>
#include <utility>

namespace mlxcpp::io {

using detail::GgufType;

namespace {

constexpr std::size_t kShownText = 40;

std::string shown(const GgufValue& value) {
  struct Shown {
    std::string operator()(std::int64_t v) const { return "integer " + std::to_string(v); }
    std::string operator()(std::uint64_t v) const { return "integer " + std::to_string(v); }
    std::string operator()(double v) const {
      if (!std::isfinite(v)) return std::isnan(v) ? "NaN" : v > 0 ? "Infinity" : "-Infinity";
      return "number " + JsonWriter().value(v).str();
    }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(std::string_view v) const {
      return "string " + dump_string(v.substr(0, kShownText)) +
             (v.size() > kShownText ? "..." : "");
    }
    std::string operator()(const GgufList& v) const {
      return "list of " + std::to_string(v.size) +
             (v.element_type == static_cast<std::uint32_t>(GgufType::string) ? " strings"
                                                                             : " numbers");
    }
  };
  return std::visit(Shown(), value);
}

// A value with its place for messages.
struct Entry {
  const std::string& label;
  std::string_view key;
  const GgufValue& value;
  std::optional<std::uint64_t> index{};  // within a list

  [[noreturn]] void mismatch(std::string_view expected) const {
    std::string where = label + ": metadata " + printable(key);
    if (index) where += "[" + std::to_string(*index) + "]";
    throw WeightError(where + ": expected " + std::string(expected) + ", found " + shown(value));
  }
};

void convert(const Entry& e, bool& out) {
  auto* v = std::get_if<bool>(&e.value);
  if (!v) e.mismatch("boolean");
  out = *v;
}

template <class Int>
requires std::integral<Int>
void convert(const Entry& e, Int& out) {
  auto narrow = [&](auto v) {
    if (!std::in_range<Int>(v))
      e.mismatch("integer from " + std::to_string(std::numeric_limits<Int>::min()) + " to " +
                 std::to_string(std::numeric_limits<Int>::max()));
    out = static_cast<Int>(v);
  };
  if (auto* v = std::get_if<std::int64_t>(&e.value)) return narrow(*v);
  if (auto* u = std::get_if<std::uint64_t>(&e.value)) return narrow(*u);
  e.mismatch("integer");
}

template <std::floating_point Float>
void convert(const Entry& e, Float& out) {
  double wide;
  if (auto* v = std::get_if<double>(&e.value))
    wide = *v;
  else if (auto* i = std::get_if<std::int64_t>(&e.value))
    wide = static_cast<double>(*i);
  else if (auto* u = std::get_if<std::uint64_t>(&e.value))
    wide = static_cast<double>(*u);
  else
    e.mismatch("number");
  out = static_cast<Float>(wide);
  if (!std::isfinite(out) || (out == 0 && wide != 0)) e.mismatch("finite number");
}

void convert(const Entry& e, std::string_view& out) {
  auto* v = std::get_if<std::string_view>(&e.value);
  if (!v) e.mismatch("string");
  out = *v;
}

void convert(const Entry& e, std::string& out) {
  std::string_view v;
  convert(e, v);
  if (!is_utf8(v)) e.mismatch("UTF-8");
  out = v;
}

template <class T>
GgufValue value_at(const GgufList& list, std::uint64_t i) {
  T value;
  std::memcpy(&value, list.numbers.data() + i * sizeof(T), sizeof(T));
  if constexpr (std::same_as<T, bool>)
    return value;
  else if constexpr (std::floating_point<T>)
    return double{value};
  else if constexpr (std::signed_integral<T>)
    return std::int64_t{value};
  else
    return std::uint64_t{value};
}

GgufValue value_at(const GgufList& list, std::uint64_t i) {
  switch (static_cast<GgufType>(list.element_type)) {
    case GgufType::uint8: return value_at<std::uint8_t>(list, i);
    case GgufType::int8: return value_at<std::int8_t>(list, i);
    case GgufType::uint16: return value_at<std::uint16_t>(list, i);
    case GgufType::int16: return value_at<std::int16_t>(list, i);
    case GgufType::uint32: return value_at<std::uint32_t>(list, i);
    case GgufType::int32: return value_at<std::int32_t>(list, i);
    case GgufType::uint64: return value_at<std::uint64_t>(list, i);
    case GgufType::int64: return value_at<std::int64_t>(list, i);
    case GgufType::float32: return value_at<float>(list, i);
    case GgufType::float64: return value_at<double>(list, i);
    case GgufType::boolean: return value_at<bool>(list, i);
    default: return list.strings[i];
  }
}

template <class T>
void convert(const Entry& e, std::vector<T>& out) {
  auto* list = std::get_if<GgufList>(&e.value);
  if (!list) e.mismatch("list");
  out.reserve(list->size);
  for (std::uint64_t i = 0; i < list->size; ++i) {
    GgufValue item = value_at(*list, i);
    T value;
    convert(Entry{e.label, e.key, item, i}, value);
    out.push_back(std::move(value));
  }
}

}  // namespace

bool Gguf::read(std::string_view key, GgufTarget out) const {
  auto it = by_key_.find(key);
  if (it == by_key_.end()) return false;
  Entry entry{label_, key, metadata_[it->second].value};
  std::visit([&](auto* to) { convert(entry, *to); }, out);
  return true;
}

void Gguf::fail_missing(std::string_view key) const {
  throw WeightError(label_ + ": metadata " + printable(key) + ": missing");
}

}  // namespace mlxcpp::io
