#include "mlxcpp/ops/cpu/detail/known_answers.h"

#include "mlxcpp/ops/cpu/quantised.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace mlxcpp::cpu::detail {
namespace {

constexpr int kColumns = 256, kOutputs = 5, kRows = 2;

/// Some of the codings: each way in which codes and scales are read.
struct Question {
  const char* name;
  Coding coding;
  int group, row_bytes, scale_bytes;  // of a row
};
constexpr Question kQuestions[] = {
    {"bf16", Coding::bf16, 0, 512, 0},
    {"affine3", Coding::affine3, 64, 96, 8},
    {"affine4", Coding::affine4, 32, 128, 16},
    {"affine8", Coding::affine8, 64, 256, 8},
    {"mxfp4", Coding::mxfp4, 32, 128, 8},
    {"mxfp8", Coding::mxfp8, 32, 256, 8},
    {"nvfp4", Coding::nvfp4, 16, 128, 16},
    {"Q4_0", Coding::q4_0, 0, 144, 0},
    {"Q5_1", Coding::q5_1, 0, 192, 0},
    {"Q8_0", Coding::q8_0, 0, 272, 0},
    {"Q3_K", Coding::q3_k, 0, 110, 0},
    {"Q4_K", Coding::q4_k, 0, 144, 0},
    {"Q6_K", Coding::q6_k, 0, 210, 0},
};

/// A buffer that begins where kernels want it to.
struct Aligned {
  explicit Aligned(std::size_t bytes) : memory(bytes + 64) {}
  void* data() {
    auto address = reinterpret_cast<std::uintptr_t>(memory.data());
    return memory.data() + (64 - address % 64) % 64;
  }
  std::vector<char> memory;
};

std::vector<float> products(const Kernels& k, const Matrix& w, const std::vector<float>& x) {
  std::vector<float> y(kRows * kOutputs);
  if (dense(w.coding)) {
    k.matrix.dense_dots(w, x.data(), kColumns, kRows, 0, kOutputs, y.data(), kOutputs);
    return y;
  }
  Aligned memory(quantised_bytes(kRows, kColumns));
  auto q = quantised_rows(memory.data(), kRows, kColumns);
  for (int m = 0; m < kRows; ++m) k.matrix.quantise(x.data() + m * kColumns, m, q);
  k.matrix.dots(w, q, 0, kOutputs, y.data(), kOutputs);
  return y;
}

std::vector<float> products(const GemmKernels& k, const Matrix& w, const std::vector<float>& x) {
  std::vector<float> y(kRows * kOutputs);
  Aligned packed(k.packed_bytes(kRows, kColumns)),
      scratch(k.scratch_bytes(kRows, kColumns, kOutputs));
  k.pack({x.data(), kColumns, nullptr, kRows, kColumns}, 0, packed.data());
  k.panel(w,
          packed.data(),
          kRows,
          0,
          kOutputs,
          scratch.data(),
          {.data = y.data(), .stride = kOutputs, .index = nullptr});
  return y;
}

bool near(const std::vector<float>& a, const std::vector<float>& b) {
  float largest = 0, off = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) return false;
    largest = std::max(largest, std::abs(b[i]));
    off = std::max(off, std::abs(a[i] - b[i]));
  }
  return off <= 1e-3f * largest;
}

bool answers(const Question& q, const Kernels& kernels, const Kernels& plain) {
  // Bytes below 0x38 make scales and numbers of ordinary size in every type.
  std::uint32_t state = 1;
  auto next = [&] { return state = state * 1664525 + 1013904223, state >> 16; };
  auto bytes = [&](int n) {
    std::vector<std::uint8_t> all(std::size_t(n) * kOutputs);
    for (auto& b : all) b = std::uint8_t(next() % 0x38);
    return all;
  };
  auto data = bytes(q.row_bytes), scales = bytes(q.scale_bytes), zeros = bytes(q.scale_bytes);
  if (q.coding == Coding::mxfp4 || q.coding == Coding::mxfp8)
    for (auto& e : scales) e = std::uint8_t(120 + e % 8);
  std::vector<float> x(kRows * kColumns);
  for (auto& v : x) v = float(next() % 2001) / 1000 - 1;
  Matrix w;
  w.data = data.data(), w.scales = scales.data(), w.zeros = zeros.data();
  w.row_bytes = q.row_bytes, w.scale_row_bytes = q.scale_bytes;
  w.rows = kOutputs, w.columns = kColumns, w.group = q.group, w.coding = q.coding;
  w.scale_type = Number::f16;
  auto expected = products(plain, w, x);
  if (!near(products(kernels, w, x), expected)) return false;
  if (!near(products(kernels.gemm_f32, w, x), expected)) return false;
  if (kernels.gemm_int && !dense(w.coding) && !near(products(*kernels.gemm_int, w, x), expected))
    return false;
  std::vector<float> a(kColumns), b(kColumns);
  kernels.matrix.unpack(w, kOutputs - 1, 0, kColumns, a.data());
  plain.matrix.unpack(w, kOutputs - 1, 0, kColumns, b.data());
  return near(a, b);
}

}  // namespace

std::string wrong_answer(const Kernels& kernels, const Kernels& plain) {
  if (&kernels == &plain) return "";
  for (auto& q : kQuestions)
    if (!answers(q, kernels, plain)) return std::string("products with ") + q.name;
  return "";
}

}  // namespace mlxcpp::cpu::detail
