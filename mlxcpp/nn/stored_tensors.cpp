#include "mlxcpp/nn/detail/stored_tensors.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/nn/checkpoint.h"
#include "mlxcpp/nn/weights.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace mlxcpp::nn::detail {
namespace {

template <class T>
std::vector<double> numbers(std::span<const std::byte> bytes) {
  std::vector<double> out(bytes.size() / sizeof(T));
  for (size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    out[i] = double(value);
  }
  return out;
}

std::string wanted_shape(const mx::Shape& shape) {
  std::string out;
  for (int extent : shape)
    out += (out.empty() ? "" : ", ") + (extent == kAny ? "?" : std::to_string(extent));
  return "(" + out + ")";
}

bool fits(const mx::Shape& shape, const mx::Shape& wanted) {
  return std::ranges::equal(
      shape, wanted, [](int extent, int want) { return want == kAny || want == extent; });
}

}  // namespace

StoredTensors::StoredTensors(const io::WeightFiles& files)
    : arrays_(load_safetensors(files, Fp8::as_bytes)) {
  for (const auto& path : files.paths) {
    files_.push_back(io::Safetensors::open(path));
    for (auto& t : files_.back().tensors) {
      if (files.index && !files.index->places(t.name, path)) continue;
      places_.insert_or_assign(t.name, Place{t.dtype, files_.back().bytes(t)});
    }
  }
}

std::vector<std::string> StoredTensors::owners(std::string_view suffix) const {
  std::vector<std::string> found;
  for (auto& [name, value] : arrays_)
    if (name.ends_with(suffix)) found.push_back(name.substr(0, name.size() - suffix.size()));
  return found;
}

std::vector<double> StoredTensors::values(const std::string& name) const {
  auto& place = places_.at(name);
  if (place.dtype == "I32") return numbers<std::int32_t>(place.bytes);
  if (place.dtype == "I64") return numbers<std::int64_t>(place.bytes);
  if (place.dtype == "F32") return numbers<float>(place.bytes);
  return {};
}

array StoredTensors::take(const std::string& name,
                          const mx::Shape& shape,
                          const std::vector<std::string_view>& dtypes) {
  auto it = arrays_.find(name);
  if (it == arrays_.end())
    throw WeightError(describe(name, "missing", "shape " + wanted_shape(shape), "no such tensor"));
  if (std::ranges::find(dtypes, dtype(name)) == dtypes.end()) {
    std::string names;
    for (auto d : dtypes) names += (names.empty() ? "" : ", ") + std::string(d);
    throw WeightError(describe(name, "wrong dtype", names, std::string(dtype(name))));
  }
  if (!fits(it->second.shape(), shape))
    throw WeightError(
        describe(name, "wrong shape", wanted_shape(shape), to_string(it->second.shape())));
  array taken = std::move(it->second);
  arrays_.erase(it);
  return taken;
}

}  // namespace mlxcpp::nn::detail
