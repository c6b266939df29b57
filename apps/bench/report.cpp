#include "apps/bench/report.h"

#include "apps/common/progress.h"
#include "mlxcpp/io/json.h"

#include <fmt/format.h>

#include <algorithm>

namespace mlxcpp::apps::bench {

Spread spread(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  std::size_t half = v.size() / 2;
  return {v.size() % 2 ? v[half] : (v[half - 1] + v[half]) / 2, v.front(), v.back()};
}

Spread Measured::tokens_per_second() const {
  std::vector<double> rates;
  for (double s : seconds) rates.push_back(what.tokens * what.batch / s);
  return spread(std::move(rates));
}

double Measured::limit_s() const {
  return std::max(work.bytes / read_rate, work.products / multiply_rate);
}

bool Measured::read_bound() const {
  return work.bytes / read_rate >= work.products / multiply_rate;
}

double Measured::ratio_to_limit() const { return spread(seconds).median / limit_s(); }

std::string head(const Surroundings& s) {
  std::string kernels = s.own_kernels ? s.tier : "MLX's own operations";
  if (s.deterministic) kernels += ", deterministic";
  std::string out = fmt::format("{}: {}, {:.1f} million parameters, {} of weights\n",
                                s.model,
                                s.model_type,
                                double(s.parameters) / 1e6,
                                human_bytes(s.weight_bytes));
  out += fmt::format("{}; kernels: {}; no 8-bit activations\n", s.cpu, kernels);
  out += fmt::format(
      "loaded in {:.3f} s; first token {:.3f} s after the program's start ({} tokens of "
      "prompt)\n\n",
      s.load_s,
      s.first_token_s,
      s.first_prompt);
  out += fmt::format("{:>8} {:>6} {:>5} {:>7} {:>10} {:>10} {:>10} {:>8} {:>8} {:>15} {:>8}\n",
                     "test",
                     "depth",
                     "batch",
                     "threads",
                     "tokens/s",
                     "min",
                     "max",
                     "GB/s",
                     "GMAC/s",
                     "time to limit",
                     "peak MB");
  return out;
}

std::string row(const Measured& m) {
  auto rate = m.tokens_per_second();
  std::string ratio =
      fmt::format("{:.2f} ({})", m.ratio_to_limit(), m.read_bound() ? "read" : "multiply");
  return fmt::format(
      "{:>8} {:>6} {:>5} {:>7} {:>10.2f} {:>10.2f} {:>10.2f} {:>8.1f} {:>8.0f} {:>15} {:>8.0f}\n",
      m.what.test(),
      m.what.depth,
      m.what.batch,
      m.what.threads,
      rate.median,
      rate.min,
      rate.max,
      m.read_rate / 1e9,
      m.multiply_rate / 1e9,
      ratio,
      double(m.peak_memory) / 1e6);
}

std::string json_line(const Surroundings& s, const Measured& m) {
  auto rate = m.tokens_per_second();
  io::JsonWriter json;
  json.begin_object()
      .member("test", m.what.test())
      .member("tokens", m.what.tokens)
      .member("depth", m.what.depth)
      .member("batch", m.what.batch)
      .member("threads", m.what.threads)
      .member("trials", m.seconds.size());
  json.key("tokens_per_second").begin_object();
  json.member("median", rate.median).member("min", rate.min).member("max", rate.max).end_object();
  json.member("seconds", m.seconds)
      .member("peak_rss_mb", double(m.peak_memory) / 1e6)
      .member("read_gb_per_s", m.read_rate / 1e9)
      .member("gmac_per_s", m.multiply_rate / 1e9)
      .member("bytes_read", m.work.bytes)
      .member("multiply_adds", m.work.products)
      .member("limit", m.read_bound() ? "read" : "multiply")
      .member("ratio_to_limit", m.ratio_to_limit());
  json.member("load_s", s.load_s)
      .member("first_token_s", s.first_token_s)
      .member("first_token_prompt", s.first_prompt)
      .member("chunk", s.chunk);
  json.member("model", s.model)
      .member("model_type", s.model_type)
      .member("parameters", s.parameters)
      .member("weight_bytes", s.weight_bytes);
  json.member("cpu", s.cpu)
      .member("kernels", s.own_kernels ? "mlxcpp" : "mlx")
      .member("tier", s.tier)
      .member("deterministic", s.deterministic)
      .member("eight_bit_activations", false)
      .member("mlxcpp", MLXCPP_VERSION)
      .end_object();
  return json.str() + "\n";
}

}  // namespace mlxcpp::apps::bench
