#include "mlxcpp/lm/cache/rotating.h"

#include "mlxcpp/lm/cache/saved.h"

#include <mlx/ops.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::lm {

int RotatingKv::column_of(int token) const {
  return token < keep_ ? token : keep_ + (token - keep_) % (size_ - keep_);
}

/// The token that a column holds after `consumed` tokens, or kHole.
int RotatingKv::token_in(int column, int consumed) const {
  if (column < keep_) return column < consumed ? column : ops::kHole;
  int turn = size_ - keep_, last = consumed - 1;
  if (last < keep_) return ops::kHole;
  int token = last - ((last - column) % turn + turn) % turn;
  return token < keep_ ? ops::kHole : token;
}

ops::KvView RotatingKv::append(const array& k,
                               const array& v,
                               std::shared_ptr<const ops::Rows> rows) {
  KvPair fresh{k, v};
  int end = 0;
  for (int o : rows->offsets) end = std::max(end, o + rows->length);
  bool one_each = rows->length == 1 && rows->full;
  ops::KvView view = end <= size_ ? append_in_order(fresh, *rows, end)
                     : one_each   ? overwrite_oldest(fresh, *rows)
                                  : append_and_turn(fresh, *rows);
  view.rows = std::move(rows);
  return view;
}

std::optional<ops::KvRoom> RotatingKv::room(const ops::Rows& rows) {
  if (kv_ && kv_->k.dtype() != mx::float32) return {};
  int end = 0;
  for (int o : rows.offsets) end = std::max(end, o + rows.length);
  if (end <= size_) {
    auto room = given_away(rows.batch, std::min(size_, rounded_up(end)));
    room.sight.columns = rows.offsets;
    room.sight.seen = end;
    return room;
  }
  if (rows.length != 1 || !rows.full) return {};  // a chunk reads what it takes the place of
  auto room = given_away(rows.batch, size_);
  for (int o : rows.offsets) {
    room.sight.columns.push_back(column_of(o));
    for (int c = 0; c < size_; ++c) room.sight.key_index.push_back(token_in(c, o + 1));
  }
  room.sight.seen = size_;
  room.sight.kept = kept();
  return room;
}

/// Nothing has to go yet: token p is in column p.
ops::KvView RotatingKv::append_in_order(const KvPair& fresh, const ops::Rows& rows, int end) {
  std::optional<int> start;
  if (rows.same_offset) start = rows.offsets[0];
  int room = std::min(size_, rounded_up(end));
  kv_ = written(grown(kv_, fresh, room), fresh, start, rows.index);
  return {.k = take_columns(kv_->k, 0, end), .v = take_columns(kv_->v, 0, end)};
}

ops::KvView RotatingKv::overwrite_oldest(const KvPair& fresh, const ops::Rows& rows) {
  std::vector<int> at, index;
  for (int o : rows.offsets) {
    at.push_back(column_of(o));
    for (int c = 0; c < size_; ++c) index.push_back(token_in(c, o + 1));
  }
  std::optional<int> start;
  if (rows.same_offset) start = at[0];
  kv_ = written(grown(kv_, fresh, size_), fresh, start, int_grid(at, rows.batch));
  bool filled = std::find(index.begin(), index.end(), ops::kHole) == index.end();
  return {.k = kv_->k,
          .v = kv_->v,
          .key_index = int_grid(index, rows.batch),
          .recent = filled,
          .kept = kept()};
}

/// Attention reads the old columns and the new tokens; then the new ones take the oldest's places.
ops::KvView RotatingKv::append_and_turn(const KvPair& fresh, const ops::Rows& rows) {
  int old = columns();
  std::vector<int> index, from;
  for (int b = 0; b < rows.batch; ++b) {
    int offset = rows.offsets[b], end = rows.end(b);
    for (int c = 0; c < old; ++c) index.push_back(token_in(c, offset));
    for (int j = 0; j < rows.length; ++j) index.push_back(offset + j);
    for (int c = 0; c < size_; ++c) {
      int token = token_in(c, end);
      from.push_back(token == ops::kHole ? 0 : token >= offset ? old + token - offset : c);
    }
  }
  auto joined = [&](const array& before, const array& x) {
    return mx::concatenate({before, x}, 2);
  };
  KvPair all = kv_ ? KvPair{joined(kv_->k, fresh.k), joined(kv_->v, fresh.v)} : fresh;
  array order = int_grid(from, rows.batch);
  kv_ = KvPair{mx::take_along_axis(all.k, along_columns(order, all.k), 2),
               mx::take_along_axis(all.v, along_columns(order, all.v), 2)};
  return {.k = all.k, .v = all.v, .key_index = int_grid(index, rows.batch), .kept = kept()};
}

bool RotatingKv::like(const CacheStore& other) const {
  auto* ring = dynamic_cast<const RotatingKv*>(&other);
  return ring && ring->size_ == size_ && ring->keep_ == keep_ && same_layout(other);
}

CacheState RotatingKv::state(int consumed) const {
  int held = std::min(consumed, size_);
  CacheState s{.class_name = "RotatingKVCache",
               .arrays = {{}, {}},
               .numbers = {consumed, keep_, size_, held},
               .parts = {}};
  if (!kv_) return s;
  std::vector<int> order;  // oldest first
  for (int c = 0; c < held; ++c)
    order.push_back(consumed <= size_ || c < keep_ ? c : column_of(consumed - size_ + c));
  array index = int_grid(order, 1);
  s.arrays = {mx::take_along_axis(kv_->k, along_columns(index, kv_->k), 2),
              mx::take_along_axis(kv_->v, along_columns(index, kv_->v), 2)};
  return s;
}

int RotatingKv::set_state(const CacheState& state) {
  auto saved = SavedKv::read(state, "RotatingKVCache", 4, layout_);
  int consumed = saved.numbers[0], at = saved.numbers[3];
  if (saved.numbers[1] != keep_ || saved.numbers[2] != size_)
    saved.refuse("another max_size or keep than this model's cache");
  if (!saved.kv) {
    kv_.reset();
    return 0;
  }
  int columns = saved.kv->k.shape(2), held = std::min(consumed, columns);
  if (at > columns || held < std::min(consumed, size_)) saved.refuse("fewer keys than its offset");
  // Column c of ours from theirs: in order up to _idx == length, else a ring that goes on at _idx.
  bool ring = at < columns && consumed > columns - 1 && at < consumed;
  if (ring && at < keep_) saved.refuse("writes over the tokens that it keeps");
  std::vector<int> from;
  for (int c = 0; c < std::min(size_, consumed); ++c) {
    int token = token_in(c, consumed);
    int age = token < keep_ ? token : held - (consumed - token);  // place among theirs, by time
    from.push_back(!ring || age < keep_ ? age
                                        : keep_ + (at - keep_ + age - keep_) % (held - keep_));
  }
  array index = int_grid(from, 1);
  kv_ = KvPair{mx::take_along_axis(saved.kv->k, along_columns(index, saved.kv->k), 2),
               mx::take_along_axis(saved.kv->v, along_columns(index, saved.kv->v), 2)};
  return consumed;
}

}  // namespace mlxcpp::lm
