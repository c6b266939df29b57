// A batch of rows in a cache beside plain lists of tokens.  Every value is the one-hot code of its
// token and every query is zero, so attention gives the mean of what it may see: the counts of the
// tokens seen.
#pragma once

#include "mlxcpp/lm/caches.h"
#include "mlxcpp/ops/attention.h"

#include <mlx/ops.h>
#include <mlx/transforms.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace mlxcpp::lm {

using Tokens = std::vector<int>;
inline constexpr int kHeads = 2, kNames = 64;  // tokens are 0 ... 63
inline constexpr float kPadding = 1e4f;        // what must never be seen

inline std::vector<float> floats(const array& x) {
  array y = mx::contiguous(mx::astype(x, mx::float32));
  y.eval();
  return {y.data<float>(), y.data<float>() + y.size()};
}

/// What a cache is and what its queries may see.
struct Kind {
  std::string name;
  int window = 0;
  CacheOptions options = {};

  CacheLayout layout() const {
    return {
        {.kv = {{.heads = kHeads, .k_dim = 1, .v_dim = kNames, .window = window}}, .states = {}}};
  }
  int held() const {
    int by_window = options.rotate ? window : 0, by_size = options.max_kv_size;
    return by_size && (!by_window || by_size < by_window) ? by_size : by_window;
  }
  /// The rule: the first `keep` and the last of the rest, and never beyond the window.
  bool sees(int query, int key) const {
    int size = options.max_kv_size;
    bool rotates = size && held() == size;
    if (key > query || (window && key <= query - window)) return false;
    return !rotates || key < options.keep || key > query - (size - options.keep);
  }
};

inline void PrintTo(const Kind& kind, std::ostream* out) { *out << kind.name; }

/// A batch of rows in a cache, and the same rows as plain lists.
class Batch {
 public:
  Batch(const Kind& kind, int n) : Batch(kind, make(kind, n)) {}
  Batch fork() const {
    Batch copy(kind_, caches.fork());
    copy.rows = rows;
    return copy;
  }

  /// Adds these tokens to the rows and compares all that each may see.
  void add(const std::vector<Tokens>& fresh) {
    size_t length = 1;
    std::vector<int> lengths;
    for (auto& r : fresh) length = std::max(length, r.size()), lengths.push_back(int(r.size()));
    int B = int(fresh.size()), L = int(length);
    Input in{.tokens = mx::zeros({B, L}, mx::int32), .lengths = lengths};
    ops::Pass pass = caches.begin(kind_.layout(), in);
    ops::KvView view = ops::kv_append(pass.layers[0], keys(fresh, L), values(fresh, L));
    array q = mx::zeros({B, kHeads, L, 1});
    array seen = ops::attention(q, view, {.scale = 1, .window = kind_.window});
    for (int b = 0; b < B; ++b) rows[b].insert(rows[b].end(), fresh[b].begin(), fresh[b].end());
    auto all = caches.arrays();
    all.push_back(seen);
    mx::eval(all);
    compare(floats(seen), fresh, L);
    check_columns(view);
    std::vector<int> counts;
    for (auto& r : rows) counts.push_back(int(r.size()));
    EXPECT_EQ(caches.consumed(), counts);
  }

  void trim(const std::vector<int>& n) {
    caches.trim(n);
    for (size_t b = 0; b < n.size(); ++b) rows[b].resize(rows[b].size() - n[b]);
  }
  void keep_rows(const std::vector<int>& which) {
    caches.keep_rows(which);
    std::vector<Tokens> kept;
    for (int b : which) kept.push_back(rows[b]);
    rows = kept;
  }
  void join(const Batch& other) {
    caches.join(other.caches);
    rows.insert(rows.end(), other.rows.begin(), other.rows.end());
  }

  /// The rows of others; share() tells the lists of the one side what the other side has read.
  static Batch together(const std::vector<Batch*>& parts) {
    std::vector<Caches*> caches;
    for (auto* p : parts) caches.push_back(&p->caches);
    Batch batch(parts[0]->kind_, Caches::together(caches));
    batch.rows.clear();
    for (auto* p : parts) batch.rows.push_back(p->rows[0]);
    return batch;
  }
  static void share(Batch& batch, const std::vector<Batch*>& parts, bool back = false) {
    for (size_t i = 0; i < parts.size(); ++i)
      back ? batch.rows[i] = parts[i]->rows[0] : parts[i]->rows[0] = batch.rows[i];
  }

  Caches caches;
  std::vector<Tokens> rows;

 private:
  Batch(const Kind& kind, Caches c) : caches(std::move(c)), rows(caches.rows()), kind_(kind) {}
  static Caches make(const Kind& kind, int n) {
    CacheOptions options = kind.options;
    options.rows = n;
    return {kind.layout(), options};
  }

  /// (B, heads, L, 1): the token itself, plus 100 for the second head.
  static array keys(const std::vector<Tokens>& fresh, int L) {
    std::vector<float> k;
    for (auto& r : fresh)
      for (int h = 0; h < kHeads; ++h)
        for (int j = 0; j < L; ++j)
          k.push_back(j < int(r.size()) ? float(r[j] + 100 * h) : kPadding);
    return array(k.data(), {int(fresh.size()), kHeads, L, 1}, mx::float32);
  }
  /// (B, heads, L, names): one-hot, twice as large for the second head.
  static array values(const std::vector<Tokens>& fresh, int L) {
    std::vector<float> v;
    for (auto& r : fresh)
      for (int h = 0; h < kHeads; ++h)
        for (int j = 0; j < L; ++j)
          for (int n = 0; n < kNames; ++n)
            v.push_back(j >= int(r.size()) ? kPadding : n == r[j] ? float(h + 1) : 0);
    return array(v.data(), {int(fresh.size()), kHeads, L, kNames}, mx::float32);
  }

  void compare(const std::vector<float>& seen, const std::vector<Tokens>& fresh, int L) const {
    float worst = 0;
    for (size_t b = 0; b < fresh.size(); ++b)
      for (int h = 0; h < kHeads; ++h)
        for (size_t j = 0; j < fresh[b].size(); ++j) {
          auto want = expected(rows[b], int(rows[b].size() - fresh[b].size() + j));
          for (int n = 0; n < kNames; ++n) {
            float got = seen[((b * kHeads + h) * L + j) * kNames + n];
            worst = std::max(worst, std::abs(got - float(h + 1) * want[n]));
          }
        }
    EXPECT_LT(worst, 1e-5f);
  }
  std::vector<float> expected(const Tokens& row, int query) const {
    std::vector<float> counts(kNames);
    float total = 0;
    for (int k = 0; k <= query; ++k)
      if (kind_.sees(query, k)) ++counts[row[k]], ++total;
    for (float& c : counts) c /= total;
    return counts;
  }

  /// Every column of a view holds the token that its index says.
  void check_columns(const ops::KvView& view) const {
    for (size_t b = 0; b < rows.size(); ++b) {
      auto& part = view.parts[b];
      auto k = floats(part.k());
      std::vector<float> index;
      if (part.key_index) index = floats(*part.key_index);
      for (int c = 0; c < part.columns(); ++c) {
        int token = part.key_index ? int(index[c]) : c;
        if (token >= int(rows[b].size())) continue;
        EXPECT_EQ(k[c], float(rows[b][token])) << "row " << b << " column " << c;
      }
    }
  }

  Kind kind_;
};

inline Tokens some(std::mt19937& random, int n) {
  Tokens t;
  for (int i = 0; i < n; ++i) t.push_back(int(random() % kNames));
  return t;
}

inline const Kind kPlain{"plain"}, kRing{"ring", 0, {.max_kv_size = 8, .keep = 3}};

}  // namespace mlxcpp::lm
