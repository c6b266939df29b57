// Any bytes are a GGUF header or a WeightError; every tensor lies inside them and can be read.
#include "mlxcpp/io/gguf.h"

#include "mlxcpp/base/error.h"

#include <cstdlib>

namespace {

template <class T>
void get(const mlxcpp::io::Gguf& gguf, std::string_view key) {
  try {
    gguf.find<T>(key);
  } catch (const mlxcpp::WeightError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    auto gguf = mlxcpp::io::Gguf::parse(std::as_bytes(std::span(data, size)));
    unsigned sum = 0;
    for (const auto& t : gguf.tensors())
      for (std::byte b : t.bytes) sum += std::to_integer<unsigned>(b);
    if (sum == 0xFFFFFFFF) std::abort();  // so that the reads are not left out
    for (const auto& entry : gguf.metadata()) {
      get<bool>(gguf, entry.key);
      get<int>(gguf, entry.key);
      get<std::uint64_t>(gguf, entry.key);
      get<float>(gguf, entry.key);
      get<std::string>(gguf, entry.key);
      get<std::vector<bool>>(gguf, entry.key);
      get<std::vector<int>>(gguf, entry.key);
      get<std::vector<float>>(gguf, entry.key);
      get<std::vector<std::string>>(gguf, entry.key);
    }
  } catch (const mlxcpp::WeightError&) {
  }
  return 0;
}
