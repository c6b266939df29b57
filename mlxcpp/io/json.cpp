#include "mlxcpp/io/json.h"

#include "mlxcpp/io/utf8.h"

#include <charconv>
#include <cmath>
#include <stdexcept>

namespace mlxcpp::io {
namespace {

template <class Float>
std::string digits(Float number) {
  if (!std::isfinite(number)) return "null";
  char buffer[64];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, number).ptr;
  std::string text(buffer, end);
  // Without a mark it would read back as an integer.
  if (text.find_first_of(".e") == text.npos) text += ".0";
  return text;
}

void append_escaped(std::string& out, std::string_view text) {
  static constexpr char kHex[] = "0123456789abcdef";
  for (char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        if (auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7F) {
          out += "\\u00";
          out += kHex[byte >> 4];
          out += kHex[byte & 15];
        } else {
          out += c;
        }
    }
  }
}

}  // namespace

std::string dump_string(std::string_view text) {
  std::string out = "\"";
  if (is_utf8(text))
    append_escaped(out, text);
  else
    append_escaped(out, to_valid_utf8(text));
  return out += '"';
}

std::string printable(std::string_view name, std::size_t limit) {
  bool is_cut = name.size() > limit;
  if (is_cut) {
    name = name.substr(0, limit);
    // Not within a character.
    if (std::size_t good = utf8_prefix(name); good + 3 >= name.size()) name = name.substr(0, good);
  }
  std::string out;
  for (char c : to_valid_utf8(name)) {
    if (auto byte = static_cast<unsigned char>(c); byte < 0x20 || byte == 0x7F)
      append_escaped(out, std::string_view(&c, 1));
    else
      out += c;
  }
  return is_cut ? out + "..." : out;
}

JsonWriter& JsonWriter::begin_object() { return open('{'), *this; }
JsonWriter& JsonWriter::begin_list() { return open('['), *this; }
JsonWriter& JsonWriter::end_object() { return close('{', '}'), *this; }
JsonWriter& JsonWriter::end_list() { return close('[', ']'), *this; }

JsonWriter& JsonWriter::key(std::string_view key) {
  if (levels_.empty() || levels_.back().bracket != '{' || after_key_)
    throw std::logic_error("JsonWriter: a key stands only in an object, before its value");
  if (!levels_.back().empty) text_ += indent_ < 0 ? ", " : ",";
  levels_.back().empty = false;
  new_line();
  text_ += dump_string(key);
  text_ += ": ";
  after_key_ = true;
  return *this;
}

JsonWriter& JsonWriter::value(std::string_view text) { return raw(dump_string(text)); }
JsonWriter& JsonWriter::value(double number) { return raw(digits(number)); }
JsonWriter& JsonWriter::value(float number) { return raw(digits(number)); }
JsonWriter& JsonWriter::integer(std::int64_t number) { return raw(std::to_string(number)); }
JsonWriter& JsonWriter::natural(std::uint64_t number) { return raw(std::to_string(number)); }

JsonWriter& JsonWriter::raw(std::string_view json) {
  before_value();
  text_ += json;
  return *this;
}

const std::string& JsonWriter::str() const {
  if (!levels_.empty() || text_.empty())
    throw std::logic_error("JsonWriter: the value is not finished");
  return text_;
}

void JsonWriter::before_value() {
  if (levels_.empty()) {
    if (!text_.empty()) throw std::logic_error("JsonWriter: one value only");
    return;
  }
  if (levels_.back().bracket == '{') {
    if (!after_key_) throw std::logic_error("JsonWriter: a value in an object needs a key");
    after_key_ = false;
    return;
  }
  if (!levels_.back().empty) text_ += indent_ < 0 ? ", " : ",";
  levels_.back().empty = false;
  new_line();
}

void JsonWriter::open(char bracket) {
  before_value();
  text_ += bracket;
  levels_.push_back({bracket});
}

void JsonWriter::close(char open, char bracket) {
  if (levels_.empty() || levels_.back().bracket != open || after_key_)
    throw std::logic_error("JsonWriter: nothing to end here");
  bool empty = levels_.back().empty;
  levels_.pop_back();
  if (!empty) new_line();
  text_ += bracket;
}

void JsonWriter::new_line() {
  if (indent_ < 0) return;
  text_ += '\n';
  text_.append(levels_.size() * static_cast<std::size_t>(indent_), ' ');
}

}  // namespace mlxcpp::io
