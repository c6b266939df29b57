// Any text is a JSON object or a ConfigError, and every read of it gives a value or a ConfigError.
#include "mlxcpp/io/fields.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/utf8.h"

#include <cstdlib>

namespace {

using mlxcpp::io::Fields;

// A message is shown to people: one line of UTF-8.
void check(const mlxcpp::ConfigError& e) {
  std::string_view text = e.what();
  if (!mlxcpp::io::is_utf8(text) || text.find('\n') != text.npos) std::abort();
}

template <class T>
void get(Fields& f, const std::string& key) {
  T value{};
  try {
    f.may(key, &value);
  } catch (const mlxcpp::ConfigError& e) {
    check(e);
  }
}

void read_all(Fields& f) {
  for (const auto& key : f.keys()) {
    get<int>(f, key);
    get<float>(f, key);
    get<std::string>(f, key);
    get<std::vector<int>>(f, key);
    get<std::vector<bool>>(f, key);
    get<std::vector<std::string>>(f, key);
    get<std::map<std::string, std::string>>(f, key);
    try {
      std::vector<float> numbers;
      f.may_unbounded(key, &numbers);
    } catch (const mlxcpp::ConfigError& e) {
      check(e);
    }
    if (auto text = f.json_text(key)) Fields::parse("{\"a\": " + *text + "}");
    if (f.type(key) == mlxcpp::io::JsonType::object) {
      auto inner = f.need_object(key);
      read_all(inner);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  Fields fields = [&] {
    try {
      return Fields::parse(text);
    } catch (const mlxcpp::ConfigError& e) {
      check(e);
      return Fields::parse("{}");
    }
  }();
  fields.unread();
  read_all(fields);
  if (!fields.unread().empty()) std::abort();
  return 0;
}
