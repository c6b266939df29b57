// What the tests of io share: a folder that goes away, bytes by hand, messages of errors.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::io::testing {

class TempFolder {
 public:
  TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mlxcpp-io-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(std::string_view name) const { return path_ / name; }
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path put(std::string_view name, std::string_view bytes) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << bytes;
    return path_ / name;
  }
  /// Names in the folder, sorted, joined by spaces.
  std::string listing() const {
    std::vector<std::string> names;
    for (const auto& e : std::filesystem::directory_iterator(path_))
      names.push_back(e.path().filename().string());
    std::sort(names.begin(), names.end());
    std::string all;
    for (const auto& n : names) all.append(all.empty() ? "" : " ").append(n);
    return all;
  }

 private:
  std::filesystem::path path_;
};

inline std::string slurp(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

/// Sets or unsets an environment variable until the end of the test.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, had_ = true;
    if (value)
      ::setenv(name, value, 1);
    else
      ::unsetenv(name);
  }
  ~Environment() {
    if (had_)
      ::setenv(name_.c_str(), old_.c_str(), 1);
    else
      ::unsetenv(name_.c_str());
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::string name_, old_;
  bool had_ = false;
};

/// The message of the E that `call` throws.  Another exception goes on and fails the test.
template <class E, class Call>
std::string message_of(Call call) {
  try {
    call();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

/// `all` with each `from` replaced.
inline std::string replaced(std::string all, std::string_view from, std::string_view to) {
  for (std::size_t at = 0; (at = all.find(from, at)) != all.npos; at += to.size())
    all.replace(at, from.size(), to);
  return all;
}

/// "a,b,c".
template <class List>
std::string joined(const List& list) {
  std::ostringstream text;
  for (const auto& item : list) text << (text.tellp() > 0 ? "," : "") << item;
  return text.str();
}

/// Little-endian bytes, appended one after the other.
class Bytes {
 public:
  template <class T>
  Bytes& put(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    text_.append(raw, sizeof(T));
    return *this;
  }
  Bytes& text(std::string_view text) {
    text_.append(text);
    return *this;
  }
  /// Length in 8 bytes, then the text.
  Bytes& string(std::string_view text) { return put<std::uint64_t>(text.size()).text(text); }
  Bytes& zeros(std::size_t n) {
    text_.append(n, '\0');
    return *this;
  }
  Bytes& align(std::size_t n) { return zeros((n - text_.size() % n) % n); }
  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

/// A copy on the heap of exactly this size, so that the sanitizer sees a read beyond its end.
class ExactBytes {
 public:
  explicit ExactBytes(std::string_view text) : bytes_(text.size()) {
    bytes_.shrink_to_fit();
    if (!text.empty()) std::memcpy(bytes_.data(), text.data(), text.size());
  }
  std::span<const std::byte> span() const { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// CRC-32 as zlib has it, bit by bit.
inline std::uint32_t crc32(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xFFFFFFFF;
  for (std::byte b : bytes) {
    crc ^= std::to_integer<std::uint32_t>(b);
    for (int i = 0; i < 8; ++i) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  return ~crc;
}

}  // namespace mlxcpp::io::testing
