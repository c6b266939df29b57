// Any bytes are a safetensors header or a WeightError; the tensors cover the data exactly.
#include "mlxcpp/io/safetensors.h"

#include "mlxcpp/base/error.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    auto file = mlxcpp::io::Safetensors::parse(std::as_bytes(std::span(data, size)), "fuzz");
    std::size_t covered = 0;
    unsigned sum = 0;
    for (const auto& t : file.tensors) {
      covered += file.bytes(t).size();
      for (std::byte b : file.bytes(t)) sum += std::to_integer<unsigned>(b);
    }
    if (covered != file.data.size() || sum == 0xFFFFFFFF) std::abort();
  } catch (const mlxcpp::WeightError&) {
  }
  return 0;
}
