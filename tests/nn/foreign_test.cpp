// Checkpoints that other programs packed, against loops that unpack as those programs do.
#include "mlxcpp/nn/foreign.h"

#include "mlxcpp/base/error.h"
#include "tests/support/errors.h"
#include "tests/support/numbers.h"
#include "tests/support/packed.h"
#include "tests/support/stored.h"
#include "tests/support/temp_dir.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <random>

namespace mlxcpp::nn {
namespace {

using test::blank;
using test::Entry;
using test::entry;
using test::Numbers;
using Words = std::vector<std::uint32_t>;
using Method = Foreign::Method;

Words random_words(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  Words words(n);
  for (auto& w : words) w = random();
  return words;
}

/// Numbers that float16 and bfloat16 have.
std::vector<float> random_scales(size_t n, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> scales(n);
  for (auto& s : scales) s = float(1 + random() % 127) / 1024;
  return scales;
}

Entry scales_entry(const std::string& name, std::vector<int> shape, const std::vector<float>& s) {
  std::vector<mx::float16_t> halves(s.begin(), s.end());
  return entry(name, "F16", shape, halves);
}

struct Checkpoint {
  test::TempDir dir;
  io::WeightFiles files;
  explicit Checkpoint(const std::vector<Entry>& entries)
      : files{io::WeightFiles::Kind::safetensors,
              {dir.write("model.safetensors", test::safetensors_of(entries))},
              {}} {}
};

ForeignWeights load(const std::vector<Entry>& entries, const Foreign& foreign) {
  Checkpoint c(entries);
  auto weights = load_foreign(c.files, foreign);
  for (auto& [name, value] : weights.arrays) {
    EXPECT_FALSE(value.is_available() && value.has_primitive()) << name << " was evaluated";
    value.eval();  // before the file goes
  }
  return weights;
}

/// What the arrays of one projection stand for, as a model would take them.
Numbers numbers_of(const ForeignWeights& w, const std::string& path, int out, int in) {
  WeightMap map{w.arrays, w.quantization, {}};
  auto weight = (Scope(map) / path).take_linear({out, in});
  map.expect_empty();
  return Numbers(mx::astype(ops::dequantised(*weight), mx::float32));
}

int nibble(std::uint32_t word, int place) { return int(word >> 4 * place & 15); }
int awq_place(int column) { return column % 2 * 4 + column % 8 / 2; }

Foreign awq(int group, bool zeros = true) { return {Method::awq, {{4, group, zeros}}}; }
Foreign gptq(int group, bool less_one = true) {
  return {.method = Method::gptq, .schemes = {{4, group, true}}, .zeros_less_one = less_one};
}
Foreign packed(std::vector<Foreign::Scheme> schemes) {
  return {Method::packed_int, std::move(schemes)};
}

struct Awq {
  int in = 64, out = 24, groups = 2;
  Words weight = random_words(size_t(in * out / 8), 1), zeros = random_words(size_t(groups * 3), 2);
  std::vector<float> scales = random_scales(size_t(groups * out), 3);
  std::vector<Entry> entries() const {
    return {entry("p.qweight", "I32", {in, out / 8}, weight),
            entry("p.qzeros", "I32", {groups, out / 8}, zeros),
            scales_entry("p.scales", {groups, out}, scales)};
  }
};

TEST(Awq, becomes_affine_with_the_same_codes_and_numbers) {
  Awq a;
  auto loaded = load(a.entries(), awq(32));
  EXPECT_EQ(loaded.quantization.all, (ops::Quant{ops::Format::affine, 4, 32}));
  array words = loaded.arrays.at("p.weight");
  ASSERT_EQ(words.shape(), (mx::Shape{a.out, a.in / 8}));
  Numbers got = numbers_of(loaded, "p", a.out, a.in);
  for (int o = 0; o < a.out; ++o)
    for (int i = 0; i < a.in; ++i) {
      int code = nibble(a.weight[size_t(i * 3 + o / 8)], awq_place(o));
      int zero = nibble(a.zeros[size_t(i / 32 * 3 + o / 8)], awq_place(o));
      EXPECT_EQ(nibble(words.data<std::uint32_t>()[o * a.in / 8 + i / 8], i % 8), code);
      EXPECT_EQ(got(o, i), (code - zero) * double(a.scales[size_t(i / 32 * a.out + o)]));
    }
}

TEST(Awq, without_zero_points_has_them_in_the_middle) {
  Awq a;
  auto entries = a.entries();
  entries.erase(entries.begin() + 1);
  Numbers got = numbers_of(load(entries, awq(32, false)), "p", a.out, a.in);
  for (int o = 0; o < a.out; ++o) {
    int code = nibble(a.weight[size_t(o / 8)], awq_place(o));
    EXPECT_EQ(got(o, 0), (code - 8) * double(a.scales[size_t(o)]));
  }
}

TEST(Awq, keeps_what_was_not_converted) {
  auto entries = Awq().entries();
  entries.push_back(scales_entry("lm_head.weight", {2}, {1, 2}));
  auto loaded = load(entries, awq(32));
  EXPECT_EQ(Numbers(loaded.arrays.at("lm_head.weight")).data, (std::vector<double>{1, 2}));
  EXPECT_EQ(loaded.arrays.size(), 4u);
}

/// A GPTQ projection of zero points z, stored as words of z - 1 or, in version 2, of z.
struct Gptq {
  int in = 64, out = 16, groups = 2;
  Words weight = random_words(size_t(in / 8 * out), 4), zeros = random_words(size_t(groups * 2), 5);
  std::vector<float> scales = random_scales(size_t(groups * out), 6);

  std::vector<Entry> entries(std::uint32_t less) const {
    Words stored = zeros;
    for (auto& w : stored) w -= less;
    return {entry("p.qweight", "I32", {in / 8, out}, weight),
            entry("p.qzeros", "I32", {groups, out / 8}, stored),
            scales_entry("p.scales", {groups, out}, scales)};
  }
  void expect(const Numbers& got) const {
    for (int o = 0; o < out; ++o)
      for (int i = 0; i < in; ++i) {
        int code = nibble(weight[size_t(i / 8 * out + o)], i % 8), g = i * groups / in;
        int zero = nibble(zeros[size_t(g * 2 + o / 8)], o % 8);
        EXPECT_EQ(got(o, i), (code - zero) * double(scales[size_t(g * out + o)]));
      }
  }
};

TEST(Gptq, of_version_1_has_zero_points_less_one) {
  Gptq g;
  for (auto& word : g.zeros) word |= 0x11111111;  // none is 0: AutoGPTQ cannot store that
  Gptq stored = g;
  for (auto& word : stored.zeros)  // nibble by nibble, as AutoGPTQ has it
    for (int i = 0; i < 8; ++i) word -= 1u << 4 * i;
  g.expect(numbers_of(load(stored.entries(0), gptq(32)), "p", g.out, g.in));
}

TEST(Gptq, of_version_1_gives_back_what_a_zero_point_of_0_borrowed) {
  Gptq g;
  g.zeros = {0x10203040, 0x00000000, 0x0f0f0f0f, 0xffffffff};
  g.expect(numbers_of(load(g.entries(0x11111111), gptq(32)), "p", g.out, g.in));
}

TEST(Gptq, of_version_2_has_zero_points_as_they_are) {
  Gptq g;
  g.expect(numbers_of(load(g.entries(0), gptq(32, false)), "p", g.out, g.in));
}

TEST(Gptq, groups_that_mlx_has_not_become_several_that_it_has) {
  Gptq g{.in = 192, .groups = 2};  // of 96: three times 32
  auto loaded = load(g.entries(0), gptq(96, false));
  EXPECT_EQ(loaded.quantization.all, (ops::Quant{ops::Format::affine, 4, 32}));
  g.expect(numbers_of(loaded, "p", g.out, g.in));
  Gptq row{.in = 256, .groups = 1};  // a row: two times 128
  loaded = load(row.entries(0), gptq(0, false));
  EXPECT_EQ(loaded.quantization.all, (ops::Quant{ops::Format::affine, 4, 128}));
  row.expect(numbers_of(loaded, "p", row.out, row.in));
}

TEST(Gptq, drops_group_indices_that_say_nothing) {
  Gptq g;
  auto entries = g.entries(0);
  std::vector<std::int32_t> order(64);
  for (int i = 0; i < 64; ++i) order[size_t(i)] = i / 32;
  entries.push_back(entry("p.g_idx", "I32", {64}, order));
  g.expect(numbers_of(load(entries, gptq(32, false)), "p", g.out, g.in));
  std::swap(order[31], order[32]);
  entries.back() = entry("p.g_idx", "I32", {64}, order);
  EXPECT_EQ(test::message_of<UnsupportedError>([&] { load(entries, gptq(32, false)); }),
            "p.g_idx: groups in the order of activations (act-order) are not supported; expected "
            "column 31 in group 0, found 1");
}

TEST(Gptq, leaves_a_model_without_biases_the_zeros_that_autogptq_writes) {
  Gptq g;
  auto entries = g.entries(0);
  entries.push_back(entry("p.bias", "F16", {16}, std::vector<std::uint16_t>(16)));
  numbers_of(load(entries, gptq(32, false)), "p", g.out, g.in);
  auto loaded = load(entries, gptq(32, false));
  WeightMap map{loaded.arrays, loaded.quantization, {}};
  EXPECT_TRUE((Scope(map) / "p").take_linear({16, 64}, true)->bias) << "who wants it has it";
  entries.back() = entry("p.bias", "F16", {16}, std::vector<std::uint16_t>(16, 1));
  EXPECT_EQ(test::message_of<WeightError>(
                [&] { numbers_of(load(entries, gptq(32, false)), "p", g.out, g.in); }),
            "weights: tensors that the model has no place for; found p.bias (16)");
}

/// compressed-tensors' integers: codes and zero points in the order of a stream of bits, less the
/// middle; zero points lie along the outputs.
struct PackedInt {
  int bits = 4, in = 64, out = 20, groups = 2;
  bool with_zeros = true;
  int per_word() const { return 32 / bits; }
  int zero_rows() const { return (out + per_word() - 1) / per_word(); }
  Words weight = random_words(size_t(out * in * bits / 32), 7);
  Words zeros = random_words(size_t(zero_rows() * groups), 8);
  std::vector<float> scales = random_scales(size_t(out * groups), 9);

  std::vector<Entry> entries() const {
    std::vector<Entry> all = {
        entry("p.weight_packed", "I32", {out, in / per_word()}, weight),
        scales_entry("p.weight_scale", {out, groups}, scales),
        entry("p.weight_shape", "I64", {2}, std::vector<std::int64_t>{out, in})};
    if (with_zeros)
      all.push_back(entry("p.weight_zero_point", "I32", {zero_rows(), groups}, zeros));
    return all;
  }
  int field(std::uint32_t word, int place) const {
    return int(word >> bits * place & ((1u << bits) - 1)) - (1 << (bits - 1));
  }
  void expect(const Numbers& got) const {
    int n = per_word();
    for (int o = 0; o < out; ++o)
      for (int i = 0; i < in; ++i) {
        int g = i * groups / in, code = field(weight[size_t(o * (in / n) + i / n)], i % n);
        int zero = with_zeros ? field(zeros[size_t(o / n * groups + g)], o % n) : 0;
        EXPECT_EQ(got(o, i), (code - zero) * double(scales[size_t(o * groups + g)]));
      }
  }
};

TEST(CompressedTensors, packs_integers_of_4_bits_with_zero_points) {
  PackedInt p;
  auto loaded = load(p.entries(), packed({{4, 32, true}}));
  EXPECT_EQ(loaded.quantization.all, (ops::Quant{ops::Format::affine, 4, 32}));
  p.expect(numbers_of(loaded, "p", p.out, p.in));
}

TEST(CompressedTensors, packs_integers_of_8_bits_one_group_a_row) {
  PackedInt p{.bits = 8, .groups = 1, .with_zeros = false};
  auto loaded = load(p.entries(), packed({{8, 0, false}}));
  EXPECT_EQ(loaded.quantization.all, (ops::Quant{ops::Format::affine, 8, 64}));
  p.expect(numbers_of(loaded, "p", p.out, p.in));
}

TEST(CompressedTensors, shows_by_its_tensors_which_group_of_the_config_it_is) {
  std::vector<Foreign::Scheme> both = {{8, 32, false}, {4, 32, true}, {4, 64, false}};
  PackedInt four;
  four.expect(numbers_of(load(four.entries(), packed(both)), "p", four.out, four.in));
  PackedInt eight{.bits = 8, .with_zeros = false};
  eight.expect(numbers_of(load(eight.entries(), packed(both)), "p", eight.out, eight.in));
  PackedInt row{.groups = 1, .with_zeros = false};
  auto entries = row.entries();
  std::vector<Foreign::Scheme> rows = {{4, 0, false}, {8, 0, false}};
  row.expect(numbers_of(load(entries, packed(rows)), "p", row.out, row.in));
  entries.pop_back();  // weight_shape
  EXPECT_EQ(test::message_of<UnsupportedError>([&] { load(entries, packed(rows)); }),
            "p.weight_packed: several groups of the config could mean this tensor; expected bits "
            "and groups that tell them apart, found 4 and 8 bits");
}

struct Nvfp4 {
  static constexpr int in = 32, out = 6;
  std::vector<std::uint8_t> codes, scales;
  float global = 1792;
  Nvfp4() {
    for (auto word : random_words(out * in / 2, 10)) codes.push_back(std::uint8_t(word));
    for (auto word : random_words(out * in / 16, 11)) scales.push_back(0x30 + word % 64);
  }
  std::vector<Entry> entries(const std::string& path = "p") const {
    return {entry(path + ".weight_packed", "U8", {out, in / 2}, codes),
            entry(path + ".weight_scale", "F8_E4M3", {out, in / 16}, scales),
            entry(path + ".weight_global_scale", "F32", {1}, std::vector<float>{global}),
            entry(path + ".input_global_scale", "F32", {1}, std::vector<float>{5})};
  }
  double number(int o, int i) const {
    int code = codes[size_t(o * in + i) / 2] >> i % 2 * 4 & 15;
    return test::fp4(code) * test::fp8(scales[size_t(o * in + i) / 16]) / global;
  }
  Numbers numbers() const {
    Numbers all(mx::Shape{out, in});
    for (int o = 0; o < out; ++o)
      for (int i = 0; i < in; ++i) all(o, i) = number(o, i);
    return all;
  }
};

TEST(CompressedTensors, keeps_the_global_scale_of_nvfp4_beside_its_bytes) {
  Nvfp4 n;
  auto loaded = load(n.entries(), {Method::nvfp4, {}});
  EXPECT_EQ(loaded.quantization.all, (ops::Quant{ops::Format::nvfp4, 4, 16}));
  EXPECT_LT(test::relative(numbers_of(loaded, "p", n.out, n.in), n.numbers()), 1e-6);
}

TEST(GlobalScale, is_in_each_product_and_in_each_row_of_a_table) {
  Nvfp4 n;
  auto loaded = load(n.entries(), {Method::nvfp4, {}});
  WeightMap map{loaded.arrays, loaded.quantization, {}};
  auto w = (Scope(map) / "p").take_linear({n.out, n.in});
  EXPECT_EQ(map.manifest.params.count("p.global_scale"), 1u);
  array x = test::noise({3, n.in}, 12), back = test::noise({3, n.out}, 13);
  Numbers want = n.numbers(), turned(mx::Shape{n.in, n.out});
  for (int o = 0; o < n.out; ++o)
    for (int i = 0; i < n.in; ++i) turned(i, o) = want(o, i);
  EXPECT_LT(test::relative(ops::linear(x, w), test::times_transposed(x, want)), 1e-5);
  EXPECT_LT(test::relative(ops::linear_back(back, w), test::times_transposed(back, turned)), 1e-5);
  Numbers row(mx::reshape(ops::embed(test::ints({4}), w), {n.in}));
  for (int i = 0; i < n.in; ++i) EXPECT_NEAR(row(i), want(4, i), 1e-6);
}

TEST(GlobalScale, stays_with_its_expert_and_with_both_parts_of_a_fused_projection) {
  Nvfp4 a, b;
  b.global = 448;
  auto entries = a.entries("e.0.up"), more = b.entries("e.1.up");
  entries.insert(entries.end(), more.begin(), more.end());
  auto loaded = load(entries, {Method::nvfp4, {}});
  WeightMap map{loaded.arrays, loaded.quantization, {}};
  map.stack_experts("e", "all", 2);
  auto w = (Scope(map) / "all.up").take_linear({2, a.out, a.in});
  Numbers got(ops::dequantised(*w));
  for (int o = 0; o < a.out; ++o)
    for (int i = 0; i < a.in; ++i) {
      EXPECT_NEAR(got(0, o, i), a.number(o, i), 1e-6 * std::abs(a.number(o, i)));
      EXPECT_NEAR(got(1, o, i), b.number(o, i), 1e-6 * std::abs(b.number(o, i)));
    }
  WeightMap fused{load(a.entries("x.qk"), {Method::nvfp4, {}}).arrays, loaded.quantization, {}};
  fused.split_rows("qk", {{"q", 4}, {"k", 2}});
  Numbers k(ops::dequantised(*(Scope(fused) / "x.k").take_linear({2, a.in})));
  EXPECT_NEAR(k(1, 5), a.number(5, 5), 1e-6 * std::abs(a.number(5, 5)));
}

struct Fp8Weight {
  int rows = 6, columns = 10;
  std::vector<std::uint8_t> codes;
  Fp8Weight() {
    for (auto word : random_words(size_t(rows * columns), 14)) {
      auto code = std::uint8_t(word);
      codes.push_back((code & 127) == 127 ? 0 : code);  // e4m3's NaN
    }
  }
  Entry weight() const { return entry("p.weight", "F8_E4M3", {rows, columns}, codes); }
  double number(int r, int c, float scale) const {
    auto exact = float(test::fp8(codes[size_t(r * columns + c)])) * scale;
    return double(float(mx::bfloat16_t(exact)));
  }
};

TEST(BlockFp8, becomes_bfloat16_by_the_scale_of_each_block_the_last_ones_cut) {
  Fp8Weight w;
  auto scales = random_scales(2 * 3, 15);
  auto loaded = load({w.weight(), entry("p.weight_scale_inv", "F32", {2, 3}, scales)},
                     {.method = Method::fp8, .schemes = {}, .block = {4, 4}});
  EXPECT_EQ(loaded.quantization.all, std::nullopt);
  EXPECT_EQ(loaded.arrays.at("p.weight").dtype(), mx::bfloat16);
  Numbers got = numbers_of(loaded, "p", w.rows, w.columns);
  for (int r = 0; r < w.rows; ++r)
    for (int c = 0; c < w.columns; ++c)
      EXPECT_EQ(got(r, c), w.number(r, c, scales[size_t(r / 4 * 3 + c / 4)]));
}

TEST(BlockFp8, may_have_one_scale_for_all_where_the_config_names_no_block) {
  Fp8Weight w;
  Foreign whole{.method = Method::fp8, .schemes = {}, .may_be_whole = true};
  for (auto shape : {std::vector<int>{}, {1}, {1, 1}})
    for (const char* leaf : {"p.weight_scale_inv", "p.weight_scale"}) {
      auto loaded = load({w.weight(),
                          entry(leaf, "F32", shape, std::vector<float>{0.375f}),
                          entry("p.input_scale", "F32", {}, std::vector<float>{2})},
                         whole);
      EXPECT_EQ(numbers_of(loaded, "p", w.rows, w.columns)(5, 9), w.number(5, 9, 0.375f));
    }
}

/// What loading says after one tensor is replaced (or, without dtype, taken out).
std::string error_of(std::vector<Entry> entries, const Foreign& foreign, const Entry& bad) {
  std::erase_if(entries, [&](auto& e) { return e.name == bad.name; });
  if (!bad.dtype.empty()) entries.push_back(bad);
  return test::message_of<WeightError>([&] { load(entries, foreign); });
}

TEST(BadAwq, is_named_by_its_tensor) {
  auto e = Awq().entries();
  EXPECT_EQ(error_of(e, awq(32), {"p.qzeros", "", "", ""}),
            "p.qzeros: missing; expected shape (2, 3), found no such tensor");
  EXPECT_EQ(error_of(e, awq(32), {"p.scales", "", "", ""}),
            "p.scales: missing; expected shape (2, 24), found no such tensor");
  EXPECT_EQ(error_of(e, awq(32), blank("p.scales", "F16", {2, 23})),
            "p.scales: wrong shape; expected (2, 24), found (2, 23)");
  EXPECT_EQ(error_of(e, awq(32), blank("p.scales", "I32", {2, 24})),
            "p.scales: wrong dtype; expected F16, BF16, F32, found I32");
  EXPECT_EQ(error_of(e, awq(32), blank("p.qweight", "F32", {64, 3})),
            "p.qweight: wrong dtype; expected I32, U32, found F32");
  EXPECT_EQ(error_of(e, awq(32), blank("p.qweight", "I32", {64})),
            "p.qweight: wrong shape; expected (?, ?), found (64)");
  EXPECT_EQ(error_of(e, awq(32), blank("p.qweight", "I32", {60, 3})),
            "p.qweight: wrong shape; expected a multiple of 8 inputs, found (60, 3)");
  EXPECT_EQ(error_of(e, awq(32), blank("p.qweight", "I32", {0, 3})),
            "p.qweight: input size is no multiple of the group size; expected a multiple of 32, "
            "found 0");
  EXPECT_EQ(error_of(e, awq(48), {"", "", "", ""}),
            "p.qweight: input size is no multiple of the group size; expected a multiple of 48, "
            "found 64");
}

TEST(BadGptq, is_named_by_its_tensor) {
  auto e = Gptq().entries(0);
  EXPECT_EQ(error_of(e, gptq(32), {"p.qzeros", "", "", ""}),
            "p.qzeros: missing; expected shape (2, 2), found no such tensor");
  EXPECT_EQ(error_of(e, gptq(32), blank("p.qzeros", "I32", {1, 2})),
            "p.qzeros: wrong shape; expected (2, 2), found (1, 2)");
  EXPECT_EQ(error_of(e, gptq(0), {"", "", "", ""}),
            "p.scales: wrong shape; expected (1, 16), found (2, 16)");
  EXPECT_EQ(error_of(e, gptq(32), blank("p.g_idx", "I32", {63})),
            "p.g_idx: wrong shape; expected (64), found (63)");
  EXPECT_EQ(error_of(e, gptq(32), blank("p.qweight", "I32", {268435456, 0})),
            "p.qweight: extent too large; expected at most 2147483647 inputs, found 2147483648");
  Gptq odd{.in = 80, .groups = 2};
  EXPECT_EQ(test::message_of<UnsupportedError>([&] { load(odd.entries(0), gptq(40)); }),
            "p: group size that MLX cannot have; expected a multiple of 32, found 40");
}

TEST(BadPackedIntegers, are_named_by_their_tensor) {
  auto e = PackedInt().entries();
  auto four = packed({{4, 32, true}});
  EXPECT_EQ(error_of(e, four, {"p.weight_scale", "", "", ""}),
            "p.weight_scale: missing; expected shape (20, ?), found no such tensor");
  EXPECT_EQ(error_of(e, four, {"p.weight_zero_point", "", "", ""}),
            "p.weight_packed: fits no group of quantization_config; expected the bits, groups and "
            "zero points that it names, found (8 words a row, 2 scales, no zero points)");
  EXPECT_EQ(error_of(e, four, blank("p.weight_zero_point", "I32", {20, 2})),
            "p.weight_zero_point: wrong shape; expected (3, 2), found (20, 2)");
  EXPECT_EQ(error_of(e, four, blank("p.weight_shape", "I64", {2})),
            "p.weight_shape: disagrees with the packed weight; expected (20, 64), found (0, 0)");
  EXPECT_EQ(error_of(e, four, blank("p.weight_shape", "F32", {2})),
            "p.weight_shape: wrong dtype; expected I32, I64, found F32");
  EXPECT_EQ(error_of(e, four, blank("p.weight_scale", "F8_E4M3", {20, 2})),
            "p.weight_scale: wrong dtype; expected F16, BF16, F32, found F8_E4M3");
}

TEST(BadNvfp4, is_named_by_its_tensor) {
  auto e = Nvfp4().entries();
  Foreign f{Method::nvfp4, {}};
  EXPECT_EQ(error_of(e, f, {"p.weight_global_scale", "", "", ""}),
            "p.weight_global_scale: missing; expected shape (1), found no such tensor");
  EXPECT_EQ(error_of(e, f, blank("p.weight_global_scale", "F32", {1})),
            "p.weight_global_scale: wrong value; expected a positive number, found 0.000000");
  EXPECT_EQ(error_of(e, f, blank("p.weight_scale", "U8", {6, 2})),
            "p.weight_scale: wrong dtype; expected F8_E4M3, found U8");
  EXPECT_EQ(error_of(e, f, blank("p.weight_packed", "U8", {6, 12})),
            "p.weight_packed: input size is no multiple of the group size; expected a multiple of "
            "16, found 24");
}

TEST(BadFp8, is_named_by_its_tensor) {
  Fp8Weight w;
  std::vector<Entry> e = {w.weight(), blank("p.weight_scale_inv", "F32", {2, 3})};
  Foreign f{.method = Method::fp8, .schemes = {}, .block = {4, 4}};
  EXPECT_EQ(error_of(e, f, {"p.weight_scale_inv", "", "", ""}),
            "p.weight_scale_inv: missing; expected shape (2, 3), found no such tensor");
  EXPECT_EQ(error_of(e, f, blank("p.weight_scale_inv", "F32", {3, 3})),
            "p.weight_scale_inv: wrong shape; expected (2, 3), found (3, 3)");
  EXPECT_EQ(error_of(e, f, blank("p.weight_scale_inv", "F32", {1})),
            "p.weight_scale_inv: wrong shape; expected (2, 3), found (1)");
  EXPECT_EQ(error_of(e, f, blank("p.weight", "F8_E4M3", {6})),
            "p.weight: wrong shape; expected (?, ?), found (6)");
  EXPECT_EQ(error_of(e, f, blank("p.weight", "F8_E4M3", {0, 6})), "p.weight: empty; found (0, 6)");
  EXPECT_EQ(error_of(e, f, blank("p.other", "F8_E4M3", {6})),
            "p.other: dtype not supported; expected F8_E4M3 for what the quantisation method packs "
            "so, found F8_E4M3");
}

TEST(Foreign, weights_take_what_they_become) {
  Fp8Weight w;
  Checkpoint fp8({w.weight(), entry("p.weight_scale_inv", "F32", {1, 1}, std::vector<float>{1})});
  EXPECT_EQ(converted_bytes(fp8.files, {Method::fp8, {}}), 2 * 60 + 4u);
  Awq a;
  Checkpoint ints(a.entries());
  EXPECT_EQ(converted_bytes(ints.files, awq(32)),
            4 * (a.weight.size() + a.zeros.size()) + 4 * 2 * a.scales.size());
}

}  // namespace
}  // namespace mlxcpp::nn
