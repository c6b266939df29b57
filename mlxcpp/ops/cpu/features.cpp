#include "mlxcpp/ops/cpu/features.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/cpu/detail/known_answers.h"
#include "mlxcpp/ops/cpu/detail/tiers.h"
#include "mlxcpp/ops/cpu/pool.h"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__linux__) && defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace mlxcpp::cpu {
namespace {

#if defined(__x86_64__)
struct Leaf {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
};
Leaf leaf(std::uint32_t id, std::uint32_t sub = 0) {
  Leaf l;
  __get_cpuid_count(id, sub, &l.a, &l.b, &l.c, &l.d);
  return l;
}
bool bit(std::uint32_t word, int n) { return word >> n & 1; }

/// Registers that the operating system saves: without, their instructions fault.
std::uint64_t saved_registers() {
  if (!bit(leaf(1).c, 27)) return 0;  // OSXSAVE
  std::uint32_t low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return std::uint64_t(high) << 32 | low;
}

/// Linux grants the tile registers to who asks.
bool tiles_granted() {
#if defined(__linux__)
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}

/// What a tier asks of the CPU beyond the one before; empty when it is there.
std::string missing(Tier tier) {
  static const std::uint64_t saved = saved_registers();
  static const Leaf one = leaf(1), seven = leaf(7), seven1 = leaf(7, 1);
  constexpr std::uint64_t kYmm = 0x6, kZmm = 0xe6, kTiles = 3u << 17;
  switch (tier) {
    case Tier::scalar: return "";
    case Tier::avx2:
      if ((saved & kYmm) != kYmm) return "the system does not save AVX registers";
      return bit(seven.b, 5) && bit(one.c, 12) && bit(one.c, 29) ? "" : "no AVX2, FMA and F16C";
    case Tier::avxvnni: return bit(seven1.a, 4) ? "" : "no AVX-VNNI";
    case Tier::avx512:
      if ((saved & kZmm) != kZmm) return "the system does not save AVX-512 registers";
      return bit(seven.b, 16) && bit(seven.b, 17) && bit(seven.b, 30) && bit(seven.b, 31)
                 ? ""
                 : "no AVX-512 F, DQ, BW and VL";
    case Tier::avx512vnni: return bit(seven.c, 11) ? "" : "no AVX512-VNNI";
    case Tier::avx512bf16:
      return bit(seven1.a, 5) && bit(seven.c, 1) ? "" : "no AVX512-BF16 and VBMI";
    case Tier::amx: {
      if (!bit(seven.d, 24) || !bit(seven.d, 22) || !bit(seven.d, 25)) return "no AMX";
      if ((saved & kTiles) != kTiles) return "the system does not save AMX tiles";
      static const bool granted = tiles_granted();
      return granted ? "" : "the system did not grant AMX tiles";
    }
    default: return "another architecture";
  }
}

std::optional<Tier> below(Tier tier) {
  switch (tier) {
    case Tier::avx2: return Tier::scalar;
    case Tier::avxvnni: return Tier::avx2;
    case Tier::avx512: return Tier::avx2;
    case Tier::avx512vnni: return Tier::avx512;
    case Tier::avx512bf16: return Tier::avx512vnni;
    case Tier::amx: return Tier::avx512bf16;
    default: return {};
  }
}

std::string cpu_name() {
  char name[49] = {};
  if (leaf(0x80000000u).a < 0x80000004u) return "x86-64";
  for (std::uint32_t i = 0; i < 3; ++i) {
    Leaf l = leaf(0x80000002u + i);
    std::memcpy(name + 16 * i, &l, 16);
  }
  return name;
}
#elif defined(__aarch64__)
std::string missing(Tier tier) {
#if defined(__linux__)
  unsigned long caps = getauxval(AT_HWCAP), caps2 = getauxval(AT_HWCAP2);
  bool dot = caps & HWCAP_ASIMDDP, matrix = (caps2 & HWCAP2_I8MM) && (caps2 & HWCAP2_BF16);
#else
  bool dot = true, matrix = false;  // every Apple CPU has dot products
  (void)matrix;
#endif
  switch (tier) {
    case Tier::scalar:
    case Tier::neon: return "";
    case Tier::dotprod: return dot ? "" : "no dot products";
    case Tier::i8mm: return matrix ? "" : "no I8MM and BF16";
    default: return "another architecture";
  }
}
std::optional<Tier> below(Tier tier) {
  switch (tier) {
    case Tier::neon: return Tier::scalar;
    case Tier::dotprod: return Tier::neon;
    case Tier::i8mm: return Tier::dotprod;
    default: return {};
  }
}
std::string cpu_name() { return "AArch64"; }
#else
std::string missing(Tier tier) { return tier == Tier::scalar ? "" : "another architecture"; }
std::optional<Tier> below(Tier) { return {}; }
std::string cpu_name() { return "unknown"; }
#endif

/// What is missing for the tier and for all that it stands on.
std::string all_missing(Tier tier) {
  if (auto base = below(tier))
    if (auto why = all_missing(*base); !why.empty()) return why;
  return missing(tier);
}

double seconds() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

/// The best rate of a few short runs, in products a second.
double rate(const Probe& probe) {
  constexpr long kIterations = 8000;
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 5; ++i) {
    double start = seconds();
    probe.run(kIterations);
    best = std::min(best, seconds() - start);
  }
  return probe.products * kIterations / best;
}

/// A CPU may have bfloat16 dot products that are slower than float32 multiply-adds.
bool half_dots_pay(const Kernels& k) {
  return k.probes.half.run && rate(k.probes.half) > 1.3 * rate(k.probes.f32);
}

const char* variable(const char* name) {
  const char* value = std::getenv(name);
  return value && *value ? value : nullptr;
}

[[noreturn]] void refuse(const char* name, const std::string& expected, const char* found) {
  throw InputError(describe(name, "bad value", expected, found));
}

std::string tier_names() {
  std::string all;
  for (auto& t : detail::compiled_tiers())
    all += (all.empty() ? "" : ", ") + std::string(name_of(t.tier));
  return all;
}

struct Chosen {
  Machine machine;
  bool mlx = false;
};

Chosen choose(const Settings& s) {
  Chosen chosen;
  Machine& m = chosen.machine;
  chosen.mlx = s.mlx;
  m.cpu = cpu_name();
  m.deterministic = s.deterministic;
  m.threads = s.threads ? s.threads : usable_threads();
  const Kernels* plain = detail::compiled_tiers().front().kernels;
  std::string able;
  m.kernels = nullptr;
  for (auto& t : detail::compiled_tiers()) {
    TierReport report{t.tier, Standing::able, all_missing(t.tier)};
    if (!report.note.empty()) {
      report.standing = Standing::absent;
    } else if (auto wrong = detail::wrong_answer(*t.kernels, *plain); !wrong.empty()) {
      report.standing = Standing::failed;
      report.note = wrong;
    } else {
      able += (able.empty() ? "" : ", ") + std::string(name_of(t.tier));
      if (!s.tier || *s.tier == t.tier) m.tier = t.tier, m.kernels = t.kernels;
    }
    m.tiers.push_back(report);
  }
  if (!m.kernels || (s.tier && *s.tier != m.tier)) {
    std::string name(name_of(s.tier.value_or(Tier::scalar)));
    throw InputError(describe("MLXCPP_CPU", "this CPU can not run it", "one of " + able, name));
  }
  for (auto& report : m.tiers)
    if (report.tier == m.tier) report.standing = Standing::active;
  m.half_dots_pay =
      m.kernels->probes.half.run && (s.half_dots ? *s.half_dots : half_dots_pay(*m.kernels));
  return chosen;
}

std::mutex guard;
/// Never destroyed: MLX's threads may still compute while the program ends.
std::optional<Chosen>& slot() {
  static auto& chosen = *new std::optional<Chosen>;
  return chosen;
}

const Chosen& chosen() {
  std::lock_guard lock(guard);
  auto& s = slot();
  if (!s) {
    s = choose(Settings::read());
    set_pool_threads(s->machine.threads);
  }
  return *s;
}

}  // namespace

std::string_view name_of(Tier tier) {
  constexpr std::string_view kNames[] = {"scalar",
                                         "avx2",
                                         "avxvnni",
                                         "avx512",
                                         "avx512vnni",
                                         "avx512bf16",
                                         "amx",
                                         "neon",
                                         "dotprod",
                                         "i8mm"};
  return kNames[int(tier)];
}

std::optional<Tier> tier_named(std::string_view name) {
  for (int i = 0; i <= int(Tier::i8mm); ++i)
    if (name_of(Tier(i)) == name) return Tier(i);
  return {};
}

Settings Settings::read() {
  Settings s;
  if (auto* v = variable("MLXCPP_CPU")) {
    s.tier = tier_named(v);
    if (!s.tier) refuse("MLXCPP_CPU", "one of " + tier_names(), v);
  }
  if (auto* v = variable("MLXCPP_THREADS")) {
    char* end = nullptr;
    long n = std::strtol(v, &end, 10);
    if (*end || n < 1 || n > 1024) refuse("MLXCPP_THREADS", "a number from 1 to 1024", v);
    s.threads = int(n);
  }
  if (auto* v = variable("MLXCPP_OPS")) {
    if (std::strcmp(v, "mlx") != 0 && std::strcmp(v, "cpu") != 0)
      refuse("MLXCPP_OPS", "mlx (MLX's own operations) or cpu (ours)", v);
    s.mlx = std::strcmp(v, "mlx") == 0;
  }
  if (auto* v = variable("MLXCPP_DETERMINISTIC")) {
    if (std::strcmp(v, "0") != 0 && std::strcmp(v, "1") != 0)
      refuse("MLXCPP_DETERMINISTIC", "0 or 1", v);
    s.deterministic = *v == '1';
  }
  return s;
}

const Machine& machine() { return chosen().machine; }
bool enabled() { return !chosen().mlx; }

void use(const Settings& settings) {
  Chosen next = choose(settings);
  std::lock_guard lock(guard);
  set_pool_threads(next.machine.threads);
  slot() = std::move(next);
}

}  // namespace mlxcpp::cpu
