#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/nn/weights.h"

#include <algorithm>
#include <array>

namespace mlxcpp::nn {
namespace {

constexpr std::array kReserved = {
    "group_size", "bits", "mode", "quant_method", "linear_class", "quantization_mode"};

/// MLX's own defaults and limits of each mode.
ops::Quant checked(const io::Fields& f, ops::Quant q) {
  auto one_of = [&](const char* key, int value, std::initializer_list<int> allowed) {
    if (std::find(allowed.begin(), allowed.end(), value) != allowed.end()) return;
    std::string list;
    for (int a : allowed) list += (list.empty() ? "" : ", ") + std::to_string(a);
    throw ConfigError(describe(f.where(key),
                               "not supported in mode " + ops::mode_of(q.format),
                               list,
                               std::to_string(value)));
  };
  switch (q.format) {
    case ops::Format::affine:
      one_of("bits", q.bits, {2, 3, 4, 5, 6, 8});
      one_of("group_size", q.group_size, {32, 64, 128});
      break;
    case ops::Format::mxfp4:
      one_of("bits", q.bits, {4});
      one_of("group_size", q.group_size, {32});
      break;
    case ops::Format::mxfp8:
      one_of("bits", q.bits, {8});
      one_of("group_size", q.group_size, {32});
      break;
    case ops::Format::nvfp4:
      one_of("bits", q.bits, {4});
      one_of("group_size", q.group_size, {16});
      break;
    case ops::Format::dense: break;
  }
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
    if (!method.empty() && !f->has("mode") && !f->has("bits"))
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

std::optional<ops::Quant> Quantization::of(const std::string& path) const {
  auto it = exceptions.find(path);
  return it == exceptions.end() ? all : it->second;
}

}  // namespace mlxcpp::nn
