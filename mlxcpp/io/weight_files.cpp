#include "mlxcpp/io/weight_files.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/json.h"

#include <algorithm>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>

namespace mlxcpp::io {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kIndexName = "model.safetensors.index.json";

// Does the name stand in the directory, whatever it is?  A dangling link does.
bool is_entry(const fs::path& path) {
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() != fs::file_type::not_found;
}

bool is_bare_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == name.npos;
}

// Names of `directory` as the shell's `<prefix>*<suffix>` gives them, sorted.
std::vector<fs::path> glob(const fs::path& directory,
                           std::string_view prefix,
                           std::string_view suffix) {
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::string name = entry.path().filename().string();
    if (name.size() < prefix.size() + suffix.size() || !name.starts_with(prefix) ||
        !name.ends_with(suffix) || (prefix.empty() && name.starts_with(".")))
      continue;
    found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

std::optional<fs::path> only_one(const fs::path& directory, std::string_view suffix) {
  auto found = glob(directory, "", suffix);
  if (found.empty()) return {};
  if (found.size() == 1) return found[0];
  std::string names;
  for (const auto& path : found) names += (names.empty() ? "" : ", ") + path.filename().string();
  throw WeightError(describe(directory.string(),
                             "which file is meant is not clear",
                             "one *" + std::string(suffix),
                             names,
                             "naming the file instead of the directory"));
}

WeightFiles find_in_directory(const fs::path& directory) {
  using Kind = WeightFiles::Kind;
  if (is_entry(directory / kIndexName)) {
    WeightFiles files{Kind::safetensors, {}, read_index(directory)};
    for (const auto& shard : files.index->shards) files.paths.push_back(directory / shard);
    return files;
  }
  if (auto path = directory / "model.safetensors"; is_entry(path))
    return {Kind::safetensors, {path}, {}};
  if (auto paths = glob(directory, "model", ".safetensors"); !paths.empty())
    return {Kind::safetensors, std::move(paths), {}};
  if (auto path = directory / "weights.safetensors"; is_entry(path))
    return {Kind::safetensors, {path}, {}};
  if (auto path = only_one(directory, ".gguf")) return {Kind::gguf, {*path}, {}};
  for (auto name : {"model.npz", "weights.npz"})
    if (is_entry(directory / name)) return {Kind::npz, {directory / name}, {}};
  if (auto path = only_one(directory, ".npz")) return {Kind::npz, {*path}, {}};
  throw WeightError(directory.string() +
                    ": no weights; looked for model.safetensors.index.json, model*.safetensors, "
                    "weights.safetensors, one *.gguf, model.npz, weights.npz, one *.npz");
}

}  // namespace

WeightIndex read_index(const fs::path& directory) {
  fs::path path = directory / kIndexName;
  Fields fields = Fields::parse(read_text(path, kIndexLimit), path.string());
  WeightIndex index;
  fields.need("weight_map", &index.shard_of);
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : index.shard_of) {
    if (!is_bare_name(shard))
      throw WeightError(describe(fields.where("weight_map") + "." + printable(tensor),
                                 "bad shard",
                                 "a file name without folders",
                                 dump_string(shard.substr(0, 80))));
    if (!shards.insert(shard).second) continue;
    std::error_code ignored;
    if (!fs::exists(directory / shard, ignored))
      throw WeightError(describe(
          path.string(),
          "a shard is missing",
          (directory / printable(shard)).string() + " (it holds " + printable(tensor) + ")",
          "no such file"));
  }
  if (shards.empty()) throw WeightError(path.string() + ": names no tensors");
  index.shards.assign(shards.begin(), shards.end());
  return index;
}

WeightFiles find_weight_files(const fs::path& path) {
  std::error_code error;
  auto status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found)
    throw IoError(path.string() + ": no such model directory or file");
  if (status.type() == fs::file_type::regular && path.extension() == ".gguf")
    return {WeightFiles::Kind::gguf, {path}, {}};
  if (status.type() != fs::file_type::directory)
    throw IoError(describe(path.string(),
                           "not a model",
                           "a directory or a .gguf file",
                           error ? error.message() : "another kind of file"));
  try {
    return find_in_directory(path);
  } catch (const fs::filesystem_error& e) {
    throw IoError(path.string() + ": cannot read the directory: " + e.code().message());
  }
}

}  // namespace mlxcpp::io
