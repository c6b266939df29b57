// The tensors of safetensors files with what MLX's arrays do not tell: stored dtypes, and bytes
// that can be looked at without evaluating anything.
#pragma once

#include "mlxcpp/io/safetensors.h"
#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/ops/mx.h"

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mlxcpp::nn::detail {

constexpr int kAny = -1;  // an extent that the tensor itself decides

class StoredTensors {
 public:
  explicit StoredTensors(const io::WeightFiles& files);

  bool has(const std::string& name) const { return arrays_.count(name) > 0; }
  const mx::Shape& shape(const std::string& name) const { return arrays_.at(name).shape(); }
  /// Names that end so, without the end, sorted.
  std::vector<std::string> owners(std::string_view suffix) const;
  std::string_view dtype(const std::string& name) const { return places_.at(name).dtype; }
  std::span<const std::byte> bytes(const std::string& name) const { return places_.at(name).bytes; }
  /// The values of a small tensor of integers or floats (I32, I64, F32); nothing for other dtypes.
  std::vector<double> values(const std::string& name) const;

  /// Moves the array out.  Throws WeightError when it is missing, or has another shape or dtype.
  array take(const std::string& name,
             const mx::Shape& shape,
             const std::vector<std::string_view>& dtypes);
  void drop(const std::string& name) { arrays_.erase(name); }
  /// What nobody took.
  std::map<std::string, array> rest() && { return std::move(arrays_); }

 private:
  struct Place {
    std::string_view dtype;
    std::span<const std::byte> bytes;
  };
  std::vector<io::Safetensors> files_;  // keep the bytes
  std::map<std::string, Place> places_;
  std::map<std::string, array> arrays_;
};

}  // namespace mlxcpp::nn::detail
