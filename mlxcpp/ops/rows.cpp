#include "mlxcpp/ops/rows.h"

#include <mlx/ops.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::ops {
namespace {

array ints(const std::vector<int>& v) { return array(v.data(), {int(v.size())}, mx::int32); }

}  // namespace

Rows::Rows(int b, int l, std::vector<int> off, std::vector<int> len)
    : batch(b),
      length(l),
      offsets(std::move(off)),
      lengths(std::move(len)),
      needed(lengths),
      offset(ints(offsets)),
      index(mx::add(mx::expand_dims(offset, 1), mx::arange(0, l, mx::int32))),
      same_offset(
          std::all_of(offsets.begin(), offsets.end(), [&](int o) { return o == offsets.front(); })),
      full(std::all_of(lengths.begin(), lengths.end(), [&](int n) { return n == l; })) {}

int Rows::longest_end() const {
  int longest = 0;
  for (int b = 0; b < batch; ++b) longest = std::max(longest, end(b));
  return longest;
}

array Rows::valid() const {
  return mx::less(mx::arange(0, length, mx::int32), mx::expand_dims(ints(lengths), 1));
}

std::shared_ptr<const Rows> Rows::row(int b) const {
  each_.resize(batch);
  if (each_[b]) return each_[b];
  auto one = std::make_shared<Rows>(1, length, std::vector{offsets[b]}, std::vector{lengths[b]});
  one->needed = {needed[b]};
  if (spans) one->spans = mx::slice(*spans, {b, 0}, {b + 1, length});
  if (positions && positions->ndim() == 2)
    one->positions = mx::slice(*positions, {b, 0}, {b + 1, length});
  else if (positions)
    one->positions = mx::slice(*positions, {0, b, 0}, {positions->shape(0), b + 1, length});
  return each_[b] = std::move(one);
}

array Rows::ends() const { return mx::add(offset, ints(lengths)); }

}  // namespace mlxcpp::ops
