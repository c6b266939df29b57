#include "mlxcpp/ops/detail/draw.h"

#include <mlx/ops.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace mlxcpp::ops::detail {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLog2 = 0.6931471805599453f;

array number(float v) { return array(v); }

/// (R, 1), a number of each row.
template <class F>
array column(const std::vector<Draw>& rows, F f) {
  using T = decltype(f(rows[0]));
  std::vector<T> v;
  for (auto& d : rows) v.push_back(f(d));
  return array(v.data(), {int(v.size()), 1});
}
array flags(const std::vector<Draw>& rows, bool (*f)(const Draw&)) {
  return mx::astype(column(rows, [&](const Draw& d) { return int(f(d)); }), mx::bool_);
}
bool any(const std::vector<Draw>& rows, bool (*f)(const Draw&)) {
  return std::any_of(
      rows.begin(), rows.end(), [&](const Draw& d) { return d.temperature > 0 && f(d); });
}

bool has_sigma(const Draw& d) { return d.top_n_sigma > 0 && !d.mirostat; }
bool has_typical(const Draw& d) { return d.typical_p < 1 && !d.mirostat; }
bool has_top_p(const Draw& d) { return d.top_p < 1 && !d.mirostat; }
bool has_min_p(const Draw& d) { return d.min_p > 0 && !d.mirostat; }
bool has_least(const Draw& d) { return has_min_p(d) && d.min_keep > 1; }
bool has_xtc(const Draw& d) { return d.xtc && !d.mirostat; }
bool has_top_k(const Draw& d) { return d.top_k > 0 && !d.mirostat; }
bool has_mirostat(const Draw& d) { return d.mirostat; }
bool is_greedy(const Draw& d) { return d.temperature == 0; }

array removed(const array& where, const array& x) {
  return mx::where(where, number(-kInfinity), x);
}
array left(const array& x) { return mx::greater(x, number(-kInfinity)); }
array row_sum(const array& x) { return mx::sum(x, -1, /*keepdims=*/true); }
array largest(const array& x) { return mx::max(x, -1, /*keepdims=*/true); }
array normalised(const array& x) {
  return mx::subtract(x, mx::logsumexp(x, -1, /*keepdims=*/true));
}
array sum_before(const array& x) {
  return mx::cumsum(x, -1, /*reverse=*/false, /*inclusive=*/false);
}
array last_true(const array& values, const array& kept) {  // the smallest of values that is kept
  return mx::min(mx::where(kept, values, number(kInfinity)), -1, /*keepdims=*/true);
}

array n_sigma(const array& z, const std::vector<Draw>& rows) {
  array in = left(z), count = row_sum(mx::astype(in, mx::float32));
  array mean = mx::divide(row_sum(mx::where(in, z, number(0))), count);
  array off = mx::where(in, mx::subtract(z, mean), number(0));
  array deviation = mx::sqrt(mx::divide(row_sum(mx::square(off)), count));
  array n = column(rows, [](const Draw& d) { return d.top_n_sigma; });
  array low = mx::subtract(largest(z), mx::multiply(n, deviation));
  return removed(mx::logical_and(flags(rows, has_sigma), mx::less(z, low)), z);
}

array typical(const array& z, const std::vector<Draw>& rows) {
  array log_p = normalised(z), p = mx::exp(log_p), in = left(z);
  array surprise = mx::where(in, mx::negative(log_p), number(0));
  array expected = row_sum(mx::multiply(p, surprise));
  array score = mx::where(in, mx::abs(mx::subtract(surprise, expected)), number(kInfinity));
  array order = mx::argsort(score, -1);
  array sorted = mx::take_along_axis(score, order, -1);
  array bound = column(rows, [](const Draw& d) { return d.typical_p; });
  array kept = mx::less_equal(sum_before(mx::take_along_axis(p, order, -1)), bound);
  array last = mx::max(mx::where(kept, sorted, number(-kInfinity)), -1, /*keepdims=*/true);
  return removed(mx::logical_and(flags(rows, has_typical), mx::greater(score, last)), z);
}

/// How many of those that are left stand before each, in rows sorted from the largest.
array rank(const array& sorted) { return sum_before(mx::astype(left(sorted), mx::int32)); }

/// z sorted from the largest.
array top_p(const array& z, const std::vector<Draw>& rows) {
  array p = mx::exp(mx::subtract(z, largest(z)));
  array bound = mx::multiply(column(rows, [](const Draw& d) { return d.top_p; }), row_sum(p));
  array least = last_true(z, mx::logical_and(mx::less(sum_before(p), bound), left(z)));
  return removed(mx::logical_and(flags(rows, has_top_p), mx::less(z, least)), z);
}

/// `sorted`: as in top_p(); needed where a row has min_keep.
array min_p(const array& z, const std::vector<Draw>& rows, bool sorted) {
  array share = column(rows, [](const Draw& d) { return std::log(has_min_p(d) ? d.min_p : 0); });
  array remove = mx::less(z, mx::add(largest(z), share));
  if (sorted) {
    array least = column(rows, [](const Draw& d) { return d.min_keep; });
    remove = mx::logical_and(remove, mx::greater_equal(rank(z), least));
  }
  return removed(remove, z);
}

/// `mask` with false at the special tokens of each row.
array without_special(const array& mask, const std::vector<Draw>& rows) {
  std::size_t most = 0;
  auto known = [&](int id) { return id >= 0 && id < mask.shape(1); };
  std::vector<std::vector<int>> ids(rows.size());
  for (std::size_t r = 0; r < rows.size(); ++r) {
    if (rows[r].special)
      std::copy_if(
          rows[r].special->begin(), rows[r].special->end(), std::back_inserter(ids[r]), known);
    most = std::max(most, ids[r].size());
  }
  if (most == 0) return mask;
  std::vector<int> index, keep;
  for (auto& of_row : ids)
    for (std::size_t i = 0; i < most; ++i) {
      index.push_back(of_row.empty() ? 0 : of_row[std::min(i, of_row.size() - 1)]);
      keep.push_back(of_row.empty());
    }
  mx::Shape shape{int(rows.size()), int(most)};
  array at(index.data(), shape), kept = mx::astype(array(keep.data(), shape), mx::bool_);
  array old = mx::take_along_axis(mask, at, -1);
  return mx::put_along_axis(mask, at, mx::logical_and(old, kept), -1);
}

/// `order`: where the columns of z come from.
array xtc(const array& z, const std::vector<Draw>& rows, const array& order) {
  array p = mx::softmax(z, -1, /*precise=*/true);
  array bound = column(rows, [](const Draw& d) { return d.xtc_threshold; });
  array least = last_true(z, mx::greater(p, bound));
  array can = without_special(mx::broadcast_to(flags(rows, has_xtc), z.shape()), rows);
  can = mx::take_along_axis(can, order, -1);
  return removed(mx::logical_and(can, mx::greater(z, least)), z);
}

array top_k(const array& z, const std::vector<Draw>& rows) {
  int vocab = z.shape(1);
  array most = column(rows, [vocab](const Draw& d) { return has_top_k(d) ? d.top_k : vocab; });
  return removed(mx::greater_equal(rank(z), most), z);
}

/// z has temperature.
array mirostat(const array& z, const std::vector<Draw>& rows, const array& mu) {
  array low = mx::multiply(mx::reshape(mu, {-1, 1}), number(-kLog2));
  array remove = mx::logical_and(mx::less(normalised(z), low), mx::less(z, largest(z)));
  return removed(mx::logical_and(flags(rows, has_mirostat), remove), z);
}

/// What filters leave of log-probabilities: minus infinity for the others.
array filter(array z, const std::vector<Draw>& rows) {
  if (any(rows, has_sigma)) z = n_sigma(z, rows);
  if (any(rows, has_typical)) z = typical(z, rows);
  std::optional<array> order;
  // Sums must not depend on what other rows have, so XTC's are always those of sorted rows.
  if (any(rows, has_top_p) || any(rows, has_least) || any(rows, has_xtc) || any(rows, has_top_k)) {
    order = mx::argsort(mx::negative(z), -1);
    z = mx::take_along_axis(z, *order, -1);
  }
  if (any(rows, has_top_p)) z = top_p(z, rows);
  if (any(rows, has_min_p)) z = min_p(z, rows, order.has_value());
  if (any(rows, has_xtc)) z = xtc(z, rows, *order);
  if (any(rows, has_top_k)) z = top_k(z, rows);
  return order ? mx::put_along_axis(z, *order, z, -1) : z;
}

/// Of log-probabilities: what can be drawn, less its largest and over the temperature.
array tempered(const array& z, const std::vector<Draw>& rows, const std::optional<array>& mu) {
  array t = column(rows, [](const Draw& d) { return d.temperature == 0 ? 1 : d.temperature; });
  array y = filter(z, rows);
  y = mx::divide(mx::subtract(y, largest(y)), t);
  if (any(rows, has_mirostat)) y = mirostat(y, rows, *mu);
  return y;
}

bool all_greedy(const std::vector<Draw>& rows) {
  return std::all_of(rows.begin(), rows.end(), is_greedy);
}

struct Choice {
  array ids;    // (R, 1)
  array share;  // of what was left, (R, 1)
};
/// Where the running sum of weights passes a share of their total.
Choice pick(const array& tempered, const std::vector<Draw>& rows) {
  array w = mx::exp(tempered);
  array all = mx::cumsum(w, -1);
  int vocab = w.shape(1);
  array total = mx::slice(all, {0, vocab - 1}, all.shape());
  array share = column(rows, [](const Draw& d) { return float(d.random >> 40) * 0x1p-24f; });
  // The last condition: what running sums that are made in parts round up is no weight.
  array past =
      mx::logical_and(mx::greater(all, mx::multiply(share, total)), mx::greater(w, number(0)));
  array first = mx::argmax(mx::astype(past, mx::int32), -1, /*keepdims=*/true);
  array best = mx::argmax(w, -1, /*keepdims=*/true);
  array ids = mx::where(mx::any(past, -1, /*keepdims=*/true), first, best);
  return {ids, mx::divide(mx::take_along_axis(w, ids, -1), total)};
}

}  // namespace

Drawn draw_of_mlx(const array& x, const std::vector<Draw>& rows, const std::optional<array>& mu) {
  bool logprobs = std::any_of(rows.begin(), rows.end(), [](const Draw& d) { return d.logprob; });
  int top = 0;
  for (auto& d : rows) top = std::max(top, d.top_logprobs);
  array best = mx::argmax(x, -1, /*keepdims=*/true), z = normalised(x), ids = best;
  Drawn out{.ids = best};
  if (std::any_of(rows.begin(), rows.end(), has_mirostat)) out.mu = *mu;
  if (!all_greedy(rows)) {
    Choice c = pick(tempered(z, rows, mu), rows);
    ids = mx::where(flags(rows, is_greedy), best, c.ids);
    if (any(rows, has_mirostat)) {
      array surprise = mx::multiply(mx::log(c.share), number(-1 / kLog2));
      array tau = column(rows, [](const Draw& d) { return d.tau; });
      array eta = column(rows, [](const Draw& d) { return d.eta; });
      array old = mx::reshape(*mu, {-1, 1});
      array moved = mx::subtract(old, mx::multiply(eta, mx::subtract(surprise, tau)));
      auto moves = [](const Draw& d) { return d.mirostat && d.temperature > 0; };
      out.mu = mx::reshape(mx::where(flags(rows, moves), moved, old), {-1});
    }
  }
  out.ids = mx::astype(mx::reshape(ids, {-1}), mx::uint32);
  if (logprobs) out.logprobs = mx::reshape(mx::take_along_axis(z, ids, -1), {-1});
  if (top > 0) {
    int count = std::min(top, x.shape(1));
    array order = mx::slice(mx::argsort(mx::negative(x), -1), {0, 0}, {x.shape(0), count});
    array few =
        mx::less(mx::arange(count), column(rows, [](const Draw& d) { return d.top_logprobs; }));
    array ranked = mx::where(few, mx::take_along_axis(z, order, -1), number(-kInfinity));
    array names = mx::where(few, mx::astype(order, mx::uint32), array(std::uint32_t{0}));
    out.top_ids = mx::pad(names, {{0, 0}, {0, top - count}});
    out.top_logprobs = mx::pad(ranked, {{0, 0}, {0, top - count}}, number(-kInfinity));
  }
  return out;
}

array filtered_of_mlx(const array& x,
                      const std::vector<Draw>& rows,
                      const std::optional<array>& mu) {
  array keep = left(tempered(normalised(x), rows, mu));
  array best = mx::equal(mx::arange(x.shape(1)), mx::argmax(x, -1, /*keepdims=*/true));
  return removed(mx::logical_not(mx::where(flags(rows, is_greedy), best, keep)), x);
}

array edited_of_mlx(const array& x, const std::vector<std::vector<Edit>>& rows) {
  std::size_t most = 1;
  for (auto& row : rows) most = std::max(most, row.size());
  std::vector<int> ids;
  std::vector<float> bias, factor, subtract;
  for (auto& row : rows)
    for (std::size_t i = 0; i < most; ++i) {
      // A row with fewer repeats its first: both then write the same.
      Edit e = row.empty() ? Edit{} : row[i < row.size() ? i : 0];
      if (e.id >= unsigned(x.shape(1))) e = Edit{};
      ids.push_back(int(e.id));
      bias.push_back(e.bias), factor.push_back(e.factor), subtract.push_back(e.subtract);
    }
  mx::Shape shape{int(rows.size()), int(most)};
  array at(ids.data(), shape), by(factor.data(), shape);
  array v = mx::add(mx::take_along_axis(x, at, -1), array(bias.data(), shape));
  v = mx::where(mx::less(v, number(0)), mx::multiply(v, by), mx::divide(v, by));
  v = mx::subtract(v, array(subtract.data(), shape));
  return mx::put_along_axis(x, at, v, -1);
}

}  // namespace mlxcpp::ops::detail
