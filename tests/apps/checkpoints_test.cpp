// `mlxcpp info` on checkpoints that other programs wrote.
#include "mlxcpp/io/fields.h"
#include "tests/apps/run.h"
#include "tests/support/golden.h"
#include "tests/support/temp_dir.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace mlxcpp::test {
namespace {

namespace fs = std::filesystem;

std::int64_t parameters_of(const fs::path& directory) {
  Ran ran = run({"info", directory.string(), "--json"});
  EXPECT_EQ(ran.code, 0) << ran.err;
  std::int64_t n = 0;
  io::Fields::parse(ran.out).need("parameters", &n);
  return n;
}

TEST(Info, counts_what_weights_packed_by_other_programs_stand_for) {
  for (std::string row :
       {"awq", "awq_128", "gptq_128", "ct_int4", "ct_int4_asym", "ct_int8", "nvfp4", "fp8"}) {
    TempDir dir;
    fs::path file = fs::path(MLXCPP_TEST_DATA) / "lm" / ("llama_foreign_" + row + ".safetensors");
    write_model(dir.path(), file);
    std::int64_t want = 0;
    auto shapes = io::Fields::parse(Golden::read(file).metadata.at("weight_shapes"));
    for (auto& name : shapes.keys()) {
      std::vector<std::int64_t> shape;
      shapes.need(name, &shape);
      std::int64_t n = 1;
      for (auto extent : shape) n *= extent;
      want += n;
    }
    EXPECT_EQ(parameters_of(dir.path()), want) << row;
  }
}

TEST(Info, counts_the_numbers_in_an_npz_archive) {
  TempDir dir;
  dir.write("config.json", R"({"model_type": "llama"})");
  fs::copy_file(fs::path(MLXCPP_TEST_DATA) / "text/gpt2.json", dir.path() / "tokenizer.json");
  fs::copy_file(fs::path(MLXCPP_TEST_DATA) / "io/deflated.npz", dir.path() / "model.npz");
  // 2 x 3, 5, 2 x 2, 3, 3, one, none, 3 x 2, 4, 2 x 3 x 4, 3 x 2, 3
  EXPECT_EQ(parameters_of(dir.path()), 6 + 5 + 4 + 3 + 3 + 1 + 6 + 4 + 24 + 6 + 3);
}

}  // namespace
}  // namespace mlxcpp::test
