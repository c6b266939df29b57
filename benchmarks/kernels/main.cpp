// How fast products, or attention, are on this machine, beside what its units can do at most.
//   kernel_bench [--tier TIER] [--threads N] [--set MiB] [--deterministic 1] [--rows M]
//                [--coding CODING] [--shape COLUMNSxOUTPUTS]            products
//                --keys N [--heads QUERYxKEY] [--size D]                attention
// One thread: its own CPU time, so neighbours matter little.  More: wall time, on an idle machine.
#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/cpu/attention.h"
#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/cpu/linear.h"
#include "mlxcpp/ops/cpu/pool.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>
#include <vector>

namespace {

using namespace mlxcpp::cpu;

int threads = 1;
int set_mb = 48;  // of weights (few rows) or keys: more than a second cache holds

double seconds() {
  if (threads > 1) {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
  }
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
}

/// The least time of a call, over about a third of a second.
template <class F>
double least(F&& f) {
  f();
  double best = 1e30, all = 0;
  for (int i = 0; i < 5 || (all < 0.3 && i < 5000); ++i) {
    double start = seconds();
    f();
    double t = seconds() - start;
    best = std::min(best, t);
    all += t;
  }
  return best;
}

struct Kind {
  const char* name;
  Coding coding;
  int group, block, block_bytes;  // numbers and bytes that belong together
  bool scales;                    // in arrays of their own, two bytes for each group
};
constexpr Kind kKinds[] = {{"f32", Coding::f32, 0, 1, 4, false},
                           {"f16", Coding::f16, 0, 1, 2, false},
                           {"bf16", Coding::bf16, 0, 1, 2, false},
                           {"affine2", Coding::affine2, 64, 64, 16, true},
                           {"affine3", Coding::affine3, 64, 64, 24, true},
                           {"affine4", Coding::affine4, 64, 64, 32, true},
                           {"affine4g32", Coding::affine4, 32, 64, 32, true},
                           {"affine5", Coding::affine5, 64, 64, 40, true},
                           {"affine6", Coding::affine6, 64, 64, 48, true},
                           {"affine8", Coding::affine8, 64, 64, 64, true},
                           {"mxfp4", Coding::mxfp4, 32, 32, 16, true},
                           {"mxfp8", Coding::mxfp8, 32, 32, 32, true},
                           {"nvfp4", Coding::nvfp4, 16, 16, 8, true},
                           {"q4_0", Coding::q4_0, 32, 32, 18, false},
                           {"q4_1", Coding::q4_1, 32, 32, 20, false},
                           {"q5_0", Coding::q5_0, 32, 32, 22, false},
                           {"q5_1", Coding::q5_1, 32, 32, 24, false},
                           {"q8_0", Coding::q8_0, 32, 32, 34, false},
                           {"q2_k", Coding::q2_k, 16, 256, 84, false},
                           {"q3_k", Coding::q3_k, 16, 256, 110, false},
                           {"q4_k", Coding::q4_k, 32, 256, 144, false},
                           {"q5_k", Coding::q5_k, 32, 256, 176, false},
                           {"q6_k", Coding::q6_k, 16, 256, 210, false},
                           {"iq4_nl", Coding::iq4_nl, 32, 32, 18, false},
                           {"iq4_xs", Coding::iq4_xs, 32, 256, 136, false}};

/// A set of equal matrices; their numbers mean nothing, but none is an infinity.
struct Weights {
  std::vector<std::uint8_t> data, scales;
  std::vector<Matrix> matrices;
  std::size_t bytes = 0;  // of one

  Weights(const Kind& kind, int outputs, int columns, std::size_t set_bytes) {
    Matrix m;
    m.coding = kind.coding, m.rows = outputs, m.columns = columns, m.group = kind.group;
    m.row_bytes = long(columns) / kind.block * kind.block_bytes;
    m.scale_type = Number::bf16;
    if (kind.scales) m.scale_row_bytes = long(columns) / kind.group * 2;
    std::size_t own = std::size_t(m.row_bytes) * outputs,
                beside = std::size_t(m.scale_row_bytes) * outputs;
    bytes = own + beside * (m.coding >= Coding::mxfp4 ? 1 : 2);
    auto count = std::max<std::size_t>(1, set_bytes / bytes);
    std::mt19937 random(1);
    data.resize(own * count);
    scales.resize(2 * beside * count);
    for (auto& b : data) b = std::uint8_t((random() & 0x1b) | 0x20);  // nor near zero: slow
    for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = i % 2 ? 0x3c : random() & 0xff;
    for (std::size_t i = 0; i < count; ++i) {
      m.data = data.data() + own * i;
      if (kind.scales) {
        m.scales = scales.data() + 2 * beside * i;
        m.zeros = scales.data() + 2 * beside * i + beside;
      }
      matrices.push_back(m);
    }
  }
};

double probe_rate(const Probe& probe) {
  if (!probe.run) return 0;
  constexpr long kIterations = 200000;
  return probe.products * kIterations * threads /
         least([&] { Pool::instance().run(threads, [&](int) { probe.run(kIterations); }); });
}

/// Bytes a second of reading so much, in chunks.
double read_rate(std::size_t bytes) {
  std::vector<char> data(bytes, 1);
  constexpr std::size_t kChunk = 256 << 10;
  double t = least([&] {
    Pool::instance().run(int((bytes + kChunk - 1) / kChunk), [&](int i) {
      std::size_t from = std::size_t(i) * kChunk;
      machine().kernels->probes.read(data.data() + from, std::min(kChunk, bytes - from));
    });
  });
  return double(bytes) / t;
}

void measure(const Kind& kind, int columns, int outputs, int rows, double f32, double half) {
  Weights w(kind, outputs, columns, rows <= 32 ? std::size_t(set_mb) << 20 : 1);
  std::vector<float> x(std::size_t(rows) * columns), y(std::size_t(rows) * outputs);
  std::mt19937 random(2);
  for (auto& v : x) v = float(int(random() % 2001) - 1000) / 1000;
  double t = least([&] {
    for (const Matrix& m : w.matrices) {
      Product p{.w = m, .y = y.data(), .y_stride = outputs};
      linear(x.data(), columns, rows, {&p, 1});
    }
  });
  double n = double(w.matrices.size()), rate = n * rows * columns * double(outputs) / t;
  std::printf(
      "%-10s %5d x %-6d rows %4d: %8.1f GMAC/s", kind.name, columns, outputs, rows, rate * 1e-9);
  bool panels = machine().kernels->gemm_half && kind.coding != Coding::f32;
  if (rows > 1) std::printf(", %.2f of %s", rate / (panels ? half : f32), panels ? "tiles" : "FMA");
  double moved = n * double(w.bytes);
  std::printf(", %.1f GB/s", moved / t * 1e-9);
  if (rows == 1) std::printf(", %.2f of reading", moved / t / read_rate(std::size_t(moved)));
  std::printf("\n");
  std::fflush(stdout);
}

/// One layer's attention after another, as in decoding: the keys of each are read from afar.
void measure_attention(int heads, int kv_heads, int size, int keys, int queries) {
  long numbers = long(kv_heads) * keys * size;
  auto layers = std::max(1l, (long(set_mb) << 20) / (2 * numbers * long(sizeof(float))));
  std::vector<float> k(std::size_t(numbers * layers)), v(k.size()),
      q(std::size_t(heads) * queries * size), out(q.size());
  std::mt19937 random(1);
  for (auto* all : {&k, &v, &q})
    for (auto& x : *all) x = float(int(random() % 2001) - 1000) / 1000;
  double t = least([&] {
    for (long i = 0; i < layers; ++i) {
      long head = long(keys) * size, token = size;
      KeyPiece piece{
          {k.data() + i * numbers, head, token}, {v.data() + i * numbers, head, token}, keys};
      RowKeys row{
          .pieces = &piece, .count = 1, .keys = keys, .offset = keys - queries, .end = keys};
      attention({.rows = 1,
                 .heads = heads,
                 .kv_heads = kv_heads,
                 .queries = queries,
                 .k_size = size,
                 .v_size = size,
                 .q = {q.data(), 0, size, long(heads) * size},
                 .keys = &row,
                 .out = out.data(),
                 .out_row = 0,
                 .out_head = size,
                 .out_token = long(heads) * size,
                 .scale = 0.125f});
    }
  });
  double bytes = 2.0 * double(numbers * layers) * sizeof(float);
  std::printf(
      "attention %d/%d heads of %d, %5d keys, %3d queries: %8.1f us, %.1f GB/s, %.2f of reading\n",
      heads,
      kv_heads,
      size,
      keys,
      queries,
      t / double(layers) * 1e6,
      bytes / t * 1e-9,
      bytes / t / read_rate(std::size_t(bytes)));
}

int run(int argc, char** argv) {
  Settings settings;
  std::string coding;
  std::vector<std::pair<int, int>> shapes;
  std::vector<int> rows, keys;
  int heads = 9, kv_heads = 3, size = 64;
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string flag = argv[i], value = argv[i + 1];
    int a = 0, b = 0;
    if (flag == "--tier")
      settings.tier = tier_named(value);
    else if (flag == "--threads")
      threads = std::atoi(value.c_str());
    else if (flag == "--coding")
      coding += "," + value + ",";
    else if (flag == "--rows")
      rows.push_back(std::atoi(value.c_str()));
    else if (flag == "--set")
      set_mb = std::atoi(value.c_str());
    else if (flag == "--deterministic")
      settings.deterministic = value == "1";
    else if (flag == "--keys")
      keys.push_back(std::atoi(value.c_str()));
    else if (flag == "--size")
      size = std::atoi(value.c_str());
    else if (flag == "--heads" && std::sscanf(value.c_str(), "%dx%d", &a, &b) == 2)
      heads = a, kv_heads = b;
    else if (flag == "--shape" && std::sscanf(value.c_str(), "%dx%d", &a, &b) == 2)
      shapes.push_back({a, b});
    else
      return std::fprintf(stderr, "kernel_bench: what is %s?\n", argv[i]), 2;
  }
  settings.threads = threads;
  use(settings);
  if (!keys.empty()) {
    if (rows.empty()) rows = {1};
    for (int n : keys)
      for (int m : rows) measure_attention(heads, kv_heads, size, n, m);
    return 0;
  }
  if (shapes.empty()) shapes = {{576, 1536}, {2048, 8192}, {8192, 2048}};
  if (rows.empty()) rows = {1, 4, 8, 16, 32, 128, 512};
  auto& probes = machine().kernels->probes;
  double f32 = probe_rate(probes.f32), half = probe_rate(probes.half),
         tiles = probe_rate(probes.tile_half);
  std::printf(
      "tier %s, %d threads; GMAC/s: FMA %.0f, bfloat16 dot products %.0f, bytes %.0f, tiles %.0f\n",
      std::string(name_of(machine().tier)).c_str(),
      threads,
      f32 * 1e-9,
      half * 1e-9,
      probe_rate(probes.byte) * 1e-9,
      tiles * 1e-9);
  for (const Kind& kind : kKinds) {
    if (!coding.empty() && coding.find("," + std::string(kind.name) + ",") == std::string::npos)
      continue;
    for (auto [columns, outputs] : shapes)
      for (int m : rows)
        if (columns % kind.block == 0)
          measure(kind, columns, outputs, m, f32, tiles > 0 ? tiles : half);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const mlxcpp::Error& e) {
    std::fprintf(stderr, "kernel_bench: %s\n", e.what());
    return 1;
  }
}
