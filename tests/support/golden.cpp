#include "tests/support/golden.h"

#include "mlxcpp/io/fields.h"

#include <mlx/io.h>
#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <stdexcept>

namespace mlxcpp::test {
namespace {

namespace fs = std::filesystem;
constexpr const char* kData = MLXCPP_TEST_DATA;

std::uint64_t splitmix64(std::uint64_t x) {
  std::uint64_t z = x + 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

mx::Dtype dtype_named(const std::string& name) {
  if (name == "float16") return mx::float16;
  if (name == "bfloat16") return mx::bfloat16;
  return mx::float32;
}

fs::path weights_beside(const fs::path& golden, const std::string& extension) {
  return golden.parent_path() / (golden.stem().string() + "_weights" + extension);
}

}  // namespace

array seeded_tensor(const std::string& name, const mx::Shape& shape) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (unsigned char c : name) hash = (hash ^ c) * 0x100000001b3u;
  size_t count = 1;
  for (int extent : shape) count *= size_t(extent);
  std::vector<float> values(count);
  bool factor =  // what multiplies is near one
      name.ends_with("norm.weight") || name.ends_with("scale") || name.ends_with("scalar");
  for (size_t i = 0; i < count; ++i) {
    float v = float(splitmix64(hash + i) >> 40) / float(1 << 23) - 1;
    values[i] = factor ? 1 + 0.25f * v : 0.25f * v;
  }
  return array(values.data(), shape, mx::float32);
}

Golden Golden::read(const fs::path& file) {
  auto [arrays, metadata] = mx::load_safetensors(file.string());
  Golden g;
  g.tensors.insert(arrays.begin(), arrays.end());
  g.metadata.insert(metadata.begin(), metadata.end());
  return g;
}

std::vector<int> Golden::ids(const std::string& name) const {
  array a = mx::contiguous(mx::astype(at(name), mx::int32));
  a.eval();
  return {a.data<int>(), a.data<int>() + a.size()};
}

bool golden_has(const fs::path& file, const std::string& name) {
  std::ifstream in(file, std::ios::binary);
  std::uint64_t size = 0;
  in.read(reinterpret_cast<char*>(&size), sizeof size);
  std::string header(size_t(size), '\0');
  in.read(header.data(), std::streamsize(size));
  return header.find('"' + name + "\":") != header.npos;
}

std::vector<fs::path> golden_files(const std::string& prefix) {
  std::vector<fs::path> files;
  for (auto& entry : fs::directory_iterator(fs::path(kData) / "lm")) {
    std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".safetensors") &&
        !name.ends_with("_weights.safetensors"))
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

void write_model(const fs::path& directory, const fs::path& golden) {
  Golden g = Golden::read(golden);
  std::ofstream(directory / "config.json") << g.metadata.at("config");
  fs::copy_file(fs::path(kData) / "text/gpt2.json", directory / "tokenizer.json");
  for (std::string extension : {".safetensors", ".npz"})
    if (fs::path weights = weights_beside(golden, extension); fs::exists(weights)) {
      fs::copy_file(weights, directory / ("model" + extension));
      return;
    }
  auto shapes = io::Fields::parse(g.metadata.at("weight_shapes"), "weight_shapes");
  auto dtype = dtype_named(g.metadata.count("weights_dtype") ? g.metadata.at("weights_dtype") : "");
  std::unordered_map<std::string, array> weights;
  for (auto& name : shapes.keys()) {
    std::vector<int> shape;
    shapes.need(name, &shape);
    weights.insert(
        {name, mx::astype(seeded_tensor(name, mx::Shape(shape.begin(), shape.end())), dtype)});
  }
  mx::save_safetensors((directory / "model.safetensors").string(), weights);
}

float relative_difference(const array& a, const array& b) {
  if (a.shape() != b.shape()) throw std::runtime_error("shapes differ");
  array x = mx::astype(a, mx::float32), y = mx::astype(b, mx::float32);
  array worst = mx::max(mx::abs(mx::subtract(x, y)));
  return mx::divide(worst, mx::max(mx::abs(y))).item<float>();
}

array forward(const lm::LanguageModel& model, lm::Caches& caches, const std::vector<int>& ids) {
  lm::Input in{.tokens = array(ids.data(), {1, int(ids.size())}, mx::int32)};
  array y = mx::squeeze(mx::astype(model.logits(model.hidden(in, caches)), mx::float32), 0);
  auto all = caches.arrays();
  all.push_back(y);
  mx::eval(all);
  return y;
}

}  // namespace mlxcpp::test
