#include "mlxcpp/io/safetensors.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/numbers.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_set>
#include <utility>

namespace mlxcpp::io {

static_assert(std::endian::native == std::endian::little, "safetensors are read as they lie");

namespace {
using nlohmann::json;

constexpr std::size_t kMaxRank = 32;

struct DtypeBits {
  std::string_view name;
  int bits;
};
constexpr DtypeBits kDtypes[] = {
    {"BOOL", 8},        {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},
    {"I8", 8},          {"F8_E5M2", 8}, {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"F8_E4M3FNUZ", 8},
    {"F8_E5M2FNUZ", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16},    {"BF16", 16},
    {"I32", 32},        {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},
    {"I64", 64},        {"U64", 64},
};

const DtypeBits* find_dtype(std::string_view name) {
  auto it = std::ranges::find(kDtypes, name, &DtypeBits::name);
  return it == std::end(kDtypes) ? nullptr : it;
}

std::string str(std::uint64_t n) { return std::to_string(n); }

// Takes the header in one pass, without a tree of it: at 100 MB a tree would take gigabytes.
// {"<name>": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {...}}
class HeaderReader final : public nlohmann::json_sax<json> {
 public:
  HeaderReader(const std::string& label, Safetensors& out) : label_(label), out_(out) {}

  bool start_object(std::size_t) override {
    if (place_ == Place::start) return go(Place::top);
    if (place_ != Place::name) unexpected("object");
    if (name_ == "__metadata__") return go(Place::metadata);
    tensor_ = {name_, {}, {}, 0, 0};
    has_dtype_ = has_shape_ = has_offsets_ = false;
    return go(Place::tensor);
  }

  bool end_object() override {
    if (place_ == Place::top) return go(Place::end);
    if (place_ == Place::tensor) finish_tensor();
    return go(Place::top);
  }

  bool key(string_t& key) override {
    if (place_ == Place::top) {
      if (!names_.insert(key).second) fail("tensor " + printable(key), "name given twice");
      name_ = std::move(key);
      return go(Place::name);
    }
    if (place_ == Place::metadata) {
      if (out_.metadata.contains(key)) fail("__metadata__." + printable(key), "key given twice");
      key_ = std::move(key);
      return go(Place::metadata_value);
    }
    key_ = std::move(key);
    if (key_ == "dtype") return first(has_dtype_), go(Place::dtype);
    if (key_ == "shape") return first(has_shape_), go(Place::before_shape);
    if (key_ == "data_offsets") return first(has_offsets_), go(Place::before_offsets);
    fail(where(), "unknown key", "dtype, shape, data_offsets", printable(key_));
  }

  bool string(string_t& text) override {
    if (place_ == Place::metadata_value) {
      out_.metadata.emplace(std::move(key_), std::move(text));
      return go(Place::metadata);
    }
    if (place_ != Place::dtype) unexpected("string");
    const DtypeBits* dtype = find_dtype(text);
    if (!dtype) fail(where(), "unknown dtype " + printable(text));
    tensor_.dtype = dtype->name;
    return go(Place::tensor);
  }

  bool start_array(std::size_t) override {
    if (place_ == Place::before_shape) return go(Place::shape);
    if (place_ == Place::before_offsets) return offset_count_ = 0, go(Place::offsets);
    unexpected("list");
  }

  bool end_array() override {
    if (place_ == Place::offsets && offset_count_ != 2)
      fail(where(), "bad data_offsets", "two numbers", str(offset_count_));
    return go(Place::tensor);
  }

  bool number_unsigned(number_unsigned_t n) override {
    if (n > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
      fail(where(), "number too large", "below 2^63", str(n));
    if (place_ == Place::shape) {
      if (tensor_.shape.size() == kMaxRank)
        fail(where(), "too many dimensions", "at most " + str(kMaxRank));
      tensor_.shape.push_back(static_cast<std::int64_t>(n));
      return true;
    }
    if (place_ != Place::offsets) unexpected("number");
    if (offset_count_ == 0) tensor_.begin = n;
    if (offset_count_ == 1) tensor_.end = n;
    ++offset_count_;
    return true;
  }

  bool number_integer(number_integer_t n) override { unexpected("number " + std::to_string(n)); }
  bool number_float(number_float_t, const string_t&) override { unexpected("fraction"); }
  bool null() override {
    // What MLX writes when it has no metadata to write.
    if (place_ == Place::name && name_ == "__metadata__") return go(Place::top);
    unexpected("null");
  }
  bool boolean(bool) override { unexpected("boolean"); }
  bool binary(binary_t&) override { unexpected("bytes"); }
  bool parse_error(std::size_t at,
                   const std::string&,
                   const nlohmann::detail::exception&) override {
    fail({}, "the header is not JSON at byte " + str(at == 0 ? 0 : at - 1));
  }

 private:
  enum class Place {
    start,
    top,
    name,  // after a name, before its object
    metadata,
    metadata_value,
    tensor,
    dtype,
    before_shape,
    shape,
    before_offsets,
    offsets,
    end
  };

  bool go(Place place) {
    place_ = place;
    return true;
  }

  [[noreturn]] void fail(std::string_view where,
                         std::string_view wrong,
                         std::string_view expected = {},
                         std::string_view found = {}) const {
    std::string place = label_;
    if (!where.empty()) place.append(": ").append(where);
    throw WeightError(describe(place, wrong, expected, found));
  }

  [[noreturn]] void unexpected(std::string_view found) const {
    std::string_view expected = "object";
    if (place_ == Place::metadata_value || place_ == Place::dtype) expected = "string";
    if (place_ == Place::before_shape || place_ == Place::before_offsets) expected = "list";
    if (place_ == Place::shape || place_ == Place::offsets) expected = "number of at least 0";
    fail(where(), "bad header", expected, found);
  }

  std::string where() const {
    switch (place_) {
      case Place::start:
      case Place::top:
      case Place::end: return "header";
      case Place::metadata:
      case Place::metadata_value: return "__metadata__." + printable(key_);
      default: return name_ == "__metadata__" ? name_ : "tensor " + printable(name_);
    }
  }

  void first(bool& seen) {
    if (std::exchange(seen, true)) fail(where(), key_ + " given twice");
  }

  void finish_tensor() {
    if (!has_dtype_ || !has_shape_ || !has_offsets_)
      fail(where(), "incomplete", "dtype, shape, data_offsets");
    out_.tensors.push_back(std::move(tensor_));
  }

  const std::string& label_;
  Safetensors& out_;
  Place place_ = Place::start;
  std::unordered_set<std::string> names_;
  std::string name_, key_;
  SafetensorsTensor tensor_;
  bool has_dtype_ = false, has_shape_ = false, has_offsets_ = false;
  std::size_t offset_count_ = 0;
};

// Bytes that dtype and shape ask for; nothing when they overflow or end inside a byte.
std::optional<std::uint64_t> byte_size(const SafetensorsTensor& t) {
  std::optional<std::uint64_t> bits = static_cast<std::uint64_t>(bits_of_dtype(t.dtype));
  for (std::int64_t n : t.shape)
    if (bits) bits = checked_mul(*bits, static_cast<std::uint64_t>(n));
  if (!bits || *bits % 8 != 0) return {};
  return *bits / 8;
}

void check_places(std::vector<SafetensorsTensor>& tensors,
                  std::uint64_t data_size,
                  const std::string& label) {
  std::sort(tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t at = 0;
  for (const SafetensorsTensor& t : tensors) {
    std::string where = label + ": tensor " + printable(t.name);
    std::string range = str(t.begin) + " to " + str(t.end);
    if (t.end < t.begin || t.end > data_size)
      throw WeightError(describe(
          where, "lies beyond the end of the file", "within " + str(data_size) + " bytes", range));
    auto size = byte_size(t);
    if (!size) throw WeightError(where + ": its size is not a number of bytes below 2^64");
    if (t.end - t.begin != *size)
      throw WeightError(describe(
          where, "shape and data_offsets disagree", str(*size) + " bytes", str(t.end - t.begin)));
    if (t.begin != at)
      throw WeightError(describe(where,
                                 t.begin < at ? "overlaps another tensor" : "leaves a hole before",
                                 "begin at " + str(at),
                                 str(t.begin)));
    at = t.end;
  }
  if (at != data_size)
    throw WeightError(
        describe(label, "bytes after the last tensor", str(at) + " bytes of data", str(data_size)));
}

}  // namespace

int bits_of_dtype(std::string_view dtype) {
  const DtypeBits* known = find_dtype(dtype);
  return known ? known->bits : 0;
}

Safetensors Safetensors::open(const std::filesystem::path& path) {
  auto file = MappedFile::open(path);
  Safetensors result = parse(file->bytes(), path.string());
  result.file = std::move(file);
  return result;
}

Safetensors Safetensors::parse(std::span<const std::byte> bytes, const std::string& label) {
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length)
    throw WeightError(
        describe(label, "not a safetensors file", "at least 8 bytes", str(bytes.size())));
  std::memcpy(&length, bytes.data(), sizeof length);
  std::uint64_t limit =
      std::min<std::uint64_t>(kSafetensorsHeaderLimit, bytes.size() - sizeof length);
  if (length > limit)
    throw WeightError(
        describe(label, "bad header length", "at most " + str(limit) + " bytes", str(length)));
  auto header = bytes.subspan(sizeof length, length);
  if (header.empty() || header[0] != std::byte{'{'})
    throw WeightError(label + ": not a safetensors file: its header does not begin with {");
  Safetensors result;
  result.data = bytes.subspan(sizeof length + length);
  HeaderReader reader(label, result);
  auto* text = reinterpret_cast<const char*>(header.data());
  json::sax_parse(text, text + header.size(), &reader);
  check_places(result.tensors, result.data.size(), label);
  return result;
}

}  // namespace mlxcpp::io
