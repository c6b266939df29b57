// Safetensors files made by hand.
#pragma once

#include "mlxcpp/io/safetensors.h"

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace mlxcpp::test {

struct Entry {
  std::string name, dtype, shape;  // shape as JSON: "[2, 3]"
  std::string bytes;
};

inline std::string safetensors_of(const std::vector<Entry>& entries) {
  std::string header = "{", data;
  for (auto& e : entries) {
    header += (header.size() > 1 ? ", \"" : "\"") + e.name + R"(": {"dtype": ")" + e.dtype +
              R"(", "shape": )" + e.shape + R"(, "data_offsets": [)" + std::to_string(data.size()) +
              ", " + std::to_string(data.size() + e.bytes.size()) + "]}";
    data += e.bytes;
  }
  header += "}";
  std::uint64_t length = header.size();
  std::string size(8, '\0');
  std::memcpy(size.data(), &length, 8);
  return size + header + data;
}

inline std::string shape_text(const std::vector<int>& shape) {
  std::string text;
  for (int extent : shape) text += (text.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + text + "]";
}

template <class T>
Entry entry(const std::string& name,
            const std::string& dtype,
            const std::vector<int>& shape,
            const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return {name, dtype, shape_text(shape), bytes};
}

/// Zeros.
inline Entry blank(const std::string& name, const std::string& dtype, std::vector<int> shape) {
  size_t bytes = size_t(io::bits_of_dtype(dtype) / 8);
  for (int extent : shape) bytes *= size_t(extent);
  return entry(name, dtype, shape, std::vector<char>(bytes));
}

}  // namespace mlxcpp::test
