#include "tests/cpu/weights.h"

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <stdexcept>

namespace mlxcpp::cpu {
namespace {

using Bytes = const std::uint8_t*;

std::uint32_t little(Bytes p, int bytes) {
  std::uint32_t u = 0;
  for (int i = 0; i < bytes; ++i) u |= std::uint32_t(p[i]) << 8 * i;
  return u;
}
double f32(Bytes p) { return std::bit_cast<float>(little(p, 4)); }
double bf16(Bytes p) { return std::bit_cast<float>(little(p, 2) << 16); }
double f16(Bytes p) {
  std::uint32_t h = little(p, 2);
  int exponent = h >> 10 & 31;
  double mantissa = h & 1023, sign = h >> 15 ? -1 : 1;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
}
double number(Number type, Bytes p, int i) {
  return type == Number::f32   ? f32(p + 4 * i)
         : type == Number::f16 ? f16(p + 2 * i)
                               : bf16(p + 2 * i);
}
double e8m0(std::uint8_t e) { return std::ldexp(1, e - 127); }
double e4m3(std::uint8_t b) {
  int exponent = b >> 3 & 15, mantissa = b & 7;
  if (exponent == 15 && mantissa == 7) return NAN;
  double v = exponent ? std::ldexp(8 + mantissa, exponent - 10) : std::ldexp(mantissa, -9);
  return b >> 7 ? -v : v;
}
double e2m1(int code) {
  const double values[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  return code & 8 ? -values[code & 7] : values[code];
}
int iq4(int code) {
  const int values[] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
  return values[code];
}

/// Code i of a stream of codes, lowest bits first.
int stream_code(Bytes p, int bits, long i) {
  int code = 0;
  for (long b = 0; b < bits; ++b) code |= (p[(i * bits + b) / 8] >> (i * bits + b) % 8 & 1) << b;
  return code;
}
/// Of a block with 16 bytes for 32 columns.
int nibble(Bytes p, int i) { return i < 16 ? p[i] & 15 : p[i - 16] >> 4; }

/// Scale and minimum j of Q4_K and Q5_K.
void k_scale(Bytes p, int j, int& scale, int& least) {
  if (j < 4) {
    scale = p[j] & 63, least = p[j + 4] & 63;
  } else {
    scale = (p[j + 4] & 15) | p[j - 4] >> 6 << 4;
    least = p[j + 4] >> 4 | p[j] >> 6 << 4;
  }
}
int q3_scale(Bytes p, int j) {
  int low = j < 8 ? p[j] & 15 : p[j - 8] >> 4;
  return (low | (p[8 + j % 4] >> 2 * (j / 4) & 3) << 4) - 32;
}

struct BlockShape {
  int columns, bytes;
};
BlockShape shape_of(Coding c) {
  switch (c) {
    case Coding::q4_0: return {32, 18};
    case Coding::q4_1: return {32, 20};
    case Coding::q5_0: return {32, 22};
    case Coding::q5_1: return {32, 24};
    case Coding::q8_0: return {32, 34};
    case Coding::q2_k: return {256, 84};
    case Coding::q3_k: return {256, 110};
    case Coding::q4_k: return {256, 144};
    case Coding::q5_k: return {256, 176};
    case Coding::q6_k: return {256, 210};
    case Coding::iq4_nl: return {32, 18};
    case Coding::iq4_xs: return {256, 136};
    default: return {};
  }
}

/// Number i of a block: exact.
double block_number(Coding coding, Bytes p, int i) {
  int scale, least, half = i / 128, in_half = i % 128, l = i % 32;
  switch (coding) {
    case Coding::q4_0: return f16(p) * (nibble(p + 2, i) - 8);
    case Coding::q4_1: return f16(p) * nibble(p + 4, i) + f16(p + 2);
    case Coding::q5_0:
      return f16(p) * ((nibble(p + 6, i) | (little(p + 2, 4) >> i & 1) << 4) - 16.0);
    case Coding::q5_1:
      return f16(p) * (nibble(p + 8, i) | (little(p + 4, 4) >> i & 1) << 4) + f16(p + 2);
    case Coding::q8_0: return f16(p) * std::int8_t(p[2 + i]);
    case Coding::q2_k:
      return f16(p + 80) * (p[i / 16] & 15) * (p[16 + 32 * half + l] >> 2 * (in_half / 32) & 3) -
             f16(p + 82) * (p[i / 16] >> 4);
    case Coding::q3_k: {
      int low = p[32 + 32 * half + l] >> 2 * (in_half / 32) & 3, high = p[l] >> i / 32 & 1;
      return f16(p + 108) * q3_scale(p + 96, i / 16) * (high ? low : low - 4);
    }
    case Coding::q4_k: {
      k_scale(p + 4, i / 32, scale, least);
      int code = p[16 + 32 * (i / 64) + l] >> 4 * (i / 32 % 2) & 15;
      return f16(p) * scale * code - f16(p + 2) * least;
    }
    case Coding::q5_k: {
      k_scale(p + 4, i / 32, scale, least);
      int code = (p[48 + 32 * (i / 64) + l] >> 4 * (i / 32 % 2) & 15) | (p[16 + l] >> i / 32 & 1)
                                                                            << 4;
      return f16(p) * scale * code - f16(p + 2) * least;
    }
    case Coding::q6_k: {
      int low = p[64 * half + in_half % 64] >> 4 * (in_half / 64) & 15;
      int high = p[128 + 32 * half + l] >> 2 * (in_half / 32) & 3;
      return f16(p + 208) * std::int8_t(p[192 + i / 16]) * ((low | high << 4) - 32);
    }
    case Coding::iq4_nl: return f16(p) * iq4(nibble(p + 2, i));
    case Coding::iq4_xs: {
      int b = i / 32, low = p[4 + b / 2] >> 4 * (b % 2) & 15, high = little(p + 2, 2) >> 2 * b & 3;
      return f16(p) * ((low | high << 4) - 32) * iq4(nibble(p + 8 + 16 * b, l));
    }
    default: throw std::logic_error("not a block");
  }
}

int bits_of(Coding c) {
  switch (c) {
    case Coding::affine2: return 2;
    case Coding::affine3: return 3;
    case Coding::affine4:
    case Coding::mxfp4:
    case Coding::nvfp4: return 4;
    case Coding::affine5: return 5;
    case Coding::affine6: return 6;
    case Coding::affine8:
    case Coding::mxfp8: return 8;
    case Coding::f16:
    case Coding::bf16: return 16;
    default: return 32;
  }
}
bool is_affine(Coding c) { return c >= Coding::affine2 && c <= Coding::affine8; }
int bytes_of(Number n) { return n == Number::f32 ? 4 : 2; }

void put(std::uint8_t* p, Number type, float v) {
  auto u = std::bit_cast<std::uint32_t>(v);
  if (type == Number::f32) return void(std::memcpy(p, &u, 4));
  std::uint16_t h = std::uint16_t(u >> 16);
  if (type == Number::f16) {  // of a number of ordinary size, cut off
    int exponent = int(u >> 23 & 255) - 112;
    h = std::uint16_t((u >> 31) << 15);
    if (exponent > 0) h = std::uint16_t(h | exponent << 10 | (u >> 13 & 1023));
  }
  std::memcpy(p, &h, 2);
}

}  // namespace

Fenced::Fenced(std::size_t size) : size_(size) {
  std::size_t page = std::size_t(sysconf(_SC_PAGESIZE));
  mapped_ = (size + page - 1) / page * page + page;
  mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) throw std::bad_alloc();
  auto* end = static_cast<std::uint8_t*>(mapping_) + mapped_ - page;
  if (mprotect(end, page, PROT_NONE) != 0) throw std::runtime_error("mprotect");
  data_ = end - size;
}
Fenced::~Fenced() { munmap(mapping_, mapped_); }

std::string name_of(const Layout& l) {
  const char* names[] = {"f32",     "f16",     "bf16",    "affine2", "affine3", "affine4",
                         "affine5", "affine6", "affine8", "mxfp4",   "mxfp8",   "nvfp4",
                         "q4_0",    "q4_1",    "q5_0",    "q5_1",    "q8_0",    "q2_k",
                         "q3_k",    "q4_k",    "q5_k",    "q6_k",    "iq4_nl",  "iq4_xs"};
  std::string name = names[int(l.coding)];
  if (!is_affine(l.coding)) return name;
  const char* types[] = {"f32", "f16", "bf16"};
  return name + "_g" + std::to_string(l.group) + "_" + types[int(l.scale_type)];
}

std::vector<Layout> layouts() {
  std::vector<Layout> all;
  const Number types[] = {Number::bf16, Number::f16, Number::f32};
  for (int c = 0; c < kCodings; ++c) {
    Coding coding = Coding(c);
    if (is_affine(coding))
      for (int i = 0; i < 3; ++i) all.push_back({coding, 32 << i, types[(c + i) % 3]});
    else
      all.push_back({coding, coding == Coding::nvfp4 ? 16 : 32});
  }
  return all;
}

int unit_of(const Layout& l) {
  if (l.coding <= Coding::bf16) return 1;
  if (int n = shape_of(l.coding).columns) return n;
  return l.group;
}

Weights random_weights(const Layout& l, int rows, int columns, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> size(0.002f, 0.02f);
  std::normal_distribution<float> normal(0, 0.05f);
  Weights all;
  Matrix& w = all.w;
  w.rows = rows, w.columns = columns, w.coding = l.coding, w.scale_type = l.scale_type;
  auto block = shape_of(l.coding);
  w.group = block.columns || l.coding <= Coding::bf16 ? 0 : l.group;
  w.row_bytes = block.columns ? long(columns) / block.columns * block.bytes
                              : long(columns) * bits_of(l.coding) / 8;
  all.data = std::make_unique<Fenced>(std::size_t(w.row_bytes) * rows);
  std::uint8_t* p = all.data->data();
  for (std::size_t i = 0; i < all.data->size(); ++i) p[i] = std::uint8_t(random());
  w.data = p;
  if (l.coding <= Coding::bf16) {
    Number types[] = {Number::f32, Number::f16, Number::bf16};
    Number type = types[int(l.coding)];
    for (long i = 0; i < long(rows) * columns; ++i)
      put(p + i * bytes_of(type), type, normal(random));
  }
  if (l.coding == Coding::mxfp8)  // numbers, small ones
    for (std::size_t i = 0; i < all.data->size(); ++i) p[i] &= 0xb7;
  if (block.columns) {
    static const int scale_at[] = {0, 0, 0, 0, 0, 80, 108, 0, 0, 208, 0, 0};
    int at = scale_at[int(l.coding) - int(Coding::q4_0)];
    bool second = l.coding == Coding::q4_1 || l.coding == Coding::q5_1 ||
                  l.coding == Coding::q2_k || l.coding == Coding::q4_k || l.coding == Coding::q5_k;
    for (std::size_t i = 0; i < all.data->size(); i += std::size_t(block.bytes)) {
      put(p + i + at, Number::f16, size(random) * (random() % 2 ? 1.f : -1.f));
      if (second) put(p + i + at + 2, Number::f16, normal(random));
    }
  }
  if (w.group) {
    long n = columns / w.group, bytes = is_affine(l.coding) ? bytes_of(l.scale_type) : 1;
    w.scale_row_bytes = n * bytes;
    all.scales = std::make_unique<Fenced>(std::size_t(w.scale_row_bytes) * rows);
    w.scales = all.scales->data();
    if (is_affine(l.coding)) {
      all.zeros = std::make_unique<Fenced>(all.scales->size());
      w.zeros = all.zeros->data();
      for (long i = 0; i < n * rows; ++i) {
        put(all.scales->data() + i * bytes, l.scale_type, size(random));
        put(all.zeros->data() + i * bytes, l.scale_type, normal(random));
      }
    } else {
      for (long i = 0; i < n * rows; ++i)
        all.scales->data()[i] =
            std::uint8_t(l.coding == Coding::nvfp4 ? 0x20 + random() % 32 : 118 + random() % 8);
    }
  }
  if (l.coding == Coding::nvfp4) w.factor = 0.37f;
  return all;
}

float number_at(const Matrix& w, int row, int column) {
  auto* p = static_cast<Bytes>(w.data) + row * w.row_bytes;
  if (auto block = shape_of(w.coding); block.columns)
    return float(block_number(
               w.coding, p + long(column / block.columns) * block.bytes, column % block.columns)) *
           w.factor;
  auto* scales = static_cast<Bytes>(w.scales) + row * w.scale_row_bytes;
  auto* zeros = static_cast<Bytes>(w.zeros) + row * w.scale_row_bytes;
  int group = w.group ? column / w.group : 0;
  switch (w.coding) {
    case Coding::f32: return float(f32(p + 4L * column) * w.factor);
    case Coding::f16: return float(f16(p + 2L * column) * w.factor);
    case Coding::bf16: return float(bf16(p + 2L * column) * w.factor);
    case Coding::mxfp4:
      return float(e2m1(stream_code(p, 4, column)) * e8m0(scales[group]) * w.factor);
    case Coding::nvfp4:
      return float(e2m1(stream_code(p, 4, column)) * e4m3(scales[group]) * w.factor);
    case Coding::mxfp8: return float(e4m3(p[column]) * e8m0(scales[group]) * w.factor);
    default: break;
  }
  double scale = number(w.scale_type, scales, group), zero = number(w.scale_type, zeros, group);
  return std::fma(float(stream_code(p, bits_of(w.coding), column)), float(scale), float(zero)) *
         w.factor;
}

}  // namespace mlxcpp::cpu
