#include "mlxcpp/lm/cache/plain.h"

#include "mlxcpp/lm/cache/saved.h"

#include <mlx/ops.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::lm {

ops::KvView PlainKv::append(const array& k, const array& v, std::shared_ptr<const ops::Rows> rows) {
  int end = 0;  // padding takes part: its columns must exist
  for (int o : rows->offsets) end = std::max(end, o + rows->length);
  std::optional<int> start;
  if (rows->same_offset) start = rows->offsets[0];
  KvPair fresh{k, v};
  kv_ = written(grown(kv_, fresh, rounded_up(end)), fresh, start, rows->index);
  return {.k = take_columns(kv_->k, 0, end),
          .v = take_columns(kv_->v, 0, end),
          .key_index = {},
          .recent = false,
          .kept = {},
          .rows = std::move(rows)};
}

std::optional<ops::KvRoom> PlainKv::room(const ops::Rows& rows) {
  if (kv_ && kv_->k.dtype() != mx::float32) return {};
  int end = 0;
  for (int o : rows.offsets) end = std::max(end, o + rows.length);
  auto room = given_away(rows.batch, rounded_up(end));
  room.sight.columns = rows.offsets;
  room.sight.seen = end;
  return room;
}

CacheState PlainKv::state(int consumed) const {
  CacheState s{.class_name = "KVCache", .arrays = {{}, {}}, .numbers = {consumed}, .parts = {}};
  if (kv_) s.arrays = {take_columns(kv_->k, 0, consumed), take_columns(kv_->v, 0, consumed)};
  return s;
}

int PlainKv::set_state(const CacheState& s) {
  auto saved = SavedKv::read(s, "KVCache", 1, layout_);
  int consumed = saved.numbers[0];
  if (saved.kv && saved.kv->k.shape(2) < consumed) saved.refuse("fewer keys than its offset");
  kv_ = saved.kv;
  return consumed;
}

}  // namespace mlxcpp::lm
