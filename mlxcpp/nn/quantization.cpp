#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/nn/weights.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

namespace mlxcpp::nn {
namespace {

constexpr std::array kReserved = {
    "group_size", "bits", "mode", "quant_method", "linear_class", "quantization_mode"};

/// What MLX has kernels for.
struct Allowed {
  std::vector<int> bits, group_sizes;
};
Allowed allowed(ops::Format format) {
  switch (format) {
    case ops::Format::affine: return {{2, 3, 4, 5, 6, 8}, {32, 64, 128}};
    case ops::Format::mxfp4: return {{4}, {32}};
    case ops::Format::mxfp8: return {{8}, {32}};
    case ops::Format::nvfp4: return {{4}, {16}};
    default: break;
  }
  return {};
}

bool contains(const std::vector<int>& list, int value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

ops::Quant checked(const io::Fields& f, ops::Quant q) {
  auto one_of = [&](const char* key, int value, const std::vector<int>& list) {
    if (contains(list, value)) return;
    std::string names;
    for (int a : list) names += (names.empty() ? "" : ", ") + std::to_string(a);
    throw ConfigError(describe(f.where(key),
                               "not supported in mode " + ops::mode_of(q.format),
                               names,
                               std::to_string(value)));
  };
  one_of("bits", q.bits, allowed(q.format).bits);
  one_of("group_size", q.group_size, allowed(q.format).group_sizes);
  return q;
}

ops::Quant read_one(io::Fields f, const ops::Quant& defaults) {
  std::string mode = ops::mode_of(defaults.format);
  ops::Quant q = defaults;
  f.may("mode", &mode).need("group_size", &q.group_size).need("bits", &q.bits);
  auto format = ops::format_of(mode);
  if (!format)
    throw ConfigError(
        describe(f.where("mode"), "unknown", "affine, mxfp4, mxfp8 or nvfp4", "\"" + mode + "\""));
  q.format = *format;
  return checked(f, q);
}

void read_exception(io::Fields& f, const std::string& path, Quantization& q) {
  auto type = f.type(path);
  if (type == io::JsonType::object) {
    q.exceptions[path] = read_one(f.need_object(path), {});
  } else if (type == io::JsonType::boolean) {
    bool as_others = true;
    f.may(path, &as_others);
    if (!as_others) q.exceptions[path] = std::nullopt;
  } else {
    throw ConfigError(describe(f.where(path),
                               "wrong type",
                               "an object, true or false",
                               f.json_text(path).value_or("null")));
  }
}

}  // namespace

Quantization Quantization::read(const io::Fields& config) {
  Quantization q;
  auto f = config.object("quantization");
  if (!f) {
    f = config.object("quantization_config");
    if (!f) return q;
    std::string method;
    f->may("quant_method", &method);
    if (method == "mxfp4" && !f->has("mode")) {  // OpenAI's; the bytes are MLX's
      for (auto& key : f->keys()) f->ignore(key);
      q.all = {ops::Format::mxfp4, 4, 32};
      return q;
    }
    if (!method.empty() && !f->has("mode"))  // GPTQ and AWQ have bits and group_size, too
      throw UnsupportedError(describe(f->where("quant_method"),
                                      "quantisation method not supported",
                                      "an MLX quantisation",
                                      "\"" + method + "\""));
  }
  for (const char* key : kReserved)
    if (std::string_view(key) != "group_size" && std::string_view(key) != "bits") f->ignore(key);
  q.all = read_one(*f, {});
  for (auto& key : f->keys())
    if (std::find(kReserved.begin(), kReserved.end(), key) == kReserved.end())
      read_exception(*f, key, q);
  return q;
}

std::optional<ops::Quant> Quantization::of(const std::string& path,
                                           const PackedShape& shape) const {
  auto it = exceptions.find(path);
  if (it != exceptions.end()) return it->second;
  if (!all) return {};
  std::int64_t in = shape.inputs, bits = std::int64_t(shape.columns) * 32;
  if (in < 1 || shape.groups < 1 || bits % in != 0 || in % shape.groups != 0) return all;
  ops::Quant q{ops::Format::affine, int(bits / in), int(in / shape.groups)};
  if (!shape.affine)
    q.format = q.bits == 8          ? ops::Format::mxfp8
               : q.group_size == 16 ? ops::Format::nvfp4
                                    : ops::Format::mxfp4;
  auto list = allowed(q.format);
  return contains(list.bits, q.bits) && contains(list.group_sizes, q.group_size) ? q : *all;
}

std::optional<ops::Format> Quantization::blocks_of(const std::string& tensor) const {
  constexpr std::string_view leaf = ".weight";
  if (!tensor.ends_with(leaf)) return {};
  auto entry = exceptions.find(tensor.substr(0, tensor.size() - leaf.size()));
  if (entry == exceptions.end() || !entry->second) return {};
  auto format = entry->second->format;
  return ops::gguf_blocks(format) ? std::optional(format) : std::nullopt;
}

}  // namespace mlxcpp::nn
