#include "mlxcpp/io/weight_files.h"

#include "mlxcpp/base/error.h"
#include "tests/io/support.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace mlxcpp::io {
namespace {

using testing::message_of;
using testing::TempFolder;
using Kind = WeightFiles::Kind;

// Names of what is found, in order, with the kind in front.
std::string found(const std::filesystem::path& path) {
  WeightFiles files = find_weight_files(path);
  std::string all = files.kind == Kind::safetensors ? "safetensors"
                    : files.kind == Kind::gguf      ? "gguf"
                                                    : "npz";
  if (files.index) all += " index";
  for (const auto& p : files.paths) all.append(" ").append(p.filename().string());
  return all;
}

TEST(WeightFiles, are_found_in_the_seeds_order) {
  TempFolder folder;
  folder.put("only.npz", "");
  EXPECT_EQ(found(folder.path()), "npz only.npz");
  folder.put("weights.npz", "");
  EXPECT_EQ(found(folder.path()), "npz weights.npz");
  folder.put("model.npz", "");
  EXPECT_EQ(found(folder.path()), "npz model.npz");
  folder.put("some.gguf", "");
  EXPECT_EQ(found(folder.path()), "gguf some.gguf");
  folder.put("weights.safetensors", "");
  EXPECT_EQ(found(folder.path()), "safetensors weights.safetensors");
  folder.put("model-00002-of-00002.safetensors", "");
  folder.put("model-00001-of-00002.safetensors", "");
  EXPECT_EQ(found(folder.path()),
            "safetensors model-00001-of-00002.safetensors model-00002-of-00002.safetensors");
  folder.put("model.safetensors", "");
  EXPECT_EQ(found(folder.path()), "safetensors model.safetensors");
  folder.put("model.safetensors.index.json",
             R"({"metadata": {"total_size": 1}, "weight_map": {"w": "weights.safetensors"}})");
  EXPECT_EQ(found(folder.path()), "safetensors index weights.safetensors");
}

TEST(WeightFiles, other_names_do_not_count) {
  TempFolder folder;
  for (auto name : {"adapters.safetensors",
                    "amodel.safetensors",
                    "model.safetensors.bak",
                    ".x.gguf",
                    "tokenizer.json"})
    folder.put(name, "");
  EXPECT_EQ(message_of<WeightError>([&] { find_weight_files(folder.path()); }),
            folder.path().string() +
                ": no weights; looked for model.safetensors.index.json, model*.safetensors, "
                "weights.safetensors, one *.gguf, model.npz, weights.npz, one *.npz");
}

TEST(WeightFiles, one_of_several_gguf_or_npz_is_not_guessed) {
  TempFolder folder;
  folder.put("b.gguf", "");
  folder.put("a.gguf", "");
  EXPECT_EQ(
      message_of<WeightError>([&] { find_weight_files(folder.path()); }),
      folder.path().string() +
          ": which file is meant is not clear; expected one *.gguf, found a.gguf, b.gguf; try "
          "naming the file instead of the directory");
  TempFolder other;
  other.put("b.npz", "");
  other.put("a.npz", "");
  EXPECT_EQ(message_of<WeightError>([&] { find_weight_files(other.path()); }),
            other.path().string() +
                ": which file is meant is not clear; expected one *.npz, found a.npz, b.npz; try "
                "naming the file instead of the directory");
}

TEST(WeightFiles, a_gguf_file_is_itself) {
  TempFolder folder;
  EXPECT_EQ(found(folder.put("x.gguf", "")), "gguf x.gguf");
}

TEST(WeightFiles, what_is_no_directory_is_an_io_error) {
  TempFolder folder;
  auto path = folder / "no";
  EXPECT_EQ(message_of<IoError>([&] { find_weight_files(path); }),
            path.string() + ": no such model directory or file");
  path = folder.put("x.bin", "");
  EXPECT_EQ(message_of<IoError>([&] { find_weight_files(path); }),
            path.string() +
                ": not a model; expected a directory or a .gguf file, found another kind of "
                "file");
}

TEST(WeightFiles, a_dangling_index_is_an_error_and_never_passed_over) {
  TempFolder folder;
  folder.put("model.safetensors", "");
  auto index = folder / "model.safetensors.index.json";
  std::filesystem::create_symlink("nowhere", index);
  EXPECT_EQ(message_of<IoError>([&] { find_weight_files(folder.path()); }),
            index.string() + ": no such file");
}

class Index : public ::testing::Test {
 protected:
  std::string error(std::string_view json) {
    folder.put("model.safetensors.index.json", json);
    std::string message;
    try {
      read_index(folder.path());
      return "no error";
    } catch (const Error& e) {
      message = std::string(name_of(e.kind())) + ": " + e.what();
    }
    std::string place = (folder / "model.safetensors.index.json").string();
    return testing::replaced(
        testing::replaced(message, place, "INDEX"), folder.path().string(), "DIR");
  }
  TempFolder folder;
};

TEST_F(Index, lists_each_shard_once) {
  folder.put("b", "");
  folder.put("a", "");
  folder.put("model.safetensors.index.json",
             R"({"weight_map": {"z.weight": "a", "x.weight": "b", "y.weight": "a"}})");
  WeightIndex index = read_index(folder.path());
  EXPECT_EQ(index.shards, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(index.shard_of.at("x.weight"), "b");
  EXPECT_EQ(index.shard_of.size(), 3u);
}

TEST_F(Index, of_bad_form_is_refused) {
  EXPECT_EQ(error("{}"), "config: INDEX.weight_map: missing; expected object");
  EXPECT_EQ(error(R"({"weight_map": []})"),
            "config: INDEX.weight_map: expected object, found list of 0");
  EXPECT_EQ(error(R"({"weight_map": {"w": 1}})"),
            "config: INDEX.weight_map.w: expected string, found integer 1");
  EXPECT_EQ(error(R"({"weight_map": {"w": null}})"),
            "config: INDEX.weight_map.w: expected string, found null");
  EXPECT_EQ(error(R"({"weight_map": {"w": "a", "w": "a"}})"),
            "config: INDEX.weight_map.w: key given twice");
  EXPECT_EQ(error(R"({"weight_map": {}})"), "weight: INDEX: names no tensors");
  EXPECT_EQ(error("nonsense").substr(0, 34), "config: INDEX: line 1, column 2: s");
}

TEST_F(Index, shards_are_bare_names) {
  for (std::string name : {"../x", "/etc/x", "a/b", "a\\\\b", ".", "..", "", "a\\u0000b"}) {
    std::string json = "{\"weight_map\": {\"w\": \"" + name + "\"}}";
    EXPECT_EQ(
        error(json),
        "weight: INDEX.weight_map.w: bad shard; expected a file name without folders, found \"" +
            name + "\"");
  }
}

TEST_F(Index, a_missing_shard_is_named) {
  folder.put("a", "");
  EXPECT_EQ(
      error(R"({"weight_map": {"v": "a", "w": "gone.safetensors"}})"),
      "weight: INDEX: a shard is missing; expected DIR/gone.safetensors (it holds w), found no "
      "such file");
}

TEST_F(Index, larger_than_its_limit_is_refused) {
  EXPECT_EQ(error(std::string((16 << 20) + 1, ' ')),
            "io: INDEX: file is too large; expected at most 16777216 bytes");
}

}  // namespace
}  // namespace mlxcpp::io
