#include "mlxcpp/nn/checkpoint.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/io/npy.h"
#include "mlxcpp/io/safetensors.h"

#include <mlx/io.h>

#include <algorithm>
#include <iterator>
#include <string_view>

namespace mlxcpp::nn {
namespace {

/// Types of the format that MLX does not have.
constexpr std::string_view kNotInMlx[] = {
    "F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F64"};

/// MLX extents are ints, and it throws errors of its own for types that it lacks.
void require_loadable(const io::SafetensorsTensor& t, const std::string& file, Fp8 fp8) {
  if (t.dtype == "F8_E4M3" && fp8 == Fp8::refused)
    throw WeightError(describe(file + ": " + t.name,
                               "fp8 in a checkpoint that does not say how to read it",
                               "a quantization_config with quant_method fp8 in config.json",
                               "none"));
  if (std::ranges::find(kNotInMlx, t.dtype) != std::end(kNotInMlx))
    throw WeightError(describe(file + ": " + t.name,
                               "dtype not supported",
                               "F32, F16, BF16 or another that MLX has",
                               std::string(t.dtype)));
  for (auto extent : t.shape)
    if (extent > INT32_MAX)
      throw WeightError(describe(
          file + ": " + t.name, "extent too large", "at most 2147483647", std::to_string(extent)));
}

}  // namespace

std::map<std::string, array> load_safetensors(const io::WeightFiles& files, Fp8 fp8) {
  std::map<std::string, array> all;
  for (const auto& path : files.paths) {
    std::string file = path.string();
    auto header = io::Safetensors::open(path);
    for (auto& t : header.tensors) require_loadable(t, file, fp8);
    for (auto& [name, value] : mx::load_safetensors(file).first) {
      if (files.index && !files.index->places(name, path)) continue;
      if (!all.emplace(name, value).second)
        throw WeightError(describe(file + ": " + name, "tensor is in more than one file"));
    }
  }
  if (files.index)
    for (auto& [name, shard] : files.index->shard_of)
      if (!all.count(name))
        throw WeightError(describe(name, "missing", "in " + shard + ", as the index says"));
  return all;
}

std::uint64_t tensor_bytes(const io::WeightFiles& files) {
  std::uint64_t total = 0;
  for (const auto& path : files.paths) {
    if (files.kind == io::WeightFiles::Kind::gguf) {
      auto file = io::Gguf::open(path);
      for (auto& t : file.tensors()) total += t.bytes.size();
    } else if (files.kind == io::WeightFiles::Kind::safetensors) {
      auto file = io::Safetensors::open(path);
      for (auto& t : file.tensors) total += t.end - t.begin;
    } else {
      auto file = io::Npz::open(path);
      for (auto& member : file.members()) total += member.bytes;
    }
  }
  return total;
}

}  // namespace mlxcpp::nn
