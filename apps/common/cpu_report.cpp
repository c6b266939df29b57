#include "apps/common/cpu_report.h"

#include "apps/bench/limits.h"
#include "mlxcpp/io/json.h"
#include "mlxcpp/ops/cpu/features.h"

#include <fmt/format.h>

#include <cstdint>
#include <optional>

namespace mlxcpp::apps {
namespace {

constexpr std::uint64_t kBuffer = std::uint64_t{256} << 20;  // what reading is measured with

const char* name_of(cpu::Standing standing) {
  switch (standing) {
    case cpu::Standing::active: return "active";
    case cpu::Standing::able: return "able";
    case cpu::Standing::failed: return "failed";
    case cpu::Standing::absent: return "absent";
  }
  return "";
}

std::string as_json(const cpu::Machine& m, const bench::Peaks& peaks, double reading) {
  io::JsonWriter json;
  json.begin_object()
      .member("cpu", m.cpu)
      .member("threads", m.threads)
      .member("kernels", cpu::enabled() ? "mlxcpp" : "mlx")
      .member("tier", cpu::name_of(m.tier))
      .member("deterministic", m.deterministic)
      .member("half_dots_pay", m.half_dots_pay);
  json.key("tiers").begin_list();
  for (auto& t : m.tiers) {
    json.begin_object()
        .member("tier", cpu::name_of(t.tier))
        .member("standing", name_of(t.standing))
        .member("note", t.note)
        .end_object();
  }
  json.end_list().key("gmac_per_s").begin_object();
  auto rate = [&json](const char* name, double per_second) {
    json.member(name, per_second > 0 ? std::optional(per_second / 1e9) : std::nullopt);
  };
  rate("f32", peaks.f32);
  rate("bf16", peaks.half);
  rate("int8", peaks.byte);
  rate("amx_bf16", peaks.tile_half);
  json.end_object().member("read_gb_per_s", reading / 1e9).end_object();
  return json.str() + "\n";
}

std::string line(const std::string& label, const std::string& text) {
  return fmt::format("{:<18}{}\n", label, text);
}

std::string as_text(const cpu::Machine& m, const bench::Peaks& peaks, double reading) {
  std::string out = line("CPU", m.cpu);
  out += line("threads", std::to_string(m.threads));
  out += line("kernels",
              cpu::enabled() ? std::string(cpu::name_of(m.tier)) + ", no 8-bit activations"
                             : "none: MLX's own operations (MLXCPP_OPS)");
  out += line("deterministic", m.deterministic ? "yes (MLXCPP_DETERMINISTIC)" : "no");
  for (auto& t : m.tiers) {
    std::string standing = name_of(t.standing);
    out += line("tier " + std::string(cpu::name_of(t.tier)),
                t.note.empty() ? standing : standing + ": " + t.note);
  }
  auto rate = [&](const char* label, double per_second, const char* more = "") {
    out += line(label,
                per_second > 0 ? fmt::format("{:.0f} GMAC/s{}", per_second / 1e9, more) : "none");
  };
  rate("float32", peaks.f32);
  rate("bfloat16",
       peaks.half,
       m.half_dots_pay ? ", used: faster than float32" : ", not used: no faster than float32");
  rate("bytes", peaks.byte);
  rate("AMX bfloat16", peaks.tile_half);
  out += line("reading", fmt::format("{:.1f} GB/s of {} MiB", reading / 1e9, kBuffer >> 20));
  return out;
}

}  // namespace

std::string cpu_report(bool json) {
  const auto& machine = cpu::machine();
  auto peaks = bench::measure_peaks();
  double reading = bench::measure_reading(kBuffer);
  return json ? as_json(machine, peaks, reading) : as_text(machine, peaks, reading);
}

}  // namespace mlxcpp::apps
