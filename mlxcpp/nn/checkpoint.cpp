#include "mlxcpp/nn/checkpoint.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/io/npy.h"
#include "mlxcpp/io/safetensors.h"

#include <mlx/io.h>

#include <algorithm>
#include <iterator>
#include <string_view>
#include <utility>
#include <vector>

namespace mlxcpp::nn {
namespace {

/// Types of the format that MLX has, or whose bytes it takes.
const std::pair<std::string_view, mx::Dtype> kDtypes[] = {{"F32", mx::float32},
                                                          {"F16", mx::float16},
                                                          {"BF16", mx::bfloat16},
                                                          {"BOOL", mx::bool_},
                                                          {"U8", mx::uint8},
                                                          {"U16", mx::uint16},
                                                          {"U32", mx::uint32},
                                                          {"U64", mx::uint64},
                                                          {"I8", mx::int8},
                                                          {"I16", mx::int16},
                                                          {"I32", mx::int32},
                                                          {"I64", mx::int64},
                                                          {"C64", mx::complex64},
                                                          {"F8_E4M3", mx::uint8},
                                                          {"F8_E8M0", mx::uint8}};

/// The array of a tensor without its bytes.  MLX extents are ints.
StoredTensor require_loadable(const io::SafetensorsTensor& t, const std::string& file, Fp8 fp8) {
  if (t.dtype == "F8_E4M3" && fp8 == Fp8::refused)
    throw WeightError(describe(file + ": " + t.name,
                               "fp8 in a checkpoint that does not say how to read it",
                               "a quantization_config with quant_method fp8 in config.json",
                               "none"));
  auto known = std::ranges::find(kDtypes, t.dtype, [](auto& d) { return d.first; });
  if (known == std::end(kDtypes))
    throw WeightError(describe(file + ": " + t.name,
                               "dtype not supported",
                               "F32, F16, BF16 or another that MLX has",
                               std::string(t.dtype)));
  StoredTensor stored{{}, {}, known->second};
  for (auto extent : t.shape) {
    if (extent > INT32_MAX)
      throw WeightError(describe(
          file + ": " + t.name, "extent too large", "at most 2147483647", std::to_string(extent)));
    stored.shape.push_back(int(extent));
  }
  return stored;
}

/// The tensors of one file that are to be loaded.
std::map<std::string, array> arrays_of(const io::Safetensors& header,
                                       const std::filesystem::path& path,
                                       const io::WeightFiles& files,
                                       Fp8 fp8,
                                       FileTensors* tensors) {
  std::vector<StoredTensor> stored;
  for (auto& t : header.tensors) stored.push_back(require_loadable(t, path.string(), fp8));
  std::map<std::string, array> all;
  if (!tensors) {
    auto lazy = mx::load_safetensors(path.string()).first;
    all.insert(lazy.begin(), lazy.end());
    return all;
  }
  for (std::size_t i = 0; i < stored.size(); ++i) {
    auto& t = header.tensors[i];
    if (files.index && !files.index->places(t.name, path)) continue;
    stored[i].bytes = header.bytes(t);
    all.emplace(t.name, tensors->place(header.file, stored[i]));
  }
  return all;
}

}  // namespace

std::map<std::string, array> load_safetensors(const io::WeightFiles& files,
                                              Fp8 fp8,
                                              FileTensors* tensors) {
  std::map<std::string, array> all;
  for (const auto& path : files.paths) {
    auto header = io::Safetensors::open(path);
    for (auto& [name, value] : arrays_of(header, path, files, fp8, tensors)) {
      if (files.index && !files.index->places(name, path)) continue;
      if (!all.emplace(name, value).second)
        throw WeightError(describe(path.string() + ": " + name, "tensor is in more than one file"));
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
