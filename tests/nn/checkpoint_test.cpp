// Safetensors files become arrays; what an index leaves out or promises in vain.
#include "mlxcpp/nn/checkpoint.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/safetensors.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/stored.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace mlxcpp::nn {
namespace {

using test::TempDir;

using test::Entry;
using test::safetensors_of;

Entry floats(const std::string& name, const std::vector<float>& values) {
  return test::entry(name, "F32", {int(values.size())}, values);
}

/// Two shards; tensor "b" stands in both.
struct Sharded {
  TempDir dir;
  std::string first, second;

  Sharded() {
    first = dir.write("one.safetensors", safetensors_of({floats("a", {1}), floats("b", {2})}));
    second = dir.write("two.safetensors",
                       safetensors_of({floats("b", {3}), floats("c", {4}), floats("d", {5})}));
  }
  io::WeightFiles files(std::optional<io::WeightIndex> index = {}) const {
    return {io::WeightFiles::Kind::safetensors, {first, second}, std::move(index)};
  }
  static io::WeightIndex index(std::map<std::string, std::string> shard_of) {
    return {std::move(shard_of), {"one.safetensors", "two.safetensors"}};
  }
};

TEST(LoadSafetensors, keeps_names_shapes_and_dtypes) {
  TempDir dir;
  auto path = dir.write("model.safetensors",
                        safetensors_of({floats("x", {0.5f, -2}),
                                        {"h", "F16", "[1, 2]", std::string("\x00\x3c\x00\xc0", 4)},
                                        {"b", "BF16", "[]", std::string("\x80\x3f", 2)},
                                        {"u", "U32", "[1]", std::string("\x07\x00\x00\x00", 4)},
                                        {"s", "U8", "[3]", "\x01\x02\x03"}}));
  auto all = load_safetensors({io::WeightFiles::Kind::safetensors, {path}, {}});
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(test::Numbers(all.at("x")).data, (std::vector<double>{0.5, -2}));
  EXPECT_EQ(test::Numbers(all.at("h")).data, (std::vector<double>{1, -2}));
  EXPECT_EQ(all.at("h").shape(), (mx::Shape{1, 2}));
  EXPECT_EQ(all.at("h").dtype(), mx::float16);
  EXPECT_EQ(test::Numbers(all.at("b")).data, (std::vector<double>{1}));
  EXPECT_EQ(all.at("b").dtype(), mx::bfloat16);
  EXPECT_EQ(all.at("u").dtype(), mx::uint32);
  EXPECT_EQ(test::Numbers(all.at("s")).data, (std::vector<double>{1, 2, 3}));
}

TEST(LoadSafetensors, evaluates_nothing) {
  TempDir dir;
  auto path = dir.write("model.safetensors", safetensors_of({floats("x", {1})}));
  auto all = load_safetensors({io::WeightFiles::Kind::safetensors, {path}, {}});
  EXPECT_FALSE(all.at("x").is_available());
}

TEST(LoadSafetensors, with_an_index_takes_each_tensor_from_its_shard_and_no_other_tensor) {
  Sharded s;
  auto all = load_safetensors(s.files(Sharded::index(
      {{"a", "one.safetensors"}, {"b", "two.safetensors"}, {"c", "two.safetensors"}})));
  ASSERT_EQ(all.size(), 3u) << "d is in a shard, but not in the index";
  EXPECT_EQ(test::Numbers(all.at("a")).data, std::vector<double>{1});
  EXPECT_EQ(test::Numbers(all.at("b")).data, std::vector<double>{3});
  EXPECT_EQ(test::Numbers(all.at("c")).data, std::vector<double>{4});
}

TEST(LoadSafetensors, names_a_tensor_that_the_index_promises_and_its_shard_lacks) {
  Sharded s;
  EXPECT_EQ(test::message_of<WeightError>([&] {
              load_safetensors(s.files(Sharded::index({{"a", "two.safetensors"}})));
            }),
            "a: missing; expected in two.safetensors, as the index says");
}

TEST(LoadSafetensors, without_an_index_refuses_a_tensor_in_two_files) {
  Sharded s;
  EXPECT_EQ(test::message_of<WeightError>([&] { load_safetensors(s.files()); }),
            s.second + ": b: tensor is in more than one file");
}

/// What loading a file with this tensor in it says.
std::string error_of(const Entry& e) {
  TempDir dir;
  auto path = dir.write("model.safetensors", safetensors_of({floats("x", {1}), e}));
  std::string message = test::message_of<WeightError>([&] {
    load_safetensors({io::WeightFiles::Kind::safetensors, {path}, {}});
  });
  std::string folder = dir.path().string() + "/";
  return message.starts_with(folder) ? message.substr(folder.size()) : message;
}

TEST(LoadSafetensors, takes_or_refuses_by_name_every_type_of_the_format) {
  int taken = 0, refused = 0;
  for (auto type :
       {"BOOL", "F4",  "F6_E2M3", "F6_E3M2", "U8",      "I8",         "F8_E5M2",     "F8_E4M3",
        "I16",  "U16", "F16",     "BF16",    "I32",     "U32",        "F8_E5M2FNUZ", "F32",
        "C64",  "F64", "I64",     "U64",     "F8_E8M0", "F8_E4M3FNUZ"}) {
    size_t bytes = size_t(io::bits_of_dtype(type));  // of eight elements
    std::string message = error_of({"y", type, "[8]", std::string(bytes, '\0')});
    if (message == "no error") {
      ++taken;
      continue;
    }
    ++refused;
    if (std::string(type) == "F8_E4M3") {
      EXPECT_EQ(message,
                "model.safetensors: y: fp8 in a checkpoint that does not say how to read it; "
                "expected a quantization_config with quant_method fp8 in config.json, found none");
      continue;
    }
    EXPECT_EQ(message,
              std::string("model.safetensors: y: dtype not supported; expected F32, F16, BF16 or "
                          "another that MLX has, found ") +
                  type);
  }
  EXPECT_EQ(taken, 14);
  EXPECT_EQ(refused, 8);
}

TEST(LoadSafetensors, refuses_extents_that_mlx_has_not) {
  EXPECT_EQ(error_of({"y", "F32", "[4294967296, 0]", ""}),
            "model.safetensors: y: extent too large; expected at most 2147483647, found "
            "4294967296");
}

TEST(LoadSafetensors, names_a_file_that_is_cut_off) {
  TempDir dir;
  std::string whole = safetensors_of({floats("x", {1, 2})});
  auto path = dir.write("model.safetensors", whole.substr(0, whole.size() - 1));
  EXPECT_TRUE(test::message_of<WeightError>([&] {
                load_safetensors({io::WeightFiles::Kind::safetensors, {path}, {}});
              }).starts_with(path.string() + ": tensor x: "));
}

TEST(TensorBytes, are_those_of_all_tensors_without_headers) {
  Sharded s;
  EXPECT_EQ(tensor_bytes(s.files()), 5 * 4u);
}

TEST(TensorBytes, of_a_gguf_file_are_those_of_its_blocks) {
  std::string path = MLXCPP_TEST_DATA "/io/typed.gguf", list = path + ".txt";
  // Each line of the list: name, type, extents, bytes, checksum.
  std::ifstream lines(list);
  std::string name, type, dims, crc;
  std::uint64_t bytes, total = 0;
  while (lines >> name >> type >> dims >> bytes >> crc) total += bytes;
  ASSERT_GT(total, 0u);
  EXPECT_EQ(tensor_bytes({io::WeightFiles::Kind::gguf, {path}, {}}), total);
}

}  // namespace
}  // namespace mlxcpp::nn
