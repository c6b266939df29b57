// What tests of filters and draws share: the definitions as plain loops in double, and options of
// every kind.
#pragma once

#include "mlxcpp/ops/choose.h"
#include "mlxcpp/ops/cpu/features.h"
#include "tests/support/numbers.h"

#include <mlx/ops.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace mlxcpp::ops {

using Row = std::vector<float>;
using Kept = std::vector<int>;
inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// Each test runs with our kernels and without.
class Choose : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override { cpu::use({.mlx = GetParam()}); }
  void TearDown() override { cpu::use(cpu::Settings::read()); }
};
inline std::string backend(const testing::TestParamInfo<bool>& info) {
  return info.param ? "mlx" : "own";
}

inline array rows(const std::vector<Row>& table) {
  Row flat;
  for (const auto& row : table) flat.insert(flat.end(), row.begin(), row.end());
  return array(flat.begin(), {int(table.size()), int(table.front().size())});
}

inline Row log_of(Row probs) {
  for (float& p : probs) p = std::log(p);
  return probs;
}

inline std::vector<Row> table_of(array a) {
  a.eval();
  std::vector<Row> out;
  for (int r = 0; r < a.shape(0); ++r) {
    const float* p = a.data<float>() + std::size_t(r) * a.shape(1);
    out.emplace_back(p, p + a.shape(1));
  }
  return out;
}

template <class T>
inline std::vector<T> list_of(array a) {
  a.eval();
  return {a.data<T>(), a.data<T>() + a.size()};
}
inline std::vector<unsigned> ids_of(const array& a) {
  EXPECT_EQ(a.dtype(), mx::uint32);
  EXPECT_EQ(a.ndim(), 1u);
  return list_of<unsigned>(a);
}

inline std::shared_ptr<const std::vector<int>> special(std::vector<int> ids) {
  return std::make_shared<const std::vector<int>>(std::move(ids));
}

/// Ids from the most to the least likely.
inline Kept ranked(const Row& x) {
  Kept ids(x.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](int a, int b) { return x[a] > x[b]; });
  return ids;
}

/// Random scores without equal values.
inline std::vector<Row> random_rows(int count, int vocab, int seed, float spread = 6) {
  return table_of(mx::multiply(test::noise({count, vocab}, seed), array(spread)));
}

// The definitions, on the ids that are left, in double.

inline std::vector<double> probs_of(const Row& x, const Kept& ids, double temperature = 1) {
  double best = -kInf, total = 0;
  for (int id : ids) best = std::max(best, double(x[id]));
  std::vector<double> p;
  for (int id : ids) p.push_back(std::exp((x[id] - best) / temperature));
  for (double v : p) total += v;
  for (double& v : p) v /= total;
  return p;
}

inline Kept n_sigma_loop(const Row& x, const Kept& ids, double n) {
  double mean = 0, square = 0, best = -kInf;
  for (int id : ids) mean += x[id] / double(ids.size()), best = std::max(best, double(x[id]));
  for (int id : ids) square += (x[id] - mean) * (x[id] - mean) / double(ids.size());
  Kept out;
  for (int id : ids)
    if (x[id] >= best - n * std::sqrt(square)) out.push_back(id);
  return out;
}

inline Kept typical_loop(const Row& x, const Kept& ids, double p) {
  auto probs = probs_of(x, ids);
  double entropy = 0, mass = 0;
  for (double v : probs) entropy -= v * std::log(v);
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < ids.size(); ++i)
    order.emplace_back(std::abs(-std::log(probs[i]) - entropy), i);
  std::sort(order.begin(), order.end());
  Kept out;
  for (auto [score, i] : order) {
    out.push_back(ids[i]);
    mass += probs[i];
    if (mass > p) break;
  }
  std::sort(out.begin(), out.end());
  return out;
}

inline Kept top_p_loop(const Row& x, const Kept& ids, double p) {
  auto probs = probs_of(x, ids);
  Kept order(ids.size()), out;
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return probs[a] > probs[b]; });
  double mass = 0;
  for (int i : order) {
    if (mass >= p) break;
    out.push_back(ids[i]);
    mass += probs[i];
  }
  std::sort(out.begin(), out.end());
  return out;
}

inline Kept first_ranked(const Row& x, const Kept& ids, std::size_t n) {
  Kept order = ids;
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
  if (order.size() > n) order.resize(n);
  std::sort(order.begin(), order.end());
  return order;
}

inline Kept min_p_loop(const Row& x, const Kept& ids, double min_p, int keep) {
  double best = -kInf;
  for (int id : ids) best = std::max(best, double(x[id]));
  std::set<int> out;
  for (int id : ids)
    if (std::exp(x[id] - best) >= min_p) out.insert(id);
  for (int id : first_ranked(x, ids, std::size_t(keep))) out.insert(id);
  return {out.begin(), out.end()};
}

inline Kept xtc_loop(const Row& x,
                     const Kept& ids,
                     double threshold,
                     const std::vector<int>& safe) {
  auto probs = probs_of(x, ids);
  double least = kInf;
  for (double p : probs)
    if (p > threshold) least = std::min(least, p);
  Kept out;
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (probs[i] <= least || std::count(safe.begin(), safe.end(), ids[i])) out.push_back(ids[i]);
  return out;
}

inline Kept mirostat_loop(const Row& x, const Kept& ids, double temperature, double mu) {
  auto probs = probs_of(x, ids, temperature);
  Kept out;
  for (std::size_t i = 0; i < ids.size(); ++i)
    if (-std::log2(probs[i]) <= mu) out.push_back(ids[i]);
  return out.empty() ? first_ranked(x, ids, 1) : out;
}

/// All of a row's filters, in their order.
inline Kept by_loops(const Row& x, const Draw& d, double mu = 0) {
  Kept ids;
  for (int i = 0; i < int(x.size()); ++i)
    if (x[i] > -kInf) ids.push_back(i);
  if (d.temperature == 0) return first_ranked(x, ids, 1);
  if (d.mirostat) return mirostat_loop(x, ids, d.temperature, mu);
  if (d.top_n_sigma > 0) ids = n_sigma_loop(x, ids, d.top_n_sigma);
  if (d.typical_p < 1) ids = typical_loop(x, ids, d.typical_p);
  if (d.top_p < 1) ids = top_p_loop(x, ids, d.top_p);
  if (d.min_p > 0) ids = min_p_loop(x, ids, d.min_p, d.min_keep);
  if (d.xtc) ids = xtc_loop(x, ids, d.xtc_threshold, d.special ? *d.special : std::vector<int>{});
  if (d.top_k > 0) ids = first_ranked(x, ids, std::size_t(d.top_k));
  return ids;
}

inline const Row kFive = log_of({0.05f, 0.4f, 0.15f, 0.3f, 0.1f});

inline std::uint64_t noise_bits(std::uint64_t i) {  // splitmix64
  std::uint64_t z = (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

/// Options of all kinds, alone and together.
inline std::vector<Draw> many_ways() {
  std::vector<Draw> all{{}, {.temperature = 0.7f}};
  for (float t : {0.6f, 1.f, 1.7f}) {
    for (int k : {1, 7, 60, 400}) all.push_back({.temperature = t, .top_k = k});
    for (float p : {0.05f, 0.5f, 0.9f, 0.997f}) {
      all.push_back({.temperature = t, .top_p = p});
      all.push_back({.temperature = t, .typical_p = p});
      all.push_back({.temperature = t, .top_p = p, .min_p = 0.05f, .top_k = 20});
    }
    for (float n : {0.5f, 1.f, 2.5f}) all.push_back({.temperature = t, .top_n_sigma = n});
    for (int keep : {1, 9}) all.push_back({.temperature = t, .min_p = 0.3f, .min_keep = keep});
    for (float threshold : {0.f, 0.02f, 0.2f})
      all.push_back({.temperature = t,
                     .xtc = true,
                     .xtc_threshold = threshold,
                     .special = special({2, 40, 9999})});
    all.push_back({.temperature = t, .mirostat = true, .tau = 3, .eta = 0.1f});
  }
  all.push_back({.temperature = 0.8f,
                 .top_n_sigma = 2.2f,
                 .typical_p = 0.95f,
                 .top_p = 0.9f,
                 .min_p = 0.02f,
                 .min_keep = 3,
                 .xtc = true,
                 .xtc_threshold = 0.05f,
                 .special = special({7}),
                 .top_k = 11});
  return all;
}

}  // namespace mlxcpp::ops
