// The decoders that the tests of kernels trust, against gguf-py's and MLX's.
#include "tests/cpu/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>

namespace mlxcpp::cpu {
namespace {

std::vector<std::uint8_t> bytes_of(const std::string& hex) {
  std::vector<std::uint8_t> all;
  if (hex == "-") return all;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    all.push_back(std::uint8_t(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return all;
}

Coding coding_named(const std::string& name) {
  for (int c = 0; c < kCodings; ++c) {
    std::string known = name_of(Layout{Coding(c)});
    if (known.substr(0, known.find("_g")) == name) return Coding(c);
  }
  throw std::runtime_error("unknown coding " + name);
}

TEST(Decoders, agree_with_gguf_py_and_mlx) {
  std::ifstream file(MLXCPP_TEST_DATA "/cpu/codings.txt");
  std::string name, data, scales, zeros, numbers;
  int group, count = 0;
  while (file >> name >> group >> data >> scales >> zeros >> numbers) {
    ++count;
    auto d = bytes_of(data), s = bytes_of(scales), z = bytes_of(zeros), n = bytes_of(numbers);
    std::vector<float> expected(n.size() / 4);
    std::memcpy(expected.data(), n.data(), n.size());
    Matrix w;
    w.data = d.data(), w.scales = s.data(), w.zeros = z.data();
    w.rows = 1, w.columns = int(expected.size()), w.group = group, w.coding = coding_named(name);
    ASSERT_EQ(expected.size(), 256u);
    for (int i = 0; i < w.columns; ++i) {
      float e = expected[std::size_t(i)];
      EXPECT_NEAR(number_at(w, 0, i), e, 1e-6 * (1 + std::abs(e))) << name << " " << i;
    }
  }
  EXPECT_EQ(count, 21) << "made by tools/oracle/codings.py";
}

}  // namespace
}  // namespace mlxcpp::cpu
