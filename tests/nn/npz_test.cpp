// Archives that NumPy wrote become arrays.
#include "mlxcpp/nn/checkpoint.h"
#include "tests/support/numbers.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

namespace mlxcpp::nn {
namespace {

const std::map<std::string, mx::Dtype> kDtypes = {{"bool", mx::bool_},
                                                  {"uint8", mx::uint8},
                                                  {"int16", mx::int16},
                                                  {"int64", mx::int64},
                                                  {"int32", mx::int32},
                                                  {"float16", mx::float16},
                                                  {"float32", mx::float32},
                                                  {"bfloat16", mx::bfloat16}};

TEST(LoadNpz, gives_what_numpy_says_whatever_byte_order_and_layout_it_stands_in) {
  for (std::string file : {"stored.npz", "deflated.npz"}) {
    auto all = load_npz(MLXCPP_TEST_DATA "/io/" + file);
    // Each line of the list: name, dtype, extents, numbers in row-major order.
    std::ifstream lines(MLXCPP_TEST_DATA "/io/npz.txt");
    size_t count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
      std::istringstream words(line);
      std::string name, dtype, extents;
      words >> name >> dtype >> extents;
      ASSERT_TRUE(all.count(name)) << name;
      const array& a = all.at(name);
      EXPECT_EQ(a.dtype(), kDtypes.at(dtype)) << name;
      std::string shape = "[";
      for (int extent : a.shape())
        shape.append(shape.size() > 1 ? "," : "").append(std::to_string(extent));
      EXPECT_EQ(shape.append("]"), extents) << name;
      std::vector<double> want;
      for (double v; words >> v;) want.push_back(v);
      EXPECT_EQ(test::Numbers(a).data, want) << name;
    }
    EXPECT_EQ(count, all.size());
    EXPECT_GT(count, 10u);
  }
}

TEST(LoadNpz, counts_its_bytes_unpacked) {
  io::WeightFiles files{io::WeightFiles::Kind::npz, {MLXCPP_TEST_DATA "/io/deflated.npz"}, {}};
  io::WeightFiles stored{io::WeightFiles::Kind::npz, {MLXCPP_TEST_DATA "/io/stored.npz"}, {}};
  EXPECT_EQ(tensor_bytes(files), tensor_bytes(stored));
  EXPECT_GT(tensor_bytes(files), 12 * 128u);
}

}  // namespace
}  // namespace mlxcpp::nn
