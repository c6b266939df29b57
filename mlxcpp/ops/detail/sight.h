// Who sees whom in attention, as masks for MLX's operations.
#pragma once

#include "mlxcpp/ops/attention.h"

#include <functional>
#include <optional>
#include <string>

namespace mlxcpp::ops::detail {

struct Mask {
  std::string mode = {};  // MLX's "causal", or empty
  std::optional<array> allowed = {};
};

/// (B or 1, 1, L, S) bool: may query i see column j?
array allowed(const KvPart& kv, const Rows& rows, const AttentionArgs& a);
/// The same in the form that MLX takes best; nothing where every query may see every column.
Mask make_mask(const KvPart& kv, const Rows& rows, const AttentionArgs& a);
/// The mask, also where MLX has a name for it.
std::optional<array> visible(const KvPart& kv, const Rows& rows);
/// Every column is seen, whatever token it holds.
bool sees_all(const KvPart& kv, const Rows& rows, const AttentionArgs& a);

/// One part of a view, and the rows of other arrays that belong to it.
struct OnePart {
  const KvPart& kv;
  const Rows& rows;
  int index;
  std::optional<int> row;  // nothing: all

  array of(const array& x) const;  ///< (B, ...) -> the part's rows
};
/// f of each part; results one under the other.
array by_parts(const KvView& kv, const std::function<array(const OnePart&)>& f);

}  // namespace mlxcpp::ops::detail
