// Reads the header of a GGUF file, version 2 or 3: typed metadata and where each tensor lies.
// Source: ggml docs/gguf.md.  Differs: big-endian files and lists of lists are refused (as in
// ggml). Every count, length and offset is checked against the file before it is used.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

namespace mlxcpp::io {

class MappedFile;

/// Formats of tensors, with ggml's numbers.
enum class GgmlType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  q8_k = 15,
  iq2_xxs = 16,
  iq2_xs = 17,
  iq3_xxs = 18,
  iq1_s = 19,
  iq4_nl = 20,
  iq3_s = 21,
  iq2_s = 22,
  iq4_xs = 23,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  iq1_m = 29,
  bf16 = 30,
  tq1_0 = 34,
  tq2_0 = 35,
  mxfp4 = 39,
  nvfp4 = 40,
  q1_0 = 41,
};

/// A row of block_size elements takes block_bytes.
struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;  // "Q4_K", as ggml prints it
  std::uint32_t block_size;
  std::uint32_t block_bytes;
};

/// Nothing for a number that no known format has.
const GgmlTypeInfo* find_ggml_type(std::uint32_t id);
/// "Q4_K".
std::string_view name_of(GgmlType type);

struct GgufTensor {
  std::string_view name;
  GgmlType type;
  std::vector<std::int64_t> dims;   // ggml's order: the contiguous dimension first
  std::vector<std::int64_t> shape;  // row-major order, as MLX and numpy have it: dims reversed
  std::span<const std::byte> bytes;
};

/// A list keeps its bytes in the file; Gguf::find converts them.
struct GgufList {
  std::uint32_t element_type;  // the format's number of the element's type
  std::uint64_t size;
  std::span<const std::byte> numbers;     // little-endian; empty for a list of strings
  std::vector<std::string_view> strings;  // may be ill-formed UTF-8
};

using GgufValue =
    std::variant<std::int64_t, std::uint64_t, double, bool, std::string_view, GgufList>;

struct GgufEntry {
  std::string_view key;
  GgufValue value;
};

/// What metadata can be read as.
using GgufTarget = std::variant<bool*,
                                int*,
                                std::int64_t*,
                                std::uint32_t*,
                                std::uint64_t*,
                                float*,
                                double*,
                                std::string*,
                                std::string_view*,
                                std::vector<bool>*,
                                std::vector<int>*,
                                std::vector<float>*,
                                std::vector<std::string>*,
                                std::vector<std::string_view>*>;

/// Views stay valid as long as this object or a copy of it lives.
class Gguf {
 public:
  /// Throws WeightError naming the file and what is wrong in it; IoError when it can not be read.
  static Gguf open(const std::filesystem::path& path);
  /// The same over bytes that the caller keeps.  `label` opens messages.
  static Gguf parse(std::span<const std::byte> bytes, std::string label = "gguf");

  std::uint32_t version() const { return version_; }
  std::uint32_t alignment() const { return alignment_; }
  const std::string& label() const { return label_; }
  /// All that follows the header: where tensors lie.
  std::span<const std::byte> data() const { return data_; }

  /// In the file's order.
  const std::vector<GgufEntry>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;

  bool has(std::string_view key) const;
  /// Nothing when absent; WeightError when the value is of another kind or does not fit.  An
  /// integer may fill a float.  A std::string is checked to be UTF-8, a std::string_view is not.
  template <class T>
  std::optional<T> find(std::string_view key) const {
    T value{};
    if (!read(key, &value)) return {};
    return value;
  }
  /// WeightError when absent.
  template <class T>
  T need(std::string_view key) const {
    T value{};
    if (!read(key, &value)) fail_missing(key);
    return value;
  }

  /// Owns the bytes, for tensors that outlive this object; null after parse().
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  friend class GgufParser;
  bool read(std::string_view key, GgufTarget out) const;
  [[noreturn]] void fail_missing(std::string_view key) const;

  std::shared_ptr<const MappedFile> file_;
  std::string label_;
  std::uint32_t version_ = 0;
  std::uint32_t alignment_ = 32;
  std::span<const std::byte> data_;
  std::vector<GgufEntry> metadata_;
  std::vector<GgufTensor> tensors_;
  std::unordered_map<std::string_view, std::size_t> by_key_;
  std::unordered_map<std::string_view, std::size_t> by_name_;
};

}  // namespace mlxcpp::io
