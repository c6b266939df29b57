#include "mlxcpp/nn/save.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <iterator>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace mlxcpp::nn {
namespace {

namespace fs = std::filesystem;

std::string_view name_of(const std::string& tensor, mx::Dtype dtype) {
  static const std::pair<mx::Dtype, std::string_view> kNames[] = {{mx::float32, "F32"},
                                                                  {mx::float16, "F16"},
                                                                  {mx::bfloat16, "BF16"},
                                                                  {mx::bool_, "BOOL"},
                                                                  {mx::uint8, "U8"},
                                                                  {mx::uint16, "U16"},
                                                                  {mx::uint32, "U32"},
                                                                  {mx::uint64, "U64"},
                                                                  {mx::int8, "I8"},
                                                                  {mx::int16, "I16"},
                                                                  {mx::int32, "I32"},
                                                                  {mx::int64, "I64"},
                                                                  {mx::complex64, "C64"}};
  auto it = std::ranges::find(kNames, dtype, [](auto& n) { return n.first; });
  if (it == std::end(kNames))
    throw WeightError(describe(tensor, "its dtype can not be written to a safetensors file"));
  return it->second;
}

std::string shard_name(std::size_t i, std::size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, count);
  return name;
}

using Names = std::vector<std::string>;

std::vector<Names> shards_of(const std::map<std::string, array>& arrays, std::uint64_t most) {
  std::vector<Names> shards;
  std::uint64_t size = 0;
  for (auto& [name, value] : arrays) {
    if (shards.empty() || size + value.nbytes() > most) shards.emplace_back(), size = 0;
    shards.back().push_back(name);
    size += value.nbytes();
  }
  return shards;
}

std::string header_of(const Names& names, const std::map<std::string, array>& arrays) {
  io::JsonWriter json;
  json.begin_object().key("__metadata__").begin_object().member("format", "mlx").end_object();
  std::uint64_t at = 0;
  for (auto& name : names) {
    const array& x = arrays.at(name);
    std::vector<int> shape(x.shape().begin(), x.shape().end());
    json.key(name).begin_object().member("dtype", name_of(name, x.dtype())).member("shape", shape);
    json.key("data_offsets").begin_list().value(at).value(at + x.nbytes()).end_list().end_object();
    at += x.nbytes();
  }
  std::string text = json.end_object().str();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void write_index(const fs::path& folder,
                 const std::map<std::string, std::string>& shard_of,
                 std::uint64_t bytes,
                 std::uint64_t parameters) {
  io::JsonWriter json(4);
  json.begin_object().key("metadata").begin_object();
  json.member("total_size", bytes).member("total_parameters", parameters).end_object();
  json.key("weight_map").begin_object();
  for (auto& [tensor, shard] : shard_of) json.member(tensor, shard);
  json.end_object().end_object();
  io::write_atomically(folder / "model.safetensors.index.json", json.str());
}

}  // namespace

void save_weights(const fs::path& folder,
                  std::map<std::string, array> arrays,
                  std::uint64_t parameters,
                  const SaveOptions& options) {
  std::uint64_t total = 0, done = 0;
  for (auto& [name, value] : arrays) total += value.nbytes();
  auto shards = shards_of(arrays, options.shard_bytes);
  std::map<std::string, std::string> shard_of;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    std::string shard = shard_name(i, shards.size());
    io::AtomicFile file(folder / shard);
    std::string header = header_of(shards[i], arrays);
    std::uint64_t length = header.size();
    file.write(std::as_bytes(std::span(&length, 1)));
    file.write(header);
    for (auto& name : shards[i]) {
      array x = mx::contiguous(arrays.extract(name).mapped());
      x.eval();
      file.write(std::as_bytes(std::span(x.data<char>(), x.nbytes())));
      shard_of.emplace(name, shard);
      done += x.nbytes();
      if (options.progress) options.progress(done, total);
    }
    file.commit();
  }
  write_index(folder, shard_of, total, parameters);
}

}  // namespace mlxcpp::nn
