#include "mlxcpp/io/npy.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/numbers.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <optional>

namespace mlxcpp::io {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kMaxDims = 32;

struct Kind {
  std::string_view descr;  // without the byte order
  std::string_view dtype;
  std::uint64_t size;
};
constexpr Kind kKinds[] = {{"b1", "bool", 1},
                           {"u1", "uint8", 1},
                           {"u2", "uint16", 2},
                           {"u4", "uint32", 4},
                           {"u8", "uint64", 8},
                           {"i1", "int8", 1},
                           {"i2", "int16", 2},
                           {"i4", "int32", 4},
                           {"i8", "int64", 8},
                           {"f2", "float16", 2},
                           {"f4", "float32", 4},
                           {"V2", "bfloat16", 2}};  // MLX writes bfloat16 so

/// The little of Python's literals that a header is made of.
class Literals {
 public:
  Literals(std::string_view text, const std::string& label) : rest_(text), label_(label) {}

  [[noreturn]] void fail(const std::string& expected) const {
    throw WeightError(describe(label_, "malformed .npy header", expected, shown()));
  }
  bool take(std::string_view word) {
    skip_space();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  void need(std::string_view word) {
    if (!take(word)) fail("'" + std::string(word) + "'");
  }
  std::string_view string() {
    skip_space();
    char quote = rest_.empty() ? '\0' : rest_[0];
    auto end = quote == '\'' || quote == '"' ? rest_.find(quote, 1) : rest_.npos;
    if (end == rest_.npos) fail("a string");
    auto text = rest_.substr(1, end - 1);
    rest_.remove_prefix(end + 1);
    return text;
  }
  bool boolean() {
    if (take("True")) return true;
    if (take("False")) return false;
    fail("True or False");
  }
  std::int64_t extent() {
    skip_space();
    std::int64_t n = -1;
    auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), n);
    if (error != std::errc() || n < 0) fail("an extent");
    rest_.remove_prefix(size_t(end - rest_.data()));
    return n;
  }
  /// (), (5,), (2, 3) with or without a last comma; (5) is a number, not a shape.
  std::vector<std::int64_t> shape() {
    std::vector<std::int64_t> extents;
    need("(");
    bool comma = true;
    while (!take(")")) {
      if (!comma) fail("',' or ')'");
      if (extents.size() == kMaxDims) fail("at most 32 extents");
      extents.push_back(extent());
      comma = take(",");
    }
    if (extents.size() == 1 && !comma) fail("a tuple, such as (5,)");
    return extents;
  }
  void end() {
    skip_space();
    if (!rest_.empty()) fail("the end of the header");
  }

 private:
  void skip_space() {
    auto at = rest_.find_first_not_of(" \n");
    rest_.remove_prefix(at == rest_.npos ? rest_.size() : at);
  }
  std::string shown() const {
    return rest_.empty() ? "its end" : "\"" + clean(rest_.substr(0, 20)) + "\"";
  }
  static std::string clean(std::string_view text) {
    std::string out(text);
    std::ranges::replace_if(
        out, [](char c) { return c < ' ' || c > '~'; }, '?');
    return out;
  }

  std::string_view rest_;
  const std::string& label_;
};

void set_dtype(Npy& npy, std::string_view descr, const std::string& label) {
  char order = descr.empty() ? '\0' : descr[0];
  for (auto& kind : kKinds) {
    if (descr.size() < 2 || descr.substr(1) != kind.descr) continue;
    bool bytes_only = order == '|' && (kind.size == 1 || kind.dtype == "bfloat16");
    if (!bytes_only && order != '<' && order != '>') break;
    npy.dtype = kind.dtype, npy.item_size = kind.size, npy.big_endian = order == '>';
    return;
  }
  std::string found(descr.substr(0, 20));
  std::ranges::replace_if(
      found, [](char c) { return c < ' ' || c > '~'; }, '?');
  throw WeightError(describe(label,
                             "dtype not supported",
                             "f4, f2, V2 (bfloat16), an integer or b1",
                             "\"" + found + "\""));
}

Npy parse_dict(std::string_view text, const std::string& label) {
  Npy npy{};
  std::optional<std::string_view> descr;
  std::optional<bool> fortran;
  std::optional<std::vector<std::int64_t>> shape;
  Literals in(text, label);
  in.need("{");
  bool comma = true;
  while (!in.take("}")) {
    if (!comma) in.fail("',' or '}'");
    auto key = in.string();
    in.need(":");
    if (key == "descr" && !descr)
      descr = in.string();
    else if (key == "fortran_order" && !fortran)
      fortran = in.boolean();
    else if (key == "shape" && !shape)
      shape = in.shape();
    else
      in.fail("descr, fortran_order and shape, once each");
    comma = in.take(",");
  }
  in.end();
  if (!descr || !fortran || !shape) in.fail("descr, fortran_order and shape");
  set_dtype(npy, *descr, label);
  npy.fortran_order = *fortran;
  npy.shape = std::move(*shape);
  return npy;
}

}  // namespace

Npy Npy::parse(std::span<const std::byte> start,
               std::uint64_t file_bytes,
               const std::string& label) {
  std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  auto byte = [&](size_t i) { return std::uint64_t(static_cast<unsigned char>(text[i])); };
  if (!text.starts_with(kMagic) || text.size() < 10)
    throw WeightError(describe(label, "not a .npy file", "NumPy's magic bytes"));
  std::uint64_t major = byte(6), minor = byte(7), begin = major == 1 ? 10 : 12;
  if (major < 1 || major > 3 || minor != 0 || text.size() < begin)
    throw WeightError(describe(label,
                               ".npy version not supported",
                               "1.0, 2.0 or 3.0",
                               std::to_string(major) + "." + std::to_string(minor)));
  std::uint64_t length = byte(8) | byte(9) << 8;
  if (major > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > kNpyHeaderLimit || length > text.size() - begin)
    throw WeightError(describe(
        label,
        ".npy header too long",
        "at most " + std::to_string(std::min<std::uint64_t>(kNpyHeaderLimit, text.size() - begin)) +
            " bytes",
        std::to_string(length)));
  Npy npy = parse_dict(text.substr(begin, length), label);
  npy.data_begin = begin + length;
  std::optional<std::uint64_t> bytes = npy.item_size;
  for (auto extent : npy.shape)
    if (bytes) bytes = checked_mul(*bytes, std::uint64_t(extent));
  if (!bytes || file_bytes < npy.data_begin || *bytes != file_bytes - npy.data_begin)
    throw WeightError(describe(label,
                               "data do not fit the shape",
                               bytes ? std::to_string(*bytes) + " bytes" : "fewer bytes than 2^64",
                               std::to_string(file_bytes - std::min(file_bytes, npy.data_begin))));
  npy.data_bytes = *bytes;
  return npy;
}

}  // namespace mlxcpp::io
