// Reads the header of a safetensors file and says where each tensor lies.
// Source: safetensors 0.8 (safetensors/src/tensor.rs).  Differs: keys that are written twice are
// refused instead of the last one winning; more than 32 dimensions are refused.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::io {

class MappedFile;

/// The format's own bound for the JSON header.
inline constexpr std::uint64_t kSafetensorsHeaderLimit = 100'000'000;

struct SafetensorsTensor {
  std::string name;
  std::string_view dtype;  // the format's word, known to be one of its list: "F32", "BF16", ...
  std::vector<std::int64_t> shape;
  std::uint64_t begin;  // within the data, which starts after the header
  std::uint64_t end;
};

struct Safetensors {
  /// Throws WeightError naming the file and tensor; IoError when it can not be read.
  /// The format's rule holds afterwards: sorted by begin, the tensors cover the data without holes
  /// or overlaps, and each length is its shape's product times its dtype's width.
  static Safetensors open(const std::filesystem::path& path);
  /// The same over bytes that the caller keeps.  `label` opens messages.
  static Safetensors parse(std::span<const std::byte> bytes, const std::string& label);

  std::span<const std::byte> bytes(const SafetensorsTensor& t) const {
    return data.subspan(t.begin, t.end - t.begin);
  }

  std::vector<SafetensorsTensor> tensors;  // sorted by begin
  std::map<std::string, std::string> metadata;
  std::span<const std::byte> data;
  std::shared_ptr<const MappedFile> file;  // owns the bytes; null after parse()
};

/// Bits of one element of a dtype of the format; 0 for an unknown word.
int bits_of_dtype(std::string_view dtype);

}  // namespace mlxcpp::io
