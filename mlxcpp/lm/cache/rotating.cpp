#include "mlxcpp/lm/cache/rotating.h"

#include "mlxcpp/lm/cache/saved.h"

#include <mlx/ops.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::lm {
namespace {

constexpr std::string_view kClass = "RotatingKVCache", kChunkedClass = "ChunkedKVCache";
constexpr std::string_view kPackedClass = "QuantizedRotatingKVCache";  // of our own

array row_of(const std::vector<int>& v) { return array(v.data(), {1, int(v.size())}, mx::int32); }

KvPair picked(const KvPair& p, const std::vector<int>& columns) {
  array index(columns.data(), {int(columns.size())}, mx::int32);
  return p.map([&](const array& x) { return mx::take(x, index, 2); });
}

}  // namespace

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

std::vector<int> RotatingKv::tokens_after(int consumed) const {
  std::vector<int> tokens;
  for (int c = 0; c < columns(); ++c) tokens.push_back(token_in(c, consumed));
  return tokens;
}

void RotatingKv::grow(const KvPair& like, int columns) {
  int more = columns - this->columns();
  if (more > 0) kv_ = widened(kv_ ? *kv_ : take_columns(like, 0, 0), more);
}

void RotatingKv::pack() {
  packed_ = true;
  if (kv_) kv_ = packed(kv_->k.values, kv_->v.values);
}

ops::KvPart RotatingKv::seen_in_order(int columns) const {
  return {.pieces = {{kv_->k, kv_->v, columns}}};
}

ops::KvPart RotatingKv::append(const array& k, const array& v, int offset) {
  int n = k.shape(2), end = offset + n;
  if (n > 0 && quant_.packs() && !packed_ && offset >= quant_.start) pack();
  if (n == 0) {
    if (!kv_) return {.pieces = {{k, v}}};
    if (end <= size_) return seen_in_order(end);
    return {.pieces = {{kv_->k, kv_->v}}, .key_index = row_of(tokens_after(end)), .kept = kept()};
  }
  KvPair fresh = packed_ ? packed(k, v) : unpacked(k, v);
  return end <= size_ ? append_in_order(fresh, offset, end)
         : n == 1     ? overwrite_oldest(fresh, offset)
                      : append_and_turn(fresh, offset);
}

std::optional<ops::KvRoom> RotatingKv::room(int offset, int tokens) {
  if (packed_ || (quant_.packs() && offset >= quant_.start)) return {};
  if (kv_ && kv_->k.dtype() != mx::float32) return {};
  int end = offset + tokens;
  if (end > size_ && tokens > 1) return {};  // a chunk reads what it takes the place of
  if (tokens > 0) grow(blank(0), std::min(size_, rounded_up(end)));
  KvPair whole = kv_ ? *kv_ : blank(0);
  ops::KvRoom room{.before = {}, .k = whole.k, .v = whole.v, .sight = {}};
  room.sight.seen = std::min(end, size_);
  room.sight.column = column_of(offset);
  if (end > size_) {
    room.sight.key_index = tokens_after(end);
    room.sight.kept = kept();
  }
  return room;
}

void RotatingKv::fill(const array& k, const array& v) {
  if (kv_) kv_ = refilled(*kv_, k, v);
}

/// Nothing has to go yet: token p is in column p.
ops::KvPart RotatingKv::append_in_order(const KvPair& fresh, int offset, int end) {
  grow(fresh, std::min(size_, rounded_up(end)));
  kv_ = written_at(*kv_, fresh, offset);
  return seen_in_order(end);
}

ops::KvPart RotatingKv::overwrite_oldest(const KvPair& fresh, int offset) {
  grow(fresh, size_);
  kv_ = written_at(*kv_, fresh, column_of(offset));
  auto tokens = tokens_after(offset + 1);
  bool filled = std::find(tokens.begin(), tokens.end(), ops::kHole) == tokens.end();
  return {
      .pieces = {{kv_->k, kv_->v}}, .key_index = row_of(tokens), .recent = filled, .kept = kept()};
}

/// Attention reads the old columns and the new tokens; then the new ones take the oldest's places.
ops::KvPart RotatingKv::append_and_turn(const KvPair& fresh, int offset) {
  int old = columns(), end = offset + fresh.columns();
  std::vector<int> tokens = tokens_after(offset), from;
  for (int t = offset; t < end; ++t) tokens.push_back(t);
  for (int c = 0; c < size_; ++c) {
    int token = token_in(c, end);
    from.push_back(token == ops::kHole ? 0 : token >= offset ? old + token - offset : c);
  }
  KvPair all = kv_ ? side_by_side({*kv_, fresh}) : fresh;
  kv_ = picked(all, from);
  return {.pieces = {{all.k, all.v}}, .key_index = row_of(tokens), .kept = kept()};
}

bool RotatingKv::like(const CacheStore& other) const {
  auto* ring = dynamic_cast<const RotatingKv*>(&other);
  return ring && ring->size_ == size_ && ring->keep_ == keep_ && same_layout(other);
}

std::vector<array> RotatingKv::arrays() const {
  std::vector<array> all;
  if (kv_) append_arrays(*kv_, &all);
  return all;
}

CacheState RotatingKv::named(const std::optional<KvPair>& kv, int consumed) const {
  int held = std::min(consumed, size_);
  std::vector<int> numbers{consumed, keep_, size_, held};
  if (packed_) return saved_packed(kPackedClass, kv, std::move(numbers), quant_);
  CacheState s{
      .class_name = std::string(kClass), .arrays = {{}, {}}, .numbers = numbers, .parts = {}};
  if (kv) s.arrays = {kv->k.values, kv->v.values};
  if (!chunked()) return s;
  s.class_name = kChunkedClass;
  s.numbers = {consumed, size_, consumed - held};
  return s;
}

CacheState RotatingKv::state(int consumed) const {
  if (!kv_) return named({}, consumed);
  int held = std::min(consumed, size_);
  std::vector<int> order;  // oldest first
  for (int c = 0; c < held; ++c)
    order.push_back(consumed <= size_ || c < keep_ ? c : column_of(consumed - size_ + c));
  return named(picked(*kv_, order), consumed);
}

/// Where theirs goes on writing; at the end of what is in order.
SavedKv RotatingKv::read(const CacheState& s, int* write_at) const {
  if (s.class_name == kChunkedClass && chunked()) {
    auto saved = SavedKv::read(s, kChunkedClass, 3, layout_);
    if (saved.numbers[1] != size_) saved.refuse("another chunk_size than this model's");
    int there = saved.numbers[0] - saved.numbers[2];
    if (there < 0 || (saved.kv && there > saved.kv->columns()))
      saved.refuse("fewer keys than its offset");
    if (saved.kv) saved.kv = take_columns(*saved.kv, 0, there);
    *write_at = there;
    return saved;
  }
  bool is_packed = s.class_name == kPackedClass;
  auto saved = is_packed ? SavedKv::read_packed(s, kPackedClass, 4, layout_)
                         : SavedKv::read(s, kClass, 4, layout_);
  if (saved.numbers[1] != keep_ || saved.numbers[2] != size_)
    saved.refuse("another max_size or keep than this model's cache");
  *write_at = saved.numbers[3];
  return saved;
}

int RotatingKv::set_state(const CacheState& state) {
  int at = 0;
  auto saved = read(state, &at);
  int consumed = saved.numbers[0];
  if (!saved.kv) {
    kv_.reset();
    return 0;
  }
  int columns = saved.kv->columns(), held = std::min(consumed, columns);
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
  packed_ = saved.quant.packs();
  if (packed_) quant_ = saved.quant;
  kv_ = picked(packed_ ? *saved.kv : unpacked(saved.kv->k.values, saved.kv->v.values), from);
  return consumed;
}

}  // namespace mlxcpp::lm
