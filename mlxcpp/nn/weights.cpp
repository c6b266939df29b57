#include "mlxcpp/nn/weights.h"

#include "mlxcpp/base/error.h"

#include <mlx/dtype.h>
#include <mlx/utils.h>

#include <algorithm>
#include <cstdint>
#include <sstream>
#include <utility>

namespace mlxcpp::nn {
namespace {

std::string text(mx::Dtype d) {
  std::ostringstream out;
  out << d;
  return out.str();
}

bool byte_scales(ops::Format f) { return f != ops::Format::dense && f != ops::Format::affine; }

}  // namespace

std::string to_string(const mx::Shape& shape) {
  std::string out = "(";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + ")";
}

void WeightMap::expect_empty() const {
  std::string names;
  size_t left = 0;
  for (auto& [name, value] : arrays) {
    if (quantization.zero_biases.count(name) || left++ >= 3) continue;
    names += (names.empty() ? "" : ", ") + name + " " + to_string(value.shape());
  }
  if (left == 0) return;
  if (left > 3) names += " and " + std::to_string(left - 3) + " more";
  throw WeightError(describe("weights", "tensors that the model has no place for", "", names));
}

Scope Scope::operator/(std::string_view child) const {
  return Scope(*map_, path_.empty() ? std::string(child) : path_ + "." + std::string(child));
}

array Scope::extract(std::string_view leaf, const mx::Shape& shape) const {
  std::string name = (*this / leaf).path_;
  auto it = map_->arrays.find(name);
  if (it == map_->arrays.end())
    throw WeightError(describe(name, "missing", "shape " + to_string(shape), "no such tensor"));
  if (it->second.shape() != shape)
    throw WeightError(
        describe(name, "wrong shape", to_string(shape), to_string(it->second.shape())));
  array taken = std::move(it->second);
  map_->arrays.erase(it);
  return taken;
}

ops::Param Scope::take(std::string_view leaf, const mx::Shape& shape) const {
  auto format = map_->quantization.blocks_of((*this / leaf).path_);
  array value = format ? ops::dequantised(take_blocks(*format, shape)) : extract(leaf, shape);
  if (!mx::issubdtype(value.dtype(), mx::floating))
    throw WeightError(
        describe((*this / leaf).path_, "wrong dtype", "floating point", text(value.dtype())));
  auto param = std::make_shared<array>(std::move(value));
  map_->manifest.params.emplace((*this / leaf).path_, param);
  return param;
}

ops::Weight Scope::take_linear(const mx::Shape& shape, bool bias) const {
  auto w = std::make_shared<ops::WeightData>();
  if (auto format = map_->quantization.blocks_of((*this / "weight").path_)) {
    *w = take_blocks(*format, shape);
    map_->manifest.params.emplace((*this / "weight").path_, w->value);
  } else if (has("scales")) {
    take_packed(*w, shape);
  } else {
    w->value = take("weight", shape);
  }
  if (bias) w->bias = take("bias", {shape.begin(), shape.end() - 1});
  map_->manifest.linears.emplace(path_, w);
  if (auto it = map_->origins.find((*this / "weight").path_); it != map_->origins.end())
    map_->manifest.origins.emplace(path_, it->second);
  return w;
}

ops::Weight Scope::take_table(const mx::Shape& shape) const {
  map_->manifest.tables.insert(path_);
  return take_linear(shape);
}

ops::WeightData Scope::take_blocks(ops::Format format, const mx::Shape& shape) const {
  std::string name = (*this / "weight").path_;
  auto layout = ops::block_layout(format).value();
  int in = shape.empty() ? 1 : shape.back();
  if (in % layout.numbers != 0)
    throw WeightError(describe(name,
                               "input size is no multiple of a block",
                               "a multiple of " + std::to_string(layout.numbers),
                               std::to_string(in)));
  auto it = map_->arrays.find(name);
  if (it != map_->arrays.end() && it->second.dtype() != mx::uint8)
    throw WeightError(describe(name, "wrong dtype", "bytes", text(it->second.dtype())));
  auto bytes = std::int64_t(in) / layout.numbers * layout.bytes;
  if (bytes > INT32_MAX)
    throw WeightError(
        describe(name, "row too large", "at most 2147483647 bytes", std::to_string(bytes)));
  mx::Shape stored = shape;
  stored.back() = int(bytes);
  ops::WeightData w;
  w.quant = ops::quant_of_blocks(format);
  w.value = std::make_shared<array>(extract("weight", stored));
  return w;
}

void Scope::take_packed(ops::WeightData& w, const mx::Shape& shape) const {
  auto last_extent = [&](std::string_view leaf) {
    auto it = map_->arrays.find((*this / leaf).path_);
    return it == map_->arrays.end() || it->second.ndim() == 0 ? 0 : it->second.shape(-1);
  };
  auto quant = map_->quantization.of(path_,
                                     {.inputs = shape.back(),
                                      .columns = last_extent("weight"),
                                      .groups = last_extent("scales"),
                                      .affine = has("biases")});
  if (!quant)
    throw WeightError(describe(path_ + ".scales",
                               "packed weight without parameters",
                               "an entry for it in config.quantization",
                               "none"));
  auto [format, bits, group] = *quant;
  int in = shape.back();
  if (in % group != 0)
    throw WeightError(describe(path_,
                               "input size is no multiple of the group size",
                               "a multiple of " + std::to_string(group),
                               std::to_string(in)));
  auto with_last = [&](int n) {
    mx::Shape s = shape;
    s.back() = n;
    return s;
  };
  auto slot = [&](std::string_view leaf, const mx::Shape& s, bool is_bytes, mx::Dtype want) {
    array value = extract(leaf, s);
    bool ok = is_bytes ? value.dtype() == want : mx::issubdtype(value.dtype(), mx::floating);
    if (!ok)
      throw WeightError(describe((*this / leaf).path_,
                                 "wrong dtype",
                                 is_bytes ? text(want) : "floating point",
                                 text(value.dtype())));
    auto param = std::make_shared<array>(std::move(value));
    map_->manifest.params.emplace((*this / leaf).path_, param);
    return param;
  };
  w.quant = *quant;
  w.value = slot("weight", with_last(int(std::int64_t(in) * bits / 32)), true, mx::uint32);
  w.scales = slot("scales", with_last(in / group), byte_scales(format), mx::uint8);
  if (format == ops::Format::affine)
    w.zeros = slot("biases", with_last(in / group), false, mx::float32);
  if (format == ops::Format::nvfp4 && has("global_scale"))
    w.global_scale = take("global_scale", {shape.begin(), shape.end() - 2});
}

}  // namespace mlxcpp::nn
