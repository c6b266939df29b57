#include "mlxcpp/lm/random.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>

namespace mlxcpp::lm {
namespace {

using Words = std::array<std::uint32_t, 4>;
Words philox(Words counter, std::uint64_t key) {
  auto out = detail::philox({{counter[0], counter[1], counter[2], counter[3]}}, key);
  return {out.words[0], out.words[1], out.words[2], out.words[3]};
}

TEST(Philox, GivesTheKnownAnswersOfItsAuthors) {
  // Random123, kat_vectors: philox4x32 10.
  EXPECT_EQ(philox({0, 0, 0, 0}, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, ~std::uint64_t{0}),
            (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(RandomBits, DependOnSeedStepAndStream) {
  std::set<std::uint64_t> all;
  for (std::uint64_t seed : {0u, 1u})
    for (std::uint64_t step : {std::uint64_t{0}, std::uint64_t{1}, std::uint64_t{1} << 40})
      for (auto stream : {Stream::draw, Stream::xtc, Stream::draft, Stream::accept})
        all.insert(random_bits(seed, step, stream));
  EXPECT_EQ(all.size(), 24u);
}

TEST(Uniform, IsEvenOverSteps) {
  constexpr int kSteps = 40000, kCells = 64;
  int count[kCells] = {};
  for (int i = 0; i < kSteps; ++i) {
    double u = uniform(7, std::uint64_t(i), Stream::draw);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    ++count[int(u * kCells)];
  }
  double chi_square = 0, expected = double(kSteps) / kCells;
  for (int n : count) chi_square += (n - expected) * (n - expected) / expected;
  EXPECT_NEAR(chi_square, kCells - 1, 6 * std::sqrt(2.0 * (kCells - 1)));
}

}  // namespace
}  // namespace mlxcpp::lm
