#include "mlxcpp/nn/foreign.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/nn/detail/stored_tensors.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

namespace mlxcpp::nn {
namespace {

using detail::kAny;
using detail::StoredTensors;
using Method = Foreign::Method;

const std::vector<std::string_view> kFloats = {"F16", "BF16", "F32"}, kWords = {"I32", "U32"};

std::string str(std::int64_t n) { return std::to_string(n); }
array u32(std::uint32_t value) { return array(value, mx::uint32); }

/// A row-major copy of the transpose.
array transposed(const array& a) { return mx::contiguous(mx::transpose(a)); }

/// Each word's fields of `bits` bits, by the place in the word where each element's stands:
/// (..., n) words -> (..., n * fields).
array unpacked(const array& words, int bits, const std::vector<std::uint32_t>& places) {
  std::vector<std::uint32_t> shifts = places;
  for (auto& s : shifts) s *= std::uint32_t(bits);
  array by(shifts.data(), {int(shifts.size())}, mx::uint32);
  array fields =
      mx::bitwise_and(mx::right_shift(mx::expand_dims(words, -1), by), u32((1u << bits) - 1));
  return mx::flatten(fields, -2, -1);
}

std::vector<std::uint32_t> in_order(int bits) {
  std::vector<std::uint32_t> places;
  for (int i = 0; i < 32 / bits; ++i) places.push_back(std::uint32_t(i));
  return places;
}
const std::vector<std::uint32_t> kAwqPlaces = {0, 4, 1, 5, 2, 6, 3, 7};

/// (in, out / 8) words along the outputs in AutoAWQ's order -> (out, in / 8) words along the
/// inputs. Eight words of eight nibbles are a square, transposed by three rounds of swapped halves.
array turned_awq(const array& words) {
  int k = words.shape(0) / 8, c = words.shape(1);
  array w = mx::reshape(words, {k, 2, 2, 2, c});
  const std::pair<std::uint32_t, std::uint32_t> rounds[] = {
      {16, 0x0000ffff}, {8, 0x00ff00ff}, {4, 0x0f0f0f0f}};
  for (int axis = 1; auto [shift, mask] : rounds) {
    auto halves = mx::split(w, 2, axis);
    array low = halves[0], high = halves[1];
    array t = mx::bitwise_and(mx::bitwise_xor(mx::right_shift(low, u32(shift)), high), u32(mask));
    w = mx::concatenate(
        {mx::bitwise_xor(low, mx::left_shift(t, u32(shift))), mx::bitwise_xor(high, t)}, axis++);
  }
  // Now (k, place, c).  Output 8c + 2b + a stands at place 4a + b.
  w = mx::transpose(mx::reshape(w, {k, 2, 4, c}), {3, 2, 1, 0});
  return mx::reshape(mx::contiguous(w), {c * 8, k});
}

/// Columns of a packed row: how many there are, and how many share a scale.
struct Grouping {
  int inputs, groups;
  int size() const { return inputs / groups; }
};

Grouping grouping(const std::string& name, int inputs, int group_size) {
  if (group_size == 0) group_size = inputs;
  if (inputs < 1 || inputs % group_size != 0)
    throw WeightError(describe(name,
                               "input size is no multiple of the group size",
                               "a multiple of " + str(group_size),
                               str(inputs)));
  return {inputs, inputs / group_size};
}

int checked_inputs(const std::string& name, std::int64_t n) {
  if (n > INT32_MAX)
    throw WeightError(describe(name, "extent too large", "at most 2147483647 inputs", str(n)));
  return int(n);
}

/// One value, in whatever shape.
bool is_one(const mx::Shape& shape) {
  return std::ranges::all_of(shape, [](int extent) { return extent == 1; });
}

/// What takes the tensors of one checkpoint.
class Converter {
 public:
  Converter(const io::WeightFiles& files, const Foreign& foreign) : t_(files), foreign_(foreign) {}

  ForeignWeights run() {
    switch (foreign_.method) {
      case Method::awq: convert_all(".qweight", &Converter::awq); break;
      case Method::gptq: convert_all(".qweight", &Converter::gptq); break;
      case Method::packed_int: convert_all(".weight_packed", &Converter::packed_int); break;
      case Method::nvfp4: convert_all(".weight_packed", &Converter::nvfp4); break;
      case Method::fp8: convert_all(".weight", &Converter::fp8); break;
    }
    for (auto& [name, value] : std::move(t_).rest()) {
      if (t_.dtype(name) == "F8_E4M3")
        throw WeightError(describe(name,
                                   "dtype not supported",
                                   "F8_E4M3 for what the quantisation method packs so",
                                   "F8_E4M3"));
      out_.arrays.emplace(name, value);
    }
    return std::move(out_);
  }

 private:
  void convert_all(std::string_view suffix, void (Converter::*convert)(const std::string&)) {
    for (auto& path : t_.owners(suffix)) (this->*convert)(path);
  }

  void awq(const std::string& path) {
    auto& scheme = foreign_.schemes[0];
    array words = t_.take(path + ".qweight", {kAny, kAny}, kWords);
    int in = words.shape(0), columns = words.shape(1);
    if (in % 8 != 0 || columns > INT32_MAX / 8)
      throw WeightError(describe(
          path + ".qweight", "wrong shape", "a multiple of 8 inputs", to_string(words.shape())));
    Grouping g = grouping(path + ".qweight", in, scheme.group_size);
    array scales = t_.take(path + ".scales", {g.groups, columns * 8}, kFloats);
    std::optional<array> zeros;
    if (scheme.zeros || t_.has(path + ".qzeros")) {
      zeros = t_.take(path + ".qzeros", {g.groups, columns}, kWords);
      zeros = mx::transpose(unpacked(mx::view(*zeros, mx::uint32), 4, kAwqPlaces));
    }
    put(path, turned_awq(mx::view(words, mx::uint32)), mx::transpose(scales), zeros, g, 4);
  }

  void gptq(const std::string& path) {
    array words = t_.take(path + ".qweight", {kAny, kAny}, kWords);
    int in = checked_inputs(path + ".qweight", std::int64_t(words.shape(0)) * 8);
    int out = words.shape(1);
    Grouping g = grouping(path + ".qweight", in, foreign_.schemes[0].group_size);
    require_in_order(path + ".g_idx", g);
    array scales = t_.take(path + ".scales", {g.groups, out}, kFloats);
    array zeros = t_.take(path + ".qzeros", {g.groups, (out + 7) / 8}, kWords);
    zeros = mx::view(zeros, mx::uint32);
    // On words, as GPTQModel adds it: what a zero point of 0 borrowed above it comes back.
    if (foreign_.zeros_less_one) zeros = mx::add(zeros, u32(0x11111111));
    zeros = mx::transpose(first(unpacked(zeros, 4, in_order(4)), out));
    // AutoGPTQ writes a bias for every projection, whatever the model has.
    std::string bias = path + ".bias";
    if (t_.has(bias) &&
        std::ranges::all_of(t_.bytes(bias), [](auto b) { return b == std::byte{}; }))
      out_.quantization.zero_biases.insert(bias);
    put(path, transposed(mx::view(words, mx::uint32)), mx::transpose(scales), zeros, g, 4);
  }

  void packed_int(const std::string& path) {
    std::string name = path + ".weight_packed";
    array words = t_.take(name, {kAny, kAny}, kWords);
    std::string scale_name = path + ".weight_scale", zero_name = path + ".weight_zero_point";
    int rows = words.shape(0);
    array scales = t_.take(scale_name, {rows, kAny}, kFloats);
    auto stated = stated_shape(path + ".weight_shape");
    auto scheme = scheme_of(path, words.shape(1), scales.shape(1), t_.has(zero_name), stated);
    int in = checked_inputs(name, std::int64_t(words.shape(1)) * 32 / scheme.bits);
    Grouping g = grouping(name, in, scheme.group_size);
    require_in_order(path + ".weight_g_idx", g);
    if (stated && *stated != std::array<std::int64_t, 2>{rows, in})
      throw WeightError(describe(path + ".weight_shape",
                                 "disagrees with the packed weight",
                                 to_string({rows, in}),
                                 "(" + str((*stated)[0]) + ", " + str((*stated)[1]) + ")"));
    std::optional<array> zeros;
    if (scheme.zeros) {
      int fields = 32 / scheme.bits;
      zeros = t_.take(zero_name, {(rows + fields - 1) / fields, g.groups}, kWords);
      zeros = mx::transpose(mx::view(*zeros, mx::uint32));  // packed along the outputs
      zeros = mx::transpose(first(unpacked(*zeros, scheme.bits, in_order(scheme.bits)), rows));
    }
    put(path, mx::view(words, mx::uint32), scales, zeros, g, scheme.bits);
  }

  /// Which of the config's schemes this is.  Their targets need not be read: the tensors show it.
  Foreign::Scheme scheme_of(const std::string& path,
                            int columns,
                            int groups,
                            bool zeros,
                            std::optional<std::array<std::int64_t, 2>> stated) const {
    std::optional<Foreign::Scheme> found;
    for (auto& s : foreign_.schemes) {
      std::int64_t inputs = std::int64_t(columns) * 32 / s.bits;
      bool sizes_fit =
          s.group_size == 0 ? groups == 1 : std::int64_t(groups) * s.group_size == inputs;
      bool shape_fits = foreign_.schemes.size() == 1 || !stated || (*stated)[1] == inputs;
      if (s.zeros != zeros || !sizes_fit || !shape_fits) continue;
      if (found && (found->bits != s.bits || found->group_size != s.group_size))
        throw UnsupportedError(describe(path + ".weight_packed",
                                        "several groups of the config could mean this tensor",
                                        "bits and groups that tell them apart",
                                        str(found->bits) + " and " + str(s.bits) + " bits"));
      found = s;
    }
    if (found) return *found;
    std::string shown = "(" + str(columns) + " words a row, " + str(groups) + " scales, ";
    throw WeightError(describe(path + ".weight_packed",
                               "fits no group of quantization_config",
                               "the bits, groups and zero points that it names",
                               shown + (zeros ? "zero points)" : "no zero points)")));
  }

  void nvfp4(const std::string& path) {
    std::string name = path + ".weight_packed", over_all = path + ".weight_global_scale";
    array bytes = t_.take(name, {kAny, kAny}, {"U8"});
    int rows = bytes.shape(0), in = checked_inputs(name, std::int64_t(bytes.shape(1)) * 2);
    Grouping g = grouping(name, in, 16);
    array scales = t_.take(path + ".weight_scale", {rows, g.groups}, {"F8_E4M3"});
    array whole = t_.take(over_all, {1}, {"F32"});
    double value = t_.values(over_all)[0];
    if (!std::isfinite(value) || value <= 0)
      throw WeightError(
          describe(over_all, "wrong value", "a positive number", std::to_string(value)));
    t_.drop(path + ".input_global_scale");  // of activations, which stay as they are
    out_.arrays.emplace(path + ".weight", mx::view(bytes, mx::uint32));
    out_.arrays.emplace(path + ".scales", scales);
    // It divides there; MLX's is the largest weight, of which 6 * 448 is the code.
    out_.arrays.emplace(path + ".global_scale",
                        mx::divide(array(6 * 448.f), mx::reshape(whole, {})));
    out_.quantization.all = {ops::Format::nvfp4, 4, 16};
  }

  void fp8(const std::string& path) {
    std::string name = path + ".weight", scale_name = path + ".weight_scale_inv";
    if (t_.dtype(name) != "F8_E4M3") return;
    array codes = t_.take(name, {kAny, kAny}, {"F8_E4M3"});
    if (!t_.has(scale_name) && t_.has(path + ".weight_scale")) scale_name = path + ".weight_scale";
    int rows = codes.shape(0), in = codes.shape(1), m = foreign_.block[0], n = foreign_.block[1];
    array numbers = mx::from_fp8(codes, mx::bfloat16);  // exact
    for (const char* leaf : {".input_scale", ".activation_scale"}) t_.drop(path + leaf);
    m = std::min(m, rows), n = std::min(n, in);
    if (foreign_.may_be_whole && t_.has(scale_name) && is_one(t_.shape(scale_name)))
      m = rows, n = in;
    if (rows < 1 || in < 1)
      throw WeightError(describe(name, "empty", "", to_string(codes.shape())));
    int M = (rows - 1) / m + 1, N = (in - 1) / n + 1;
    bool whole = M == 1 && N == 1 && t_.has(scale_name) && is_one(t_.shape(scale_name));
    array grid = t_.take(scale_name, whole ? t_.shape(scale_name) : mx::Shape{M, N}, kFloats);
    grid = mx::reshape(mx::astype(grid, mx::float32), {M, 1, N, 1});
    if (M * m != rows || N * n != in)
      numbers = mx::pad(numbers, {{0, M * m - rows}, {0, N * n - in}});
    array scaled = mx::multiply(mx::reshape(numbers, {M, m, N, n}), grid);
    scaled = mx::reshape(mx::astype(scaled, mx::bfloat16), {M * m, N * n});
    out_.arrays.emplace(name, mx::contiguous(mx::slice(scaled, {0, 0}, {rows, in})));
  }

  /// Group indices other than 0 0 ... 1 1 ... are columns in another order.
  void require_in_order(const std::string& name, const Grouping& g) {
    if (!t_.has(name)) return;
    t_.take(name, {g.inputs}, {"I32", "I64"});
    auto values = t_.values(name);
    for (int i = 0; i < g.inputs; ++i)
      if (values[size_t(i)] != i / g.size())
        throw UnsupportedError(
            describe(name,
                     "groups in the order of activations (act-order) are not supported",
                     "column " + str(i) + " in group " + str(i / g.size()),
                     str(std::int64_t(values[size_t(i)]))));
  }

  std::optional<std::array<std::int64_t, 2>> stated_shape(const std::string& name) {
    if (!t_.has(name)) return {};
    t_.take(name, {2}, {"I32", "I64"});
    auto values = t_.values(name);
    return std::array{std::int64_t(values[0]), std::int64_t(values[1])};
  }

  static array first(const array& a, int columns) {
    return a.shape(1) == columns ? a : mx::slice(a, {0, 0}, {a.shape(0), columns});
  }

  /// Scales and zeros: (out, groups).  Without zeros the middle code is 0.
  void put(const std::string& path,
           const array& weight,
           const array& scales,
           const std::optional<array>& zeros,
           const Grouping& g,
           int bits) {
    int size = 0;
    for (int have : {128, 64, 32})
      if (!size && g.size() % have == 0) size = have;
    if (!size)
      throw UnsupportedError(
          describe(path, "group size that MLX cannot have", "a multiple of 32", str(g.size())));
    mx::Dtype dtype = ops::activation_dtype(scales.dtype());
    array s = mx::astype(scales, mx::float32);
    array zero = zeros ? mx::astype(*zeros, mx::float32) : array(float(1 << (bits - 1)));
    auto put_groups = [&](const char* leaf, const array& values) {
      array each = mx::astype(values, dtype);
      if (size != g.size()) each = mx::repeat(each, g.size() / size, 1);
      out_.arrays.emplace(path + leaf, mx::contiguous(each));
    };
    out_.arrays.emplace(path + ".weight", weight);
    put_groups(".scales", s);
    put_groups(".biases", mx::negative(mx::multiply(s, zero)));
    out_.quantization.all = {ops::Format::affine, bits, size};
  }

  StoredTensors t_;
  const Foreign& foreign_;
  ForeignWeights out_;
};

}  // namespace

ForeignWeights load_foreign(const io::WeightFiles& files, const Foreign& foreign) {
  if (files.kind != io::WeightFiles::Kind::safetensors)
    throw WeightError(describe(files.paths.at(0).string(),
                               "not a file that this quantisation method writes",
                               "safetensors"));
  return Converter(files, foreign).run();
}

std::uint64_t converted_bytes(const io::WeightFiles& files, const Foreign& foreign) {
  std::uint64_t total = 0;
  for (const auto& path : files.paths) {
    auto file = io::Safetensors::open(path);
    for (auto& t : file.tensors) {
      bool scales = t.name.ends_with(".scales") || t.name.ends_with(".weight_scale");
      int grows = 1;
      if (foreign.method == Method::fp8 && t.dtype == "F8_E4M3") grows = 2;  // bfloat16
      if (!foreign.schemes.empty() && scales) grows = 4;  // two float32 for a half
      total += (t.end - t.begin) * std::uint64_t(grows);
    }
  }
  return total;
}

}  // namespace mlxcpp::nn
