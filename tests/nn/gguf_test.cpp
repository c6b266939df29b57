// GGUF tensors against a loop over the blocks that ggml defines.
#include "mlxcpp/nn/gguf.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/io/gguf.h"
#include "mlxcpp/ops/cpu/features.h"
#include "tests/io/support.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>
#include <mlx/types/half_types.h>

#include <gtest/gtest.h>

#include <cmath>

namespace mlxcpp::nn {
namespace {

using io::GgmlType;
using io::testing::Bytes;
using test::Numbers;

struct Tensor {
  std::string name;
  GgmlType type;
  std::vector<int> shape;  // row-major
  std::string bytes;
};

/// A GGUF file that holds these tensors and no metadata.
std::string gguf_of(const std::vector<Tensor>& tensors) {
  Bytes file, data;
  file.text("GGUF").put<std::uint32_t>(3).put<std::uint64_t>(tensors.size()).put<std::uint64_t>(0);
  for (auto& t : tensors) {
    data.align(32);
    file.string(t.name).put<std::uint32_t>(std::uint32_t(t.shape.size()));
    for (auto extent = t.shape.rbegin(); extent != t.shape.rend(); ++extent)
      file.put<std::uint64_t>(std::uint64_t(*extent));
    file.put<std::uint32_t>(std::uint32_t(t.type)).put<std::uint64_t>(data.str().size());
    data.text(t.bytes);
  }
  return file.align(32).text(data.str()).str();
}

/// Tensors keep their names.
GgufNames as_is(int interleaved_heads = 0) {
  return [=](std::string_view name) -> std::optional<GgufTarget> {
    return GgufTarget{.name = std::string(name), .interleaved_heads = interleaved_heads};
  };
}

GgufWeights load(const std::vector<Tensor>& tensors, const GgufNames& names = as_is()) {
  io::testing::ExactBytes bytes(gguf_of(tensors));
  return load_gguf(io::Gguf::parse(bytes.span(), "x.gguf"), names);
}

std::string error_of(const std::vector<Tensor>& tensors, const GgufNames& names = as_is()) {
  return test::message_of<WeightError>([&] { load(tensors, names); });
}

const std::string kTypes =
    "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS or "
    "MXFP4";

int random_byte(int i) { return (i * 2654435761u >> 13) & 255; }

/// Scales that float16 has exactly and that differ from block to block.
float block_scale(int block) { return (block % 2 ? -1 : 1) * (0.25f + 0.0625f * block); }

void put_half(Bytes& b, float value) { b.put(mx::float16_t(value)); }

/// OCP Microscaling's e2m1.
constexpr float kFp4[] = {0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6};

/// Rows of blocks with every byte value, and what ggml's dequantize_row_* makes of them.
struct Blocks {
  GgmlType type;
  int rows, per_row;
  std::string bytes;
  Numbers numbers = test::zeros({rows, per_row * 32});

  Blocks(GgmlType t, int r, int n) : type(t), rows(r), per_row(n) {
    Bytes out;
    for (int b = 0; b < rows * per_row; ++b) {
      float d = block_scale(b), m = block_scale(b + 3);
      if (type == GgmlType::mxfp4)
        out.put(std::uint8_t(b % 2 ? 124 + b : 130 - b));
      else
        put_half(out, d);
      if (type == GgmlType::q4_1) put_half(out, m);
      int size = type == GgmlType::q8_0 ? 32 : 16;
      for (int i = 0; i < size; ++i) {
        int byte = type == GgmlType::q8_0 ? (b * 32 + i) & 255 : random_byte(b * 16 + i);
        out.put(std::uint8_t(byte));
        int row = b / per_row, at = b % per_row * 32 + i;
        if (type == GgmlType::q8_0) {
          numbers(row, at) = d * std::int8_t(byte);
        } else if (type == GgmlType::mxfp4) {
          float power = std::ldexp(1.f, b % 2 ? b - 3 : 3 - b);
          numbers(row, at) = power * kFp4[byte & 15];
          numbers(row, at + 16) = power * kFp4[byte >> 4];
        } else if (type == GgmlType::q4_0) {
          numbers(row, at) = d * ((byte & 15) - 8);
          numbers(row, at + 16) = d * ((byte >> 4) - 8);
        } else {
          numbers(row, at) = d * (byte & 15) + m;
          numbers(row, at + 16) = d * (byte >> 4) + m;
        }
      }
    }
    bytes = out.str();
  }
  Tensor tensor(const std::string& name) const { return {name, type, {rows, per_row * 32}, bytes}; }
};

/// The weight at `path`, as a model would bind it.
array numbers_at(GgufWeights loaded, const std::string& path, const mx::Shape& shape) {
  WeightMap map{std::move(loaded.arrays), std::move(loaded.quantization), {}};
  array value = ops::dequantised(*Scope(map, path).take_linear(shape));
  map.expect_empty();
  return value;
}

/// Without our own kernels, until the test ends.
struct MlxAlone {
  MlxAlone() {
    cpu::Settings settings;
    settings.mlx = true;
    cpu::use(settings);
  }
  ~MlxAlone() { cpu::use(cpu::Settings::read()); }
};

class GgufBlockTypes : public testing::TestWithParam<GgmlType> {
  MlxAlone mlx_alone_;
};
INSTANTIATE_TEST_SUITE_P(
    ,
    GgufBlockTypes,
    testing::Values(GgmlType::q4_0, GgmlType::q4_1, GgmlType::q8_0, GgmlType::mxfp4),
    [](const auto& c) { return std::string(io::name_of(c.param)); });

TEST_P(GgufBlockTypes, become_exactly_the_numbers_that_ggml_reads) {
  Blocks blocks(GetParam(), 8, 2);
  array value = numbers_at(load({blocks.tensor("a.weight")}), "a", {8, 64});
  EXPECT_EQ(test::difference(value, blocks.numbers), 0);
}

TEST_P(GgufBlockTypes, are_said_to_be_packed_in_groups_of_32) {
  GgufWeights loaded = load({Blocks(GetParam(), 2, 2).tensor("a.weight")});
  auto format = GetParam() == GgmlType::mxfp4 ? ops::Format::mxfp4 : ops::Format::affine;
  ops::Quant expected{format, GetParam() == GgmlType::q8_0 ? 8 : 4, 32};
  EXPECT_EQ(loaded.quantization.exceptions.at("a"), expected);
  EXPECT_EQ(loaded.quantization.all, std::nullopt);
  EXPECT_EQ(loaded.arrays.at("a.weight").dtype(), mx::uint32);
}

TEST_P(GgufBlockTypes, of_interleaved_heads_are_put_back) {
  Blocks blocks(GetParam(), 12, 1);
  array value = numbers_at(load({blocks.tensor("a.weight")}, as_is(2)), "a", {12, 32});
  // Head 0 is rows 0 to 5 of the file: first half and second half alternate there.
  const int source[] = {0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11};
  Numbers expected = blocks.numbers;
  for (int r = 0; r < 12; ++r)
    for (int c = 0; c < 32; ++c) expected(r, c) = blocks.numbers(source[r], c);
  EXPECT_EQ(test::difference(value, expected), 0);
}

TEST_P(GgufBlockTypes, of_three_axes_keep_them) {
  Blocks blocks(GetParam(), 6, 1);
  Tensor t = blocks.tensor("a.weight");
  t.shape = {2, 3, 32};
  Numbers expected = blocks.numbers;
  expected.shape = {2, 3, 32};
  EXPECT_EQ(test::difference(numbers_at(load({t}), "a", {2, 3, 32}), expected), 0);
}

TEST(GgufBlocks, of_other_types_become_numbers_for_mlx) {
  MlxAlone mlx_alone;
  // A scale and 32 nibbles, as ggml's kvalues_iq4nl has them.
  constexpr int kValues[] = {
      -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  Bytes rows;
  Numbers expected = test::zeros({4, 32});
  for (int r = 0; r < 4; ++r) {
    put_half(rows, block_scale(r));
    for (int i = 0; i < 16; ++i) {
      int byte = random_byte(r * 16 + i);
      rows.put(std::uint8_t(byte));
      // Interleaved rows 0 2 | 1 3 are put back.
      int to = r == 1 ? 2 : r == 2 ? 1 : r;
      expected(to, i) = block_scale(r) * float(kValues[byte & 15]);
      expected(to, i + 16) = block_scale(r) * float(kValues[byte >> 4]);
    }
  }
  GgufWeights loaded = load({{"a.weight", GgmlType::iq4_nl, {4, 32}, rows.str()}}, as_is(1));
  EXPECT_EQ(loaded.arrays.at("a.weight").dtype(), mx::float32);
  EXPECT_TRUE(loaded.quantization.exceptions.empty());
  EXPECT_EQ(test::difference(numbers_at(loaded, "a", {4, 32}), expected), 0);
}

/// The formats whose blocks our kernels read, and numbers and bytes of a block.
struct Kept {
  GgmlType type;
  ops::Format format;
  int numbers, bytes;
};
const Kept kKept[] = {{GgmlType::q4_0, ops::Format::q4_0, 32, 18},
                      {GgmlType::q4_1, ops::Format::q4_1, 32, 20},
                      {GgmlType::q5_0, ops::Format::q5_0, 32, 22},
                      {GgmlType::q5_1, ops::Format::q5_1, 32, 24},
                      {GgmlType::q8_0, ops::Format::q8_0, 32, 34},
                      {GgmlType::q2_k, ops::Format::q2_k, 256, 84},
                      {GgmlType::q3_k, ops::Format::q3_k, 256, 110},
                      {GgmlType::q4_k, ops::Format::q4_k, 256, 144},
                      {GgmlType::q5_k, ops::Format::q5_k, 256, 176},
                      {GgmlType::q6_k, ops::Format::q6_k, 256, 210},
                      {GgmlType::iq4_nl, ops::Format::iq4_nl, 32, 18},
                      {GgmlType::iq4_xs, ops::Format::iq4_xs, 256, 136}};

class GgufKeptBlocks : public testing::TestWithParam<Kept> {
 protected:
  /// (2, rows / 2, 2 blocks) of bytes that tell where they stood.
  Tensor tensor(int rows) const {
    std::string bytes;
    for (int i = 0; i < rows * 2 * GetParam().bytes; ++i) bytes += char(random_byte(i));
    return {"a.weight", GetParam().type, {2, rows / 2, 2 * GetParam().numbers}, bytes};
  }
};
INSTANTIATE_TEST_SUITE_P(, GgufKeptBlocks, testing::ValuesIn(kKept), [](const auto& c) {
  return std::string(io::name_of(c.param.type));
});

TEST_P(GgufKeptBlocks, are_the_bytes_of_the_file) {
  Tensor t = tensor(6);
  GgufWeights loaded = load({t});
  array& a = loaded.arrays.at("a.weight");
  EXPECT_EQ(a.dtype(), mx::uint8);
  EXPECT_EQ(a.shape(), (mx::Shape{2, 3, 2 * GetParam().bytes}));
  EXPECT_EQ(std::string(a.data<char>(), a.nbytes()), t.bytes);
  EXPECT_EQ(loaded.quantization.exceptions.at("a"), ops::quant_of_blocks(GetParam().format));
  io::testing::ExactBytes file(gguf_of({t}));
  EXPECT_EQ(loaded_bytes(io::Gguf::parse(file.span())), t.bytes.size());
}

TEST_P(GgufKeptBlocks, of_interleaved_heads_are_put_back_by_rows) {
  Tensor t = tensor(8);
  t.shape = {8, 2 * GetParam().numbers};
  GgufWeights loaded = load({t}, as_is(2));
  array& a = loaded.arrays.at("a.weight");
  std::string expected;
  const std::size_t row = 2 * std::size_t(GetParam().bytes);
  for (std::size_t from : {0, 2, 1, 3, 4, 6, 5, 7}) expected += t.bytes.substr(from * row, row);
  EXPECT_EQ(std::string(a.data<char>(), a.nbytes()), expected);
}

TEST_P(GgufKeptBlocks, are_bound_by_the_inputs_that_a_model_wants) {
  GgufWeights loaded = load({tensor(6)});
  WeightMap map{std::move(loaded.arrays), std::move(loaded.quantization), {}};
  auto w = Scope(map, "a").take_linear({2, 3, 2 * GetParam().numbers});
  EXPECT_TRUE(w->blocks());
  EXPECT_EQ(w->quant.format, GetParam().format);
  EXPECT_EQ(w->inputs(), 2 * GetParam().numbers);
  EXPECT_EQ(w->outputs(), 3);
  EXPECT_EQ(map.manifest.params.count("a.weight"), 1u);
  map.expect_empty();
}

TEST(GgufBlocks, of_eight_bits_hold_the_lowest_value) {
  Bytes block;
  put_half(block, 0.5f);
  for (int i = 0; i < 32; ++i) block.put(std::int8_t(i % 2 ? -128 : 127));
  Numbers value(
      numbers_at(load({{"a.weight", GgmlType::q8_0, {1, 32}, block.str()}}), "a", {1, 32}));
  EXPECT_EQ(value(0, 0), 63.5);
  EXPECT_EQ(value(0, 1), -64);
}

TEST(GgufBlocks, can_not_be_something_else_than_a_weight) {
  EXPECT_EQ(error_of({Blocks(GgmlType::q8_0, 1, 1).tensor("a.bias")}),
            "x.gguf: a.bias: tensor type not supported; expected " + kTypes + ", found Q8_0");
}

/// Values that each of the three types holds exactly: -1.5, -1.25 ...
template <class T>
std::string plain_bytes(int count) {
  Bytes b;
  for (int i = 0; i < count; ++i) b.put(T(-1.5f + 0.25f * i));
  return b.str();
}
Numbers plain_numbers(const mx::Shape& shape) {
  Numbers n = test::zeros(shape);
  for (size_t i = 0; i < n.data.size(); ++i) n.data[i] = -1.5 + 0.25 * double(i);
  return n;
}

struct PlainType {
  GgmlType type;
  mx::Dtype dtype;
  std::string (*bytes)(int);
};
const PlainType kPlain[] = {{GgmlType::f32, mx::float32, plain_bytes<float>},
                            {GgmlType::f16, mx::float16, plain_bytes<mx::float16_t>},
                            {GgmlType::bf16, mx::bfloat16, plain_bytes<mx::bfloat16_t>}};

TEST(GgufPlain, tensors_are_copied_in_their_own_type) {
  for (auto& p : kPlain) {
    GgufWeights loaded = load({{"a.weight", p.type, {6, 4}, p.bytes(24)},
                               {"n.weight", p.type, {5}, p.bytes(5)},
                               {"t.bias", p.type, {2, 3, 2}, p.bytes(12)}});
    EXPECT_EQ(loaded.arrays.size(), 3u);
    EXPECT_EQ(loaded.arrays.at("a.weight").dtype(), p.dtype);
    EXPECT_EQ(test::difference(loaded.arrays.at("a.weight"), plain_numbers({6, 4})), 0);
    EXPECT_EQ(test::difference(loaded.arrays.at("n.weight"), plain_numbers({5})), 0);
    EXPECT_EQ(test::difference(loaded.arrays.at("t.bias"), plain_numbers({2, 3, 2})), 0);
    EXPECT_TRUE(loaded.quantization.exceptions.empty());
  }
}

TEST(GgufPlain, interleaved_heads_are_put_back_in_weights_and_biases) {
  const int source[] = {0, 2, 1, 3, 4, 6, 5, 7};
  for (auto& p : kPlain) {
    GgufWeights loaded = load(
        {{"a.weight", p.type, {8, 3}, p.bytes(24)}, {"a.bias", p.type, {8}, p.bytes(8)}}, as_is(2));
    Numbers weight(loaded.arrays.at("a.weight")), bias(loaded.arrays.at("a.bias"));
    for (int r = 0; r < 8; ++r) {
      EXPECT_EQ(bias(r), plain_numbers({8})(source[r]));
      for (int c = 0; c < 3; ++c) EXPECT_EQ(weight(r, c), plain_numbers({8, 3})(source[r], c));
    }
  }
}

TEST(GgufPlain, tensors_are_renamed_or_left_out_as_told) {
  GgufNames names = [](std::string_view name) -> std::optional<GgufTarget> {
    if (name != "blk.0.x") return {};
    return GgufTarget{"model.layers.0.x"};
  };
  Tensor wanted{"blk.0.x", GgmlType::f32, {2}, plain_bytes<float>(2)};
  Tensor other{"rope_freqs.weight", GgmlType::q4_k, {256}, std::string(144, '\0')};
  GgufWeights loaded = load({other, wanted}, names);
  ASSERT_EQ(loaded.arrays.size(), 1u);
  EXPECT_EQ(loaded.arrays.begin()->first, "model.layers.0.x");
}

TEST(GgufPlain, tensors_are_changed_as_told_where_they_are_not_packed) {
  GgufNames twice = [](std::string_view name) -> std::optional<GgufTarget> {
    return GgufTarget{std::string(name), [](const array& x) { return mx::add(x, x); }};
  };
  GgufWeights loaded = load({{"a", GgmlType::f32, {2}, plain_bytes<float>(2)}}, twice);
  EXPECT_EQ(Numbers(loaded.arrays.at("a")).data, (std::vector<double>{-3, -2.5}));
  EXPECT_EQ(error_of({Blocks(GgmlType::q8_0, 1, 1).tensor("a.weight")}, twice),
            "x.gguf: a.weight: packed, where a checkpoint has other numbers; expected F32, F16 or "
            "BF16, found Q8_0");
}

TEST(GgufErrors, name_the_tensor_and_its_type) {
  EXPECT_EQ(error_of({{"a.weight", GgmlType::iq2_s, {1, 256}, std::string(82, '\0')}}),
            "x.gguf: a.weight: tensor type not supported; expected " + kTypes + ", found IQ2_S");
  EXPECT_EQ(error_of({{"a.weight", GgmlType::i32, {1}, std::string(4, '\0')}}),
            "x.gguf: a.weight: tensor type not supported; expected " + kTypes + ", found I32");
}

TEST(GgufErrors, rows_that_do_not_fit_the_heads) {
  Tensor t{"a.weight", GgmlType::f32, {6, 1}, plain_bytes<float>(6)};
  EXPECT_EQ(error_of({t}, as_is(2)),
            "x.gguf: a.weight: rows do not fit the heads; expected a multiple of 4, found 6");
  for (int heads : {1 << 30, 2147483647})
    EXPECT_EQ(error_of({t}, as_is(heads)),
              "x.gguf: a.weight: rows do not fit the heads; expected a multiple of " +
                  std::to_string(2 * std::int64_t(heads)) + ", found 6");
}

TEST(GgufErrors, heads_of_a_tensor_without_rows) {
  EXPECT_EQ(error_of({{"a.weight", GgmlType::f32, {}, plain_bytes<float>(1)}}, as_is(2)),
            "x.gguf: a.weight: rows do not fit the heads; expected a multiple of 4, found 1");
}

TEST(GgufErrors, two_tensors_of_one_name) {
  GgufNames names = [](std::string_view) -> std::optional<GgufTarget> { return GgufTarget{"x"}; };
  Tensor a{"a", GgmlType::f32, {1}, plain_bytes<float>(1)}, b = a;
  b.name = "b";
  EXPECT_EQ(error_of({a, b}, names), "x.gguf: b: stands for x, as another tensor does");
  GgufNames weight = [](std::string_view) { return GgufTarget{"x.weight"}; };
  Blocks blocks(GgmlType::q4_0, 1, 1);
  EXPECT_EQ(error_of({blocks.tensor("a"), blocks.tensor("b")}, weight),
            "x.gguf: b: stands for x.weight, as another tensor does");
}

}  // namespace
}  // namespace mlxcpp::nn
