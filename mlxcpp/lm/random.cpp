#include "mlxcpp/lm/random.h"

namespace mlxcpp::lm {

detail::Philox detail::philox(Philox counter, std::uint64_t key) {
  auto& [a, b, c, d] = counter.words;
  auto k0 = std::uint32_t(key), k1 = std::uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint64_t p = std::uint64_t(0xD2511F53) * a, q = std::uint64_t(0xCD9E8D57) * c;
    a = std::uint32_t(q >> 32) ^ b ^ k0;
    b = std::uint32_t(q);
    c = std::uint32_t(p >> 32) ^ d ^ k1;
    d = std::uint32_t(p);
    k0 += 0x9E3779B9, k1 += 0xBB67AE85;
  }
  return counter;
}

std::uint64_t random_bits(std::uint64_t seed, std::uint64_t step, Stream stream) {
  auto out = detail::philox(
      {{std::uint32_t(step), std::uint32_t(step >> 32), std::uint32_t(stream), 0}}, seed);
  return std::uint64_t(out.words[1]) << 32 | out.words[0];
}

}  // namespace mlxcpp::lm
