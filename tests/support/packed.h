// Quantised weights made by hand: random codes, packed and decoded by loops of our own.
#pragma once

#include "mlxcpp/ops/linear.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <cmath>
#include <cstdint>
#include <string>

namespace mlxcpp::test {

/// e2m1 of the Open Compute microscaling formats: sign, two bits of exponent, one of mantissa.
inline double fp4(int code) {
  const double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return (code & 8 ? -1 : 1) * values[code & 7];
}
/// e4m3: sign, four bits of exponent (bias 7), three of mantissa.
inline double fp8(int code) {
  int exponent = code >> 3 & 15, mantissa = code & 7;
  double value = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
  return code & 128 ? -value : value;
}

struct Packed {
  ops::Weight weight;
  Numbers numbers;  // what it stands for, (out, in)
};

class Packer {
 public:
  Packer(ops::Quant quant, int outputs, int inputs, mx::Dtype scales = mx::float32)
      : q_(quant), outputs_(outputs), inputs_(inputs), dtype_(scales) {}

  Packed make(int seed) {
    Numbers codes = random({outputs_, inputs_}, 1 << q_.bits, seed);
    bool affine = q_.format == ops::Format::affine;
    mx::Shape groups{outputs_, inputs_ / q_.group_size};
    array scales = affine ? noise(groups, seed + 1, dtype_)
                          : mx::astype(scale_bytes(groups, seed + 1).as(), mx::uint8);
    array zeros = noise(groups, seed + 2, dtype_);
    Packed p{std::make_shared<ops::WeightData>(), Numbers(codes.shape)};
    p.weight->quant = q_;
    p.weight->value = std::make_shared<array>(packed(codes));
    p.weight->scales = std::make_shared<array>(scales);
    if (affine) p.weight->zeros = std::make_shared<array>(zeros);
    Numbers scale(scales), zero(zeros);
    for (int o = 0; o < outputs_; ++o)
      for (int i = 0; i < inputs_; ++i) {
        int g = i / q_.group_size;
        p.numbers(o, i) = affine ? scale(o, g) * codes(o, i) + zero(o, g)
                                 : scaled(int(scale(o, g)), int(codes(o, i)));
      }
    return p;
  }

 private:
  double scaled(int scale, int code) const {
    double by = q_.format == ops::Format::nvfp4 ? fp8(scale) : std::ldexp(1, scale - 127);
    return by * (q_.bits == 4 ? fp4(code) : fp8(code));
  }

  static Numbers random(const mx::Shape& shape, int below, int seed) {
    return map(noise(shape, seed), [&](double v) {
      int code = int(std::floor((v + 1) / 2 * below));
      return below == 256 && (code & 127) == 127 ? 0 : code;  // e4m3's NaN
    });
  }

  Numbers scale_bytes(const mx::Shape& shape, int seed) const {
    int low = q_.format == ops::Format::nvfp4 ? 0x10 : 122;
    return map(random(shape, 8, seed), [&](double v) { return v + low; });
  }

  /// A row is one stream of bits, lowest first, in little-endian words.
  array packed(const Numbers& codes) const {
    int words = inputs_ * q_.bits / 32;
    std::vector<std::uint32_t> out(size_t(outputs_) * words);
    for (int o = 0; o < outputs_; ++o)
      for (int i = 0; i < inputs_; ++i)
        for (int b = 0; b < q_.bits; ++b) {
          int at = i * q_.bits + b;
          std::uint32_t bit = int(codes(o, i)) >> b & 1;
          out[size_t(o) * words + at / 32] |= bit << at % 32;
        }
    return array(out.data(), {outputs_, words}, mx::uint32);
  }

  ops::Quant q_;
  int outputs_, inputs_;
  mx::Dtype dtype_;
};

inline std::string quant_name(const ops::Quant& q) {
  return ops::mode_of(q.format) + "_" + std::to_string(q.bits) + "_" + std::to_string(q.group_size);
}

/// Every form that a checkpoint may have.
inline std::vector<ops::Quant> all_quants() {
  std::vector<ops::Quant> all;
  for (int bits : {2, 3, 4, 5, 6, 8})
    for (int group : {32, 64, 128}) all.push_back({ops::Format::affine, bits, group});
  all.push_back({ops::Format::mxfp4, 4, 32});
  all.push_back({ops::Format::mxfp8, 8, 32});
  all.push_back({ops::Format::nvfp4, 4, 16});
  return all;
}

}  // namespace mlxcpp::test
