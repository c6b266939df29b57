#include "apps/common/checkpoint_size.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/base/numbers.h"
#include "mlxcpp/io/npy.h"
#include "mlxcpp/io/safetensors.h"
#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/nn/foreign.h"
#include "mlxcpp/nn/weights.h"
#include "mlxcpp/ops/device.h"

#include <set>
#include <string_view>
#include <utility>

namespace mlxcpp::apps {
namespace {

std::uint64_t elements(const std::vector<std::int64_t>& shape) {
  std::uint64_t n = 1;
  for (auto extent : shape) n = checked_mul(n, std::uint64_t(extent)).value_or(UINT64_MAX);
  return n;
}

/// Packed blocks become MLX's: 4 or 8 bits an element, float32 scale and bias for each 32.
std::uint64_t loaded_bytes(const io::GgufTensor& t) {
  switch (t.type) {
    case io::GgmlType::q4_0:
    case io::GgmlType::q4_1: return elements(t.shape) / 4 * 3;
    case io::GgmlType::q8_0: return elements(t.shape) / 4 * 5;
    default: return t.bytes.size();
  }
}

CheckpointSize measure(const io::Gguf& file) {
  CheckpointSize size;
  for (auto& t : file.tensors()) {
    size.parameters += elements(t.shape);
    size.bytes += t.bytes.size();
    size.loaded_bytes += loaded_bytes(t);
    ++size.types[std::string(io::name_of(t.type))];
  }
  return size;
}

/// How weights are packed; neither where we do not know the method: tensors are counted as they
/// are.
struct Packing {
  nn::Quantization quantization;
  std::optional<nn::Foreign> foreign;
};
Packing packing(const std::string& config_json) {
  auto config = io::Fields::parse(config_json);
  try {
    if (auto foreign = nn::Foreign::read(config)) return {{}, std::move(foreign)};
    return {nn::Quantization::read(config), {}};
  } catch (const UnsupportedError&) {
    return {};
  }
}

/// "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight".
std::string_view owner(std::string_view name) { return name.substr(0, name.rfind('.')); }
std::string_view leaf(std::string_view name) {
  auto dot = name.rfind('.');
  return dot == name.npos ? name : name.substr(dot + 1);
}

/// As the config has it.  A width that only the model's shapes tell is counted as the others'.
int packed_bits(const nn::Quantization& quantization, const std::string& path) {
  auto named = quantization.exceptions.find(path);
  auto quant = named == quantization.exceptions.end() ? quantization.all : named->second;
  return quant && quant->bits > 0 ? quant->bits : 32;
}

/// Numbers that a tensor of another program's checkpoint stands for; none where it is about them.
std::uint64_t foreign_parameters(const io::SafetensorsTensor& t, const nn::Foreign& foreign) {
  std::string_view kind = leaf(t.name);
  std::uint64_t n = elements(t.shape);
  if (kind == "qweight") return n * 8;
  if (kind == "weight_packed") {
    if (t.dtype == "U8") return n * 2;
    return n * 32 / std::uint64_t(foreign.schemes.empty() ? 4 : foreign.schemes[0].bits);
  }
  bool about = kind == "qzeros" || kind == "scales" || kind == "g_idx" ||
               kind.starts_with("weight_") || kind.starts_with("input_");
  return about ? 0 : n;
}

CheckpointSize measure(const io::WeightFiles& files, const nn::Foreign& foreign) {
  CheckpointSize size;
  for (auto& path : files.paths) {
    auto file = io::Safetensors::open(path);
    for (auto& t : file.tensors) {
      size.bytes += t.end - t.begin;
      ++size.types[std::string(t.dtype)];
      size.parameters += foreign_parameters(t, foreign);
    }
  }
  size.loaded_bytes = nn::converted_bytes(files, foreign);
  return size;
}

CheckpointSize measure(const io::Npz& file) {
  CheckpointSize size;
  for (auto& member : file.members()) {
    auto header = file.read(member).header;
    size.bytes += header.data_bytes;
    ++size.types[std::string(header.dtype)];
    size.parameters += elements(header.shape);
  }
  size.loaded_bytes = size.bytes;
  return size;
}

CheckpointSize measure(const io::WeightFiles& files, const nn::Quantization& quantization) {
  CheckpointSize size;
  std::vector<io::Safetensors> headers;
  for (auto& path : files.paths) headers.push_back(io::Safetensors::open(path));
  std::set<std::string, std::less<>> packed;  // paths whose weights come with scales
  for (auto& header : headers)
    for (auto& t : header.tensors)
      if (leaf(t.name) == "scales") packed.emplace(owner(t.name));
  for (auto& header : headers) {
    for (auto& t : header.tensors) {
      size.bytes += t.end - t.begin;
      ++size.types[std::string(t.dtype)];
      bool in_packed = packed.count(owner(t.name)) > 0;
      if (in_packed && (leaf(t.name) == "scales" || leaf(t.name) == "biases")) continue;
      std::uint64_t n = elements(t.shape);
      if (in_packed && leaf(t.name) == "weight")
        n = n * 32 / std::uint64_t(packed_bits(quantization, std::string(owner(t.name))));
      size.parameters += n;
    }
  }
  size.loaded_bytes = size.bytes;
  return size;
}

}  // namespace

CheckpointSize measure(const ModelFiles& files) {
  if (files.gguf) return measure(*files.gguf);
  auto found = io::find_weight_files(files.path);
  if (found.kind == io::WeightFiles::Kind::gguf) return measure(io::Gguf::open(found.paths.at(0)));
  if (found.kind == io::WeightFiles::Kind::npz) return measure(io::Npz::open(found.paths.at(0)));
  auto how = packing(files.config.json);
  return how.foreign ? measure(found, *how.foreign) : measure(found, how.quantization);
}

std::optional<std::uint64_t> kv_bytes_per_token(const lm::BaseConfig& c) {
  if (!c.num_hidden_layers || !c.num_attention_heads) return {};
  int heads = c.num_key_value_heads.value_or(*c.num_attention_heads), head_dim = 0;
  if (c.head_dim)
    head_dim = *c.head_dim;
  else if (c.hidden_size && *c.num_attention_heads > 0)
    head_dim = *c.hidden_size / *c.num_attention_heads;
  if (heads < 1 || head_dim < 1 || *c.num_hidden_layers < 1) return {};
  std::uint64_t width = ops::on_cpu() ? 4 : 2;
  std::uint64_t extents[] = {
      2, width, std::uint64_t(*c.num_hidden_layers), std::uint64_t(heads), std::uint64_t(head_dim)};
  return checked_product(extents);
}

}  // namespace mlxcpp::apps
