// Weights that are written and read again.
#include "mlxcpp/nn/save.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/fields.h"
#include "mlxcpp/io/file.h"
#include "mlxcpp/io/safetensors.h"
#include "mlxcpp/nn/checkpoint.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

namespace mlxcpp::nn {
namespace {

namespace fs = std::filesystem;
using test::message_of;
using test::noise;
using test::TempDir;
using Tensors = std::map<std::string, array>;

Tensors some() {
  return {{"b.weight", noise({4, 6}, 1)},
          {"a.weight", mx::astype(noise({3, 5}, 2), mx::bfloat16)},
          {"a.scales", mx::swapaxes(noise({2, 7}, 3), 0, 1)},  // not in order
          {"c.codes", mx::arange(0, 10, mx::uint32)},
          {"d.empty", mx::zeros({0, 3}, mx::float16)},
          {"e.scalar", array(2.5f)}};
}

std::vector<std::string> files(const fs::path& folder) {
  std::vector<std::string> names;
  for (auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

void expect_same(const fs::path& folder, const Tensors& want) {
  auto read = load_safetensors(io::find_weight_files(folder));
  ASSERT_EQ(read.size(), want.size());
  for (auto& [name, value] : want) {
    EXPECT_EQ(read.at(name).dtype(), value.dtype()) << name;
    EXPECT_TRUE(mx::array_equal(read.at(name), value).item<bool>()) << name;
  }
}

TEST(SaveWeights, writes_one_file_and_an_index) {
  TempDir dir;
  save_weights(dir.path(), some(), 123);
  EXPECT_EQ(files(dir.path()),
            (std::vector<std::string>{"model.safetensors", "model.safetensors.index.json"}));
  expect_same(dir.path(), some());
  EXPECT_EQ(io::Safetensors::open(dir.path() / "model.safetensors").metadata.at("format"), "mlx");
  auto index = io::Fields::parse(
      io::read_text(dir.path() / "model.safetensors.index.json", std::size_t{1} << 20));
  auto metadata = index.need_object("metadata");
  std::int64_t size = 0, parameters = 0;
  metadata.need("total_size", &size).need("total_parameters", &parameters);
  EXPECT_EQ(size, 24 * 4 + 15 * 2 + 14 * 4 + 40 + 0 + 4);
  EXPECT_EQ(parameters, 123);
}

TEST(SaveWeights, cuts_into_shards_that_are_no_larger_than_asked_but_for_one_tensor) {
  TempDir dir;
  // By name: a.scales 56, a.weight 30 | b.weight 96 | c.codes 40, d.empty 0, e.scalar 4.
  save_weights(dir.path(), some(), 1, {.shard_bytes = 90});
  EXPECT_EQ(files(dir.path()),
            (std::vector<std::string>{"model-00001-of-00003.safetensors",
                                      "model-00002-of-00003.safetensors",
                                      "model-00003-of-00003.safetensors",
                                      "model.safetensors.index.json"}));
  auto shard = io::read_index(dir.path()).shard_of;
  EXPECT_EQ(shard.at("a.weight"), "model-00001-of-00003.safetensors");
  EXPECT_EQ(shard.at("b.weight"), "model-00002-of-00003.safetensors");
  EXPECT_EQ(shard.at("e.scalar"), "model-00003-of-00003.safetensors");
  expect_same(dir.path(), some());
}

TEST(SaveWeights, tells_of_progress_and_leaves_no_file_where_that_throws) {
  TempDir dir;
  std::uint64_t last = 0;
  auto tell = [&](std::uint64_t done, std::uint64_t total) {
    EXPECT_EQ(total, 226u);
    EXPECT_GE(done, last);
    last = done;
  };
  save_weights(dir.path(), some(), 1, {.progress = tell});
  EXPECT_EQ(last, 226u);
  TempDir other;
  auto stop = [](std::uint64_t, std::uint64_t) { throw std::runtime_error("stop"); };
  EXPECT_THROW(save_weights(other.path(), some(), 1, {.progress = stop}), std::runtime_error);
  EXPECT_TRUE(files(other.path()).empty());
}

}  // namespace
}  // namespace mlxcpp::nn
