#include "mlxcpp/io/gguf.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/numbers.h"
#include "mlxcpp/io/detail/gguf_format.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/io/utf8.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

namespace mlxcpp::io {

static_assert(std::endian::native == std::endian::little, "GGUF is read as it lies in the file");

using detail::GgufType;

namespace {

constexpr std::uint64_t kMaxNameLength = 65535;  // the format's bound for keys
constexpr std::uint32_t kMaxDims = 8;            // ggml has 4, gguflib (MLX's writer) 8
// The least that an entry can take: a name's length, its type and one byte of value; a name's
// length, the number of dimensions, type and offset.
constexpr std::uint64_t kMinEntryBytes = 8 + 4 + 1;
constexpr std::uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;

std::string str(std::uint64_t n) { return std::to_string(n); }

}  // namespace

/// Reads front to back; every read checks what is left.
class GgufParser {
 public:
  GgufParser(std::span<const std::byte> bytes, Gguf& out) : bytes_(bytes), out_(out) {}

  void parse() {
    read_header();
    for (std::uint64_t i = 0; i < metadata_count_; ++i) read_entry();
    read_alignment();
    for (std::uint64_t i = 0; i < tensor_count_; ++i) read_tensor();
    find_data();
    place_tensors();
  }

 private:
  struct Place {
    std::uint64_t offset;
    std::uint64_t size;
  };

  [[noreturn]] void fail(std::string_view where,
                         std::string_view wrong,
                         std::string_view expected = {},
                         std::string_view found = {}) const {
    std::string place = out_.label_;
    if (!where.empty()) place.append(": ").append(where);
    throw WeightError(describe(place, wrong, expected, found));
  }

  std::uint64_t left() const { return bytes_.size() - at_; }

  std::span<const std::byte> take(std::uint64_t n, std::string_view what) {
    if (n > left()) fail(what, "truncated", str(n) + " bytes", str(left()));
    auto part = bytes_.subspan(at_, n);
    at_ += n;
    return part;
  }

  template <class T>
  T number(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  std::string_view string(std::string_view what) {
    auto length = number<std::uint64_t>(what);
    auto part = take(length, what);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }

  std::string_view name(std::string_view what) {
    std::string_view name = string(what);
    if (name.empty() || name.size() > kMaxNameLength)
      fail(what, "bad name", "1 to " + str(kMaxNameLength) + " bytes", str(name.size()));
    if (!is_utf8(name)) fail(what, "the name is not UTF-8");
    return name;
  }

  std::uint64_t count(std::string_view what, std::uint64_t least_bytes) {
    auto n = number<std::uint64_t>(what);
    if (n > left() / least_bytes)
      fail(what, "more than the file can hold", "at most " + str(left() / least_bytes), str(n));
    return n;
  }

  void read_header() {
    auto magic = take(std::min<std::uint64_t>(4, left()), "magic");
    if (magic.size() != 4 || std::memcmp(magic.data(), "GGUF", 4) != 0) fail({}, "not a GGUF file");
    out_.version_ = number<std::uint32_t>("version");
    if (out_.version_ != 2 && out_.version_ != 3) {
      bool swapped = out_.version_ != 0 && (out_.version_ & 0xFFFFFF) == 0;
      fail(
          "version", "not supported", "2 or 3", swapped ? "a big-endian file" : str(out_.version_));
    }
    // The tensor count comes first, but both counts share what is left after them.
    tensor_count_ = count("tensor count", kMinTensorBytes);
    metadata_count_ = count("metadata count", kMinEntryBytes);
  }

  void read_entry() {
    std::string_view key = name("metadata " + str(out_.metadata_.size()));
    std::string where = "metadata " + printable(key);
    auto type = static_cast<GgufType>(number<std::uint32_t>(where));
    GgufValue value = read_value(type, where);
    if (!out_.by_key_.emplace(key, out_.metadata_.size()).second) fail(where, "key given twice");
    out_.metadata_.push_back({key, std::move(value)});
  }

  GgufValue read_value(GgufType type, std::string_view where) {
    switch (type) {
      case GgufType::uint8: return std::uint64_t{number<std::uint8_t>(where)};
      case GgufType::int8: return std::int64_t{number<std::int8_t>(where)};
      case GgufType::uint16: return std::uint64_t{number<std::uint16_t>(where)};
      case GgufType::int16: return std::int64_t{number<std::int16_t>(where)};
      case GgufType::uint32: return std::uint64_t{number<std::uint32_t>(where)};
      case GgufType::int32: return std::int64_t{number<std::int32_t>(where)};
      case GgufType::uint64: return number<std::uint64_t>(where);
      case GgufType::int64: return number<std::int64_t>(where);
      case GgufType::float32: return double{number<float>(where)};
      case GgufType::float64: return number<double>(where);
      case GgufType::boolean: return read_flag(where);
      case GgufType::string: return string(where);
      case GgufType::list: return read_list(where);
    }
    fail(where, "unknown value type", "0 to 12", str(static_cast<std::uint32_t>(type)));
  }

  bool read_flag(std::string_view where) {
    auto byte = number<std::uint8_t>(where);
    if (byte > 1) fail(where, "not a boolean", "0 or 1", str(byte));
    return byte == 1;
  }

  GgufList read_list(std::string_view where) {
    auto type = static_cast<GgufType>(number<std::uint32_t>(where));
    GgufList list{static_cast<std::uint32_t>(type), 0, {}, {}};
    if (type == GgufType::string) {
      list.size = count(where, 8);
      for (std::uint64_t i = 0; i < list.size; ++i) list.strings.push_back(string(where));
      return list;
    }
    if (type == GgufType::list) fail(where, "a list of lists is not supported");
    std::uint64_t width = size_of(type);
    if (width == 0)
      fail(where, "unknown element type", "0 to 12", str(static_cast<std::uint32_t>(type)));
    list.size = count(where, width);
    list.numbers = take(list.size * width, where);
    if (type == GgufType::boolean)
      for (std::byte b : list.numbers)
        if (b > std::byte{1}) fail(where, "not a boolean", "0 or 1", str(std::to_integer<int>(b)));
    return list;
  }

  void read_alignment() {
    out_.alignment_ = out_.find<std::uint32_t>("general.alignment").value_or(32);
    if (!std::has_single_bit(out_.alignment_))
      fail("metadata general.alignment", "bad value", "a power of two", str(out_.alignment_));
  }

  void read_tensor() {
    std::string_view tensor_name = name("tensor " + str(out_.tensors_.size()));
    std::string where = "tensor " + printable(tensor_name);
    auto dim_count = number<std::uint32_t>(where);
    if (dim_count > kMaxDims)
      fail(where, "too many dimensions", "at most " + str(kMaxDims), str(dim_count));
    GgufTensor tensor{tensor_name, {}, {}, {}, {}};
    for (std::uint32_t i = 0; i < dim_count; ++i)
      tensor.dims.push_back(extent(number<std::uint64_t>(where), where));
    tensor.shape.assign(tensor.dims.rbegin(), tensor.dims.rend());
    auto type_id = number<std::uint32_t>(where);
    const GgmlTypeInfo* info = find_ggml_type(type_id);
    if (!info) fail(where, "unknown tensor type " + str(type_id));
    tensor.type = info->type;
    auto offset = number<std::uint64_t>(where);
    places_.push_back({offset, byte_size(tensor, *info, where)});
    if (!out_.by_name_.emplace(tensor_name, out_.tensors_.size()).second)
      fail(where, "name given twice");
    out_.tensors_.push_back(std::move(tensor));
  }

  std::int64_t extent(std::uint64_t n, std::string_view where) const {
    if (n == 0 || n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail(where, "bad dimension", "at least 1 and below 2^63", str(n));
    return static_cast<std::int64_t>(n);
  }

  std::uint64_t byte_size(const GgufTensor& t, const GgmlTypeInfo& info, std::string_view where) {
    std::uint64_t row = t.dims.empty() ? 1 : static_cast<std::uint64_t>(t.dims[0]);
    if (row % info.block_size != 0)
      fail(where,
           "rows do not fill blocks of " + std::string(info.name),
           "a multiple of " + str(info.block_size),
           str(row));
    std::optional<std::uint64_t> bytes = checked_mul(row / info.block_size, info.block_bytes);
    for (std::size_t i = 1; bytes && i < t.dims.size(); ++i)
      bytes = checked_mul(*bytes, static_cast<std::uint64_t>(t.dims[i]));
    if (!bytes) fail(where, "its size does not fit 64 bits");
    return *bytes;
  }

  void find_data() {
    std::uint64_t padding = (out_.alignment_ - at_ % out_.alignment_) % out_.alignment_;
    // A file without tensors may end with its header.
    out_.data_ = bytes_.subspan(at_ + std::min(padding, left()));
  }

  void place_tensors() {
    for (std::size_t i = 0; i < places_.size(); ++i) {
      auto [offset, size] = places_[i];
      GgufTensor& tensor = out_.tensors_[i];
      std::string where = "tensor " + printable(tensor.name);
      if (offset % out_.alignment_ != 0)
        fail(where, "bad offset", "a multiple of " + str(out_.alignment_), str(offset));
      if (offset > out_.data_.size() || size > out_.data_.size() - offset)
        fail(where,
             "lies beyond the end of the file",
             str(size) + " bytes at " + str(offset),
             str(out_.data_.size()) + " bytes of data");
      tensor.bytes = out_.data_.subspan(offset, size);
    }
    std::vector<const GgufTensor*> by_offset;
    for (const GgufTensor& t : out_.tensors_) by_offset.push_back(&t);
    std::sort(by_offset.begin(), by_offset.end(), [](auto* a, auto* b) {
      return a->bytes.data() < b->bytes.data();
    });
    for (std::size_t i = 1; i < by_offset.size(); ++i) {
      const GgufTensor &before = *by_offset[i - 1], &after = *by_offset[i];
      if (before.bytes.data() + before.bytes.size() > after.bytes.data())
        fail("tensor " + printable(after.name), "overlaps tensor " + printable(before.name));
    }
  }

  std::span<const std::byte> bytes_;
  Gguf& out_;
  std::uint64_t at_ = 0;
  std::uint64_t tensor_count_ = 0;
  std::uint64_t metadata_count_ = 0;
  std::vector<Place> places_;
};

Gguf Gguf::open(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  Gguf gguf = parse(file->bytes(), path.string());
  gguf.file_ = std::move(file);
  return gguf;
}

Gguf Gguf::parse(std::span<const std::byte> bytes, std::string label) {
  Gguf gguf;
  gguf.label_ = std::move(label);
  GgufParser(bytes, gguf).parse();
  return gguf;
}

const GgufTensor* Gguf::find_tensor(std::string_view name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : &tensors_[it->second];
}

bool Gguf::has(std::string_view key) const { return by_key_.contains(key); }

}  // namespace mlxcpp::io
