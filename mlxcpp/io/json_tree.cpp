#include "mlxcpp/io/detail/json_tree.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/json.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace mlxcpp::io::detail {
namespace {
using nlohmann::json;

constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kReasonLimit = 200;  // of what the library says

// Replaces each bare NaN and Infinity by a JSON string of the same length, so that positions in
// messages stay right.  Returns whether there was one.
bool quote_non_finite(std::string& text) {
  bool found = false, in_string = false;
  auto replace = [&](std::size_t at, std::string_view word, std::string_view by) {
    if (text.compare(at, word.size(), word) != 0) return;
    text.replace(at, word.size(), by);
    found = true;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"') in_string = !in_string;
    if (in_string) {
      if (c == '\\') ++i;
      continue;
    }
    if (c == 'I') replace(i, "Infinity", R"("\u0000")");
    if (c == '-') replace(i, "-Infinity", R"("\u0000-")");
    if (c == 'N') replace(i, "NaN", "\"\x7F\"");
    if (text[i] == '"' && c != '"') in_string = true;  // step over what was just put there
  }
  return found;
}

std::string line_and_column(std::string_view text, std::size_t position) {
  std::string_view before = text.substr(0, position == 0 ? 0 : std::min(position - 1, text.size()));
  std::size_t line_start = before.rfind('\n') + 1;  // npos + 1 is 0
  auto line = 1 + std::count(before.begin(), before.end(), '\n');
  auto column = 1 + std::count_if(before.begin() + line_start, before.end(), [](char c) {
                  return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // characters, not bytes
                });
  return "line " + std::to_string(line) + ", column " + std::to_string(column);
}

// The library's message without its position and the text last read, which may be very long.
std::string reason(std::string_view what) {
  if (what.find("out_of_range") != what.npos) return "number out of range";
  if (auto start = what.find(": "); start != what.npos) what.remove_prefix(start + 2);
  auto last_read = what.find("; last read");
  if (last_read == what.npos) return printable(what, kReasonLimit);
  std::string_view expected;
  if (auto tail = what.rfind("'; expected "); tail != what.npos && tail > last_read)
    expected = what.substr(tail + 1);
  return printable(std::string(what.substr(0, last_read)) + std::string(expected), kReasonLimit);
}

class TreeBuilder final : public nlohmann::json_sax<json> {
 public:
  TreeBuilder(std::string_view text, const std::string& label) : text_(text), label_(label) {}
  json take() { return std::move(root_); }

  bool null() override { return add(nullptr), true; }
  bool boolean(bool v) override { return add(v), true; }
  bool number_integer(number_integer_t v) override { return add(v), true; }
  bool number_unsigned(number_unsigned_t v) override { return add(v), true; }
  bool number_float(number_float_t v, const string_t&) override { return add(v), true; }
  bool string(string_t& v) override { return add(std::move(v)), true; }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return push(json::object()), true; }
  bool start_array(std::size_t) override { return push(json::array()), true; }
  bool end_object() override { return open_.pop_back(), true; }
  bool end_array() override { return open_.pop_back(), true; }

  bool key(string_t& name) override {
    Open& object = open_.back();
    object.key = name;
    auto [slot, is_new] = object.value->emplace(name, nullptr);
    if (!is_new) throw ConfigError(path() + ": key given twice");
    object.slot = &*slot;
    return true;
  }

  bool parse_error(std::size_t at,
                   const std::string&,
                   const nlohmann::detail::exception& e) override {
    throw ConfigError(label_ + ": " + line_and_column(text_, at) + ": " + reason(e.what()));
  }

 private:
  struct Open {
    json* value;
    json* slot = nullptr;  // of an object: where the value after the key goes
    std::string key;
  };

  json* add(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Open& parent = open_.back();
    if (parent.value->is_object()) return &(*parent.slot = std::move(value));
    parent.value->push_back(std::move(value));
    return &parent.value->back();
  }

  void push(json container) {
    if (open_.size() == kMaxDepth)
      throw ConfigError(label_ + ": nested deeper than " + std::to_string(kMaxDepth) + " levels");
    open_.push_back({add(std::move(container)), nullptr, {}});
  }

  std::string path() const {
    std::string path = label_;
    for (const Open& o : open_)
      path += o.value->is_object() ? "." + printable(o.key)
                                   : "[" + std::to_string(o.value->size() - 1) + "]";
    return path;
  }

  std::string_view text_;
  const std::string& label_;
  json root_;
  std::vector<Open> open_;
};

}  // namespace

JsonTree parse_json(std::string_view text, const std::string& label) {
  JsonTree tree;
  std::string quoted(text);
  tree.has_non_finite = quote_non_finite(quoted);
  TreeBuilder builder(quoted, label);
  json::sax_parse(quoted.begin(), quoted.end(), &builder);
  tree.root = builder.take();
  return tree;
}

}  // namespace mlxcpp::io::detail
