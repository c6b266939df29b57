// Ragged batches through caches, and what a row alone gives.
#pragma once

#include "mlxcpp/lm/model.h"
#include "tests/support/golden.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace mlxcpp::lm {

using Ids = std::vector<int>;
inline constexpr float kTolerance = 1e-4f;  // of the largest value
using test::relative_difference;

inline Ids ids(int seed, int n) {
  Ids r;
  for (int i = 0; i < n; ++i) r.push_back((seed * 37 + i * 29 + i * i * 5) % 63 + 1);
  return r;
}
inline Ids part(const Ids& v, int from, int to) { return {v.begin() + from, v.begin() + to}; }

/// Ragged rows, padded on the right.
inline Input input(const std::vector<Ids>& rows) {
  size_t L = 1;
  Ids flat, lengths;
  for (auto& r : rows) L = std::max(L, r.size()), lengths.push_back(int(r.size()));
  for (auto& r : rows)
    for (size_t j = 0; j < L; ++j) flat.push_back(j < r.size() ? r[j] : 7);
  return {.tokens = array(flat.data(), {int(rows.size()), int(L)}, mx::int32), .lengths = lengths};
}

inline array logits(const LanguageModel& m, const Input& in, Caches& c) {
  array y = mx::astype(m.logits(m.hidden(in, c)), mx::float32);
  auto all = c.arrays();
  all.push_back(y);
  mx::eval(all);
  return y;
}
inline array logits(const LanguageModel& m, const Input& in) {
  Caches none;
  return logits(m, in, none);
}

/// (tokens, V) of one row.
inline array row(const array& y, int b, int from, int to) {
  return mx::squeeze(mx::slice(y, {b, from, 0}, {b + 1, to, y.shape(2)}), 0);
}
inline array tokens_of(const array& y, int from, int to) {
  return mx::slice(y, {from, 0}, {to, y.shape(1)});
}
inline array alone(const LanguageModel& m, const Ids& r) {
  return row(logits(m, input({r})), 0, 0, int(r.size()));
}

/// Runs batches through one cache and compares every row with itself alone.
struct Play {
  const LanguageModel& m;
  Caches caches;
  std::vector<Ids> full;
  std::vector<array> want;
  Ids done, live;
  float worst = 0;
  std::vector<float> differences;  // of each pass and row

  Play(const LanguageModel& model, const CacheOptions& options, std::vector<Ids> rows)
      : m(model), caches(model.make_caches(options)), full(std::move(rows)) {
    for (auto& f : full)
      want.push_back(alone(m, f)), live.push_back(int(done.size())), done.push_back(0);
  }
  /// Of each row n further tokens; of the last `needed` of them states are wanted, or of all.
  void pass(const Ids& n, const Ids& needed = {}) {
    std::vector<Ids> rows;
    for (size_t i = 0; i < live.size(); ++i)
      rows.push_back(part(full[live[i]], done[live[i]], done[live[i]] + n[i]));
    Input in = input(rows);
    in.needed = needed;
    array y = logits(m, in, caches);
    for (size_t i = 0; i < live.size(); ++i) {
      int b = live[i], from = needed.empty() ? 0 : n[i] - needed[i];
      if (n[i] > from) {
        differences.push_back(relative_difference(
            row(y, int(i), from, n[i]), tokens_of(want[b], done[b] + from, done[b] + n[i])));
        worst = std::max(worst, differences.back());
      }
      done[b] += n[i];
    }
  }
};

/// The worst of a prompt in chunks of several lengths and in steps.
inline float worst_in_chunks_and_steps(const LanguageModel& m) {
  Play p(m, {}, {ids(1, 40)});
  p.pass({13});
  for (int i = 0; i < 4; ++i) p.pass({1});
  p.pass({2});
  p.pass({11});
  for (int i = 0; i < 10; ++i) p.pass({1});
  return p.worst;
}

/// The logits of the rest of a row after what the caches hold, against those of the row alone.
inline float rest_difference(const LanguageModel& m, Caches& c, const Ids& whole, int from) {
  int n = int(whole.size());
  array y = logits(m, input({part(whole, from, n)}), c);
  return relative_difference(row(y, 0, 0, n - from), tokens_of(alone(m, whole), from, n));
}

}  // namespace mlxcpp::lm
