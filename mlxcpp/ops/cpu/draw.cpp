#include "mlxcpp/ops/cpu/draw.h"

#include "mlxcpp/ops/cpu/detail/split.h"
#include "mlxcpp/ops/cpu/elementwise.h"
#include "mlxcpp/ops/cpu/features.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace mlxcpp::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr int kLook = 64;       // scores that are looked at together
constexpr int kWeights = 1024;  // weights that are summed together

const ElementwiseKernels& kernels() { return machine().kernels->elementwise; }

struct Scored {
  float score, mass;
};

/// Room for one row, the thread's own.
struct Room {
  unsigned* ids;
  float *values, *weights;
  double* sums;
  Scored* scored;

  explicit Room(int size) {
    std::size_t n = std::size_t(size), blocks = n / kWeights + 1;
    auto* p = static_cast<char*>(thread_scratch(
        blocks * sizeof(double) + n * (sizeof(Scored) + sizeof(unsigned) + 2 * sizeof(float)), 2));
    auto take = [&p](auto*& to, std::size_t count) {
      to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(p);
      p += count * sizeof(*to);
    };
    take(sums, blocks), take(scored, n), take(ids, n), take(values, n), take(weights, n);
  }
};

/// Weights e^((v - best) / temperature) and their sums by blocks.
struct Weights {
  const float* of;
  const double* sums;
  int n;
  double total;
};
Weights weigh(const float* v, int n, float best, float temperature, const Room& room) {
  auto& k = kernels();
  // The other scores are at least 1e-30 away, or equal to the best.
  float by = std::min(1 / temperature, 1e30f);
  double total = 0;
  for (int from = 0; from < n; from += kWeights) {
    int count = std::min(kWeights, n - from);
    float* w = room.weights + from;
    k.scale_shift(v + from, 1, -best, count, w);
    if (by != 1) k.scale_shift(w, by, 0, count, w);
    total += room.sums[from / kWeights] = k.exp_shifted(w, 0, count, w);
  }
  return {room.weights, room.sums, n, total};
}

/// Which of them a random number chooses: where their running sum passes that share of the total.
int pick(const Weights& w, std::uint64_t random) {
  double left = double(random >> 11) * 0x1p-53 * w.total;
  int from = 0;
  for (; from + kWeights < w.n && left >= w.sums[from / kWeights]; from += kWeights)
    left -= w.sums[from / kWeights];
  int end = std::min(w.n, from + kWeights);
  for (int i = from; i < end; ++i) {
    left -= w.of[i];
    if (left < 0) return i;
  }
  // Rounding went past the end.
  for (int i = end - 1; i > 0; --i)
    if (w.of[i] > 0) return i;
  return 0;
}

/// The smallest score so that those up to it have more mass than this; the largest if none.
float least_beyond(Scored* first, Scored* last, double mass) {
  while (last - first > 1) {
    float a = first->score, b = first[(last - first) / 2].score, c = last[-1].score;
    float pivot = std::max(std::min(a, b), std::min(std::max(a, b), c));
    auto sum = [](Scored* from, Scored* to) {
      double all = 0;
      for (; from < to; ++from) all += from->mass;
      return all;
    };
    Scored* below = std::partition(first, last, [=](Scored s) { return s.score < pivot; });
    double lower = sum(first, below);
    if (lower > mass) {
      last = below;
      continue;
    }
    Scored* equal = std::partition(below, last, [=](Scored s) { return s.score == pivot; });
    lower += sum(below, equal);
    if (lower > mass || equal == last) return pivot;
    mass -= lower;
    first = equal;
  }
  return first->score;
}

/// The tokens of a row that may still be drawn: those of the row from `cut` on, until a filter
/// needs them as a list, in the order of their ids.
class Left {
 public:
  Left(const float* x, int size)
      : x_(x), size_(size), best_(kernels().largest(x, size)), room_(size) {}

  void apply(const Draw& d, float mu) {
    if (d.mirostat) return surprising(d.temperature, mu);
    if (d.top_n_sigma > 0) n_sigma(d.top_n_sigma);
    if (d.typical_p < 1) typical(d.typical_p);
    if (d.top_p < 1) nucleus_of(d.top_p);
    if (d.min_p > 0) above_share(d.min_p, d.min_keep);
    if (d.xtc) exclude_top(d.xtc_threshold, d.special.get());
    if (d.top_k > 0 && d.top_k < size_) largest_of(d.top_k);
  }

  bool finite() const { return std::isfinite(best_); }

  /// Draws, and says which share of what is left the chosen token has.
  unsigned draw(const Draw& d, float* share) {
    if (cut_ > -kInfinity) list();
    const float* v = listed_ ? room_.values : x_;
    int n = listed_ ? n_ : size_;
    Weights w = weigh(v, n, listed_ ? kernels().largest(v, n) : best_, d.temperature, room_);
    int at = pick(w, d.random);
    *share = float(w.of[at] / w.total);
    return listed_ ? room_.ids[at] : unsigned(at);
  }

  void write(float* y) {
    list();
    std::fill(y, y + size_, -kInfinity);
    for (int i = 0; i < n_; ++i) y[room_.ids[i]] = room_.values[i];
  }

 private:
  void list() {
    if (listed_) return;
    auto& k = kernels();
    float low = std::max(cut_, std::numeric_limits<float>::lowest());
    for (int from = 0; from < size_; from += kLook) {
      int to = std::min(size_, from + kLook);
      if (k.largest(x_ + from, to - from) < low) continue;
      for (int i = from; i < to; ++i)
        if (x_[i] >= low) room_.ids[n_] = unsigned(i), room_.values[n_++] = x_[i];
    }
    listed_ = true;
  }
  template <class F>
  void keep(F f) {
    int kept = 0;
    for (int i = 0; i < n_; ++i)
      if (f(i)) room_.ids[kept] = room_.ids[i], room_.values[kept++] = room_.values[i];
    n_ = kept;
  }
  void raise(float low) {
    if (!listed_) {
      cut_ = std::max(cut_, low);
    } else {
      keep([&](int i) { return room_.values[i] >= low; });
    }
  }
  void keep_largest(int count) {
    if (count >= n_) return;
    float last = 0;
    kth_largest(room_.values, 1, n_, count, &last);
    for (int i = 0; i < n_; ++i) count -= room_.values[i] > last;
    keep([&](int i) { return room_.values[i] > last || (room_.values[i] == last && count-- > 0); });
  }

  void n_sigma(float n) {
    double sum = 0, squares = 0;
    long count = 0;
    for (int i = 0; i < size_; ++i)
      if (x_[i] > -kInfinity) sum += x_[i], ++count;
    double mean = sum / double(count);
    for (int i = 0; i < size_; ++i)
      if (x_[i] > -kInfinity) squares += (x_[i] - mean) * (x_[i] - mean);
    raise(std::min(best_, float(best_ - n * std::sqrt(squares / double(count)))));
  }
  void typical(float p) {
    list();
    Weights w = weigh(room_.values, n_, best_, 1, room_);
    double log_total = std::log(w.total), entropy = 0;
    auto surprise = [&](int i) { return log_total + best_ - room_.values[i]; };
    for (int i = 0; i < n_; ++i) entropy += w.of[i] / w.total * surprise(i);
    auto score = [&](int i) { return float(std::abs(surprise(i) - entropy)); };
    for (int i = 0; i < n_; ++i) room_.scored[i] = {score(i), w.of[i]};
    float last = least_beyond(room_.scored, room_.scored + n_, p * w.total);
    keep([&](int i) { return score(i) <= last; });
  }
  void nucleus_of(float p) {
    if (cut_ > -kInfinity) list();
    float last = 0;
    nucleus(listed_ ? room_.values : x_, 1, listed_ ? n_ : size_, p, &last);
    raise(last);
  }
  void above_share(float share, int least) {
    float best = listed_ ? kernels().largest(room_.values, n_) : best_;
    float low = best + std::log(share), last = low;
    if (least > 1) {
      list();
      if (least >= n_) return;
      kth_largest(room_.values, 1, n_, least, &last);
    }
    last < low ? keep_largest(least) : raise(low);
  }
  void exclude_top(float threshold, const std::vector<int>* special) {
    list();
    float best = kernels().largest(room_.values, n_);
    Weights w = weigh(room_.values, n_, best, 1, room_);
    double bound = threshold * w.total;
    float least = kInfinity;
    for (int i = 0; i < n_; ++i)
      if (w.of[i] > bound) least = std::min(least, room_.values[i]);
    keep([&](int i) {
      return room_.values[i] <= least ||
             (special &&
              std::find(special->begin(), special->end(), int(room_.ids[i])) != special->end());
    });
  }
  void largest_of(int k) {
    if (!listed_ && cut_ == -kInfinity) kth_largest(x_, 1, size_, k, &cut_);
    list();
    keep_largest(k);
  }
  void surprising(float temperature, float mu) {
    Weights w = weigh(x_, size_, best_, temperature, room_);
    double low = temperature * (std::log(w.total) - mu * std::log(2.0));
    raise(std::min(best_, float(best_ + low)));
  }

  const float* x_;
  int size_;
  float best_, cut_ = -kInfinity;
  Room room_;
  bool listed_ = false;
  int n_ = 0;
};

unsigned best_of(const float* x, int size) { return kernels().argmax(x, size); }

unsigned draw_row(const float* x, int size, const Draw& d, float* mu) {
  if (d.temperature == 0) return best_of(x, size);
  Left left(x, size);
  if (!left.finite()) return best_of(x, size);
  left.apply(d, mu ? *mu : 0);
  float share = 1;
  unsigned id = left.draw(d, &share);
  if (d.mirostat) *mu -= d.eta * (-std::log2(share) - d.tau);
  return id;
}

void write_top(
    const float* x, int size, float log_total, int count, unsigned* ids, float* logprobs) {
  float last = 0;
  kth_largest(x, 1, size, count, &last);
  std::vector<std::pair<float, unsigned>> found;
  for (int from = 0; from < size; from += kLook) {
    int to = std::min(size, from + kLook);
    if (kernels().largest(x + from, to - from) < last) continue;
    for (int i = from; i < to; ++i)
      if (x[i] >= last) found.emplace_back(-x[i], unsigned(i));
  }
  std::sort(found.begin(), found.end());
  for (int i = 0; i < std::min(count, int(found.size())); ++i) {
    ids[i] = found[i].second;
    logprobs[i] = -found[i].first - log_total;
  }
}

void write_logprobs(const float* x, int size, const Draw& d, int row, const DrawnRows& out) {
  if (out.logprobs) out.logprobs[row] = 0;
  std::size_t at = std::size_t(row) * out.top;
  std::fill(out.top_ids + at, out.top_ids + at + out.top, 0u);
  std::fill(out.top_logprobs + at, out.top_logprobs + at + out.top, -kInfinity);
  if (!d.logprob && !d.top_logprobs) return;
  float log_total = 0;
  logsumexp(x, 1, size, &log_total);
  if (out.logprobs) out.logprobs[row] = x[out.ids[row]] - log_total;
  int count = std::min({d.top_logprobs, out.top, size});
  if (count > 0) write_top(x, size, log_total, count, out.top_ids + at, out.top_logprobs + at);
}

/// f(row) for each; a draw takes a few passes over its row.
template <class F>
void each_row(int rows, int size, F f) {
  detail::split(rows, 2.0 * size, [&](long from, long to) {
    for (long r = from; r < to; ++r) f(int(r));
  });
}

}  // namespace

void draw(
    const float* x, int rows, int size, const Draw* how, const float* mu, const DrawnRows& out) {
  each_row(rows, size, [&](int r) {
    const float* row = x + std::size_t(r) * size;
    float state = mu ? mu[r] : 0;
    out.ids[r] = draw_row(row, size, how[r], &state);
    if (out.mu) out.mu[r] = state;
    write_logprobs(row, size, how[r], r, out);
  });
}

void filter(const float* x, int rows, int size, const Draw* how, const float* mu, float* y) {
  each_row(rows, size, [&](int r) {
    const float* row = x + std::size_t(r) * size;
    float* to = y + std::size_t(r) * size;
    if (how[r].temperature == 0) {
      std::fill(to, to + size, -kInfinity);
      unsigned best = best_of(row, size);
      to[best] = row[best];
      return;
    }
    Left left(row, size);
    if (!left.finite()) {
      std::copy(row, row + size, to);
      return;
    }
    left.apply(how[r], mu ? mu[r] : 0);
    left.write(to);
  });
}

void edit(float* x, int size, const std::vector<Edit>& edits) {
  for (auto& e : edits) {
    if (e.id >= unsigned(size)) continue;
    float v = x[e.id] + e.bias;
    x[e.id] = (v < 0 ? v * e.factor : v / e.factor) - e.subtract;
  }
}

}  // namespace mlxcpp::cpu
