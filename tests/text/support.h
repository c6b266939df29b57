// What the tests of text share: golden files, a folder that goes away, messages of errors.
#pragma once

#include "mlxcpp/text/tokenizer.h"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::text::testing {

using Json = nlohmann::ordered_json;

inline std::string read(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("no test data at " + path.string());
  return {std::istreambuf_iterator<char>(file), {}};
}

inline std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(MLXCPP_TEST_DATA) / "text" / name;
}

inline Json read_json(const std::string& name) { return Json::parse(read(data(name))); }

inline std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

/// All pieces of a streamed decode, joined; a piece with half a character throws.
inline std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  DecodeStream stream = tokenizer.decode_stream();
  std::string all;
  const auto take = [&](const std::string& piece) {
    (void)Json(piece).dump();  // throws on text that is not UTF-8
    all += piece;
  };
  for (TokenId id : ids) take(stream.step(id));
  take(stream.finish());
  return all;
}

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mlxcpp-text-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }
  void put(const std::string& name, std::string_view bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << bytes;
  }

 private:
  std::filesystem::path path_;
};

/// The message of the E that `f` throws; "no error" if it throws none.
template <class E, class F>
std::string message_of(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace mlxcpp::text::testing
