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

array Rows::ends() const { return mx::add(offset, ints(lengths)); }

}  // namespace mlxcpp::ops
