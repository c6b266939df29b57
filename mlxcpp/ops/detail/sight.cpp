#include "mlxcpp/ops/detail/sight.h"

#include "mlxcpp/ops/basic.h"

#include <mlx/ops.h>

#include <utility>
#include <vector>

namespace mlxcpp::ops::detail {
namespace {

using Axes = std::vector<int>;

/// Keys of this pass that share the query's span: (B, 1, L, S) bool.
array same_span(const array& key_index, const Rows& rows) {
  array column = mx::subtract(key_index, mx::expand_dims(rows.offset, 1));
  array fresh =
      mx::logical_and(mx::greater_equal(column, array(0)), mx::less(column, array(rows.length)));
  array inside = mx::clip(column, array(0), array(rows.length - 1));
  array span = mx::where(fresh, mx::take_along_axis(*rows.spans, inside, 1), array(-1));
  array mine = mx::expand_dims(*rows.spans, Axes{1, 3});
  return mx::logical_and(mx::greater(mine, array(0)),
                         mx::equal(mine, mx::expand_dims(span, Axes{1, 2})));
}

/// Neither window nor chunk hides anything.  Kept first tokens may lie before the window, however
/// few columns there are.
bool whole(const KvPart& kv, const AttentionArgs& a) {
  return !a.chunk && (!a.window || (kv.columns() <= a.window && !kv.kept.first));
}

}  // namespace

array allowed(const KvPart& kv, const Rows& rows, const AttentionArgs& a) {
  int columns = kv.columns();
  array q = mx::expand_dims(rows.index, Axes{1, 3});
  array k =
      kv.key_index ? mx::expand_dims(*kv.key_index, Axes{1, 2}) : mx::arange(0, columns, mx::int32);
  array ok =
      a.causal ? mx::less_equal(k, q) : mx::less(k, mx::expand_dims(rows.ends(), Axes{1, 2, 3}));
  auto keep = [&ok](const array& also) { ok = mx::logical_and(ok, also); };
  if (a.window) keep(mx::greater(k, mx::subtract(q, array(a.window))));
  if (a.chunk)
    keep(mx::equal(mx::floor_divide(k, array(a.chunk)), mx::floor_divide(q, array(a.chunk))));
  if (kv.kept
          .last)  // as if the keys had come one by one: a chunk sees no more than single steps do
    keep(mx::logical_or(mx::less(k, array(kv.kept.first)),
                        mx::greater(k, mx::subtract(q, array(kv.kept.last)))));
  if (rows.spans) {
    array index = kv.key_index ? *kv.key_index : mx::broadcast_to(k, {rows.batch, columns});
    ok = mx::logical_or(ok, same_span(index, rows));
  }
  return ok;
}

bool sees_all(const KvPart& kv, const Rows& rows, const AttentionArgs& a) {
  return kv.recent && a.causal && whole(kv, a) && !rows.spans;
}

Mask make_mask(const KvPart& kv, const Rows& rows, const AttentionArgs& a) {
  if (kv.recent && a.causal && whole(kv, a)) return {};
  int seen = kv.columns();
  bool in_order = !kv.key_index && rows.same_offset && seen == rows.offsets[0] + rows.length;
  bool all_kept = !kv.kept.last || seen <= kv.kept.last;
  if (a.causal && !rows.spans && in_order && all_kept && whole(kv, a))
    return {rows.length > 1 ? "causal" : "", {}};
  return {"", allowed(kv, rows, a)};
}

std::optional<array> visible(const KvPart& kv, const Rows& rows) {
  Mask m = make_mask(kv, rows, {});
  return m.mode == "causal" ? allowed(kv, rows, {}) : m.allowed;
}

array OnePart::of(const array& x) const { return row ? take_row(x, *row) : x; }

array by_parts(const KvView& kv, const std::function<array(const OnePart&)>& f) {
  if (kv.parts.size() == 1) return f({kv.parts[0], *kv.rows, 0, {}});
  std::vector<array> all;
  for (int b = 0; b < int(kv.parts.size()); ++b)
    all.push_back(f({kv.parts[b], *kv.rows->row(b), b, b}));
  return mx::concatenate(std::move(all), 0);
}

}  // namespace mlxcpp::ops::detail
