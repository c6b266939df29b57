#include "mlxcpp/lm/cache/plain.h"

#include "mlxcpp/lm/cache/saved.h"
#include "mlxcpp/ops/device.h"

#include <mlx/ops.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::lm {
namespace {

bool is_packed(const KvPair& p) { return p.k.scales || p.v.scales; }

}  // namespace

int PlainKv::size() const {
  int n = 0;
  for (auto& h : held_) n += h.count;
  return n;
}

/// Whether the last segment can be added to.
bool PlainKv::fits(int tokens) const {
  if (held_.empty()) return false;
  auto& [segment, count] = held_.back();
  bool growing =
      !packed_ || !ops::own_kernels() || (!is_packed(*segment) && segment->columns() <= kStep);
  return growing && segment.use_count() == 1 && segment->columns() - count >= tokens;
}

/// Of a new segment: for what was announced, beyond that more the more there is.
int PlainKv::columns_for(int tokens) const {
  int have = size();
  if (packed_ && ops::own_kernels()) return tokens <= kStep ? kStep : tokens;
  return rounded_up(std::max(tokens, reserved_ > have ? reserved_ - have : have / 4));
}

/// An empty one behind the others; MLX's own kernels want all columns in one piece.
void PlainKv::begin_segment(const KvPair& like, int tokens) {
  int columns = columns_for(tokens), have = size();
  if (ops::own_kernels()) {
    held_.push_back({std::make_shared<KvPair>(unset(like, columns)), 0});
  } else {
    KvPair all = have ? whole() : take_columns(like, 0, 0);
    held_.assign(1, {std::make_shared<KvPair>(widened(all, columns)), have});
  }
}

KvPair PlainKv::whole() const {
  std::vector<KvPair> parts;
  for (auto& h : held_) parts.push_back(take_columns(*h.segment, 0, h.count));
  return side_by_side(parts);
}

KvPair PlainKv::whole_packed() const {
  std::vector<KvPair> parts;
  for (auto& h : held_) {
    KvPair kv = take_columns(*h.segment, 0, h.count);
    parts.push_back(is_packed(kv) ? kv : packed(kv.k.values, kv.v.values));
  }
  return side_by_side(parts);
}

void PlainKv::pack_segments(bool last) {
  packed_ = true;
  for (size_t i = 0; i + !last < held_.size(); ++i) {
    auto& [segment, count] = held_[i];
    KvPair kv = take_columns(*segment, 0, count);
    if (!is_packed(kv)) segment = std::make_shared<KvPair>(packed(kv.k.values, kv.v.values));
  }
}

ops::KvPart PlainKv::part(const array& k, const array& v) const {
  ops::KvPart seen{.pieces = {}};
  for (auto& h : held_)
    if (h.count) seen.pieces.emplace_back(h.segment->k, h.segment->v, h.count);
  if (seen.pieces.empty())
    seen.pieces.emplace_back(ops::take_columns(k, 0, 0, 2), ops::take_columns(v, 0, 0, 2));
  return seen;
}

ops::KvPart PlainKv::append(const array& k, const array& v, int offset) {
  int n = k.shape(2);
  if (n == 0) return part(k, v);
  bool grows = !packs(offset) || (ops::own_kernels() && n <= kStep);
  if (packs(offset)) pack_segments(!grows || !fits(n));
  KvPair fresh = grows ? unpacked(k, v) : packed(k, v);
  if (!fits(n) || is_packed(*held_.back().segment) == grows) begin_segment(fresh, n);
  auto& [segment, count] = held_.back();
  *segment = written_at(*segment, fresh, count);
  count += n;
  return part(k, v);
}

std::optional<ops::KvRoom> PlainKv::room(int offset, int tokens) {
  if (packs(offset)) {
    if (tokens > kStep) return {};
    pack_segments(!fits(tokens));
  }
  auto other_dtype = [](const Held& h) {
    return !is_packed(*h.segment) && h.segment->k.dtype() != mx::float32;
  };
  if (std::any_of(held_.begin(), held_.end(), other_dtype)) return {};
  filling_ = tokens;
  if (tokens && !fits(tokens)) begin_segment(blank(0), tokens);
  KvPair tail = held_.empty() ? blank(0) : *held_.back().segment;
  ops::KvRoom room{.before = {}, .k = tail.k, .v = tail.v, .sight = {}};
  for (size_t i = 0; i + 1 < held_.size(); ++i)
    if (auto& h = held_[i]; h.count) room.before.emplace_back(h.segment->k, h.segment->v, h.count);
  if (!held_.empty()) room.sight.column = held_.back().count;
  room.sight.seen = room.sight.column + tokens;
  return room;
}

void PlainKv::fill(const array& k, const array& v) {
  if (held_.empty()) return;
  auto& [segment, count] = held_.back();
  *segment = refilled(*segment, k, v);
  count += std::exchange(filling_, 0);
}

void PlainKv::trim(int consumed) {
  int over = size() - consumed;
  while (over > 0 && !held_.empty()) {
    auto& [segment, count] = held_.back();
    int n = std::min(over, count);
    over -= n, count -= n;
    if (count == 0) held_.pop_back();
  }
}

std::vector<array> PlainKv::arrays() const {
  std::vector<array> all;
  for (auto& h : held_) append_arrays(*h.segment, &all);
  return all;
}

std::vector<array> PlainKv::written() const {
  std::vector<array> last;
  if (!held_.empty()) append_arrays(*held_.back().segment, &last);
  return last;
}

std::vector<CacheStore::Share> PlainKv::shares() {
  std::vector<Share> all;
  for (auto& h : held_) all.push_back({&h.segment, h.count});
  return all;
}

CacheState PlainKv::state(int consumed) const {
  if (packed_) {
    auto kv = held_.empty() ? std::nullopt : std::optional(whole_packed());
    return saved_packed(kQuantisedClass, kv, {consumed}, quant_);
  }
  CacheState s{.class_name = "KVCache", .arrays = {{}, {}}, .numbers = {consumed}, .parts = {}};
  if (held_.empty()) return s;
  KvPair all = whole();
  s.arrays = {all.k.values, all.v.values};
  return s;
}

int PlainKv::set_state(const CacheState& s) {
  bool quantised = s.class_name == kQuantisedClass;
  auto saved = quantised ? SavedKv::read_packed(s, kQuantisedClass, 1, layout_)
                         : SavedKv::read(s, "KVCache", 1, layout_);
  int consumed = saved.numbers[0];
  if (saved.kv && saved.kv->columns() < consumed) saved.refuse("fewer keys than its offset");
  held_.clear();
  packed_ = quantised;
  if (quantised) quant_ = saved.quant;
  if (saved.kv && consumed) {
    KvPair kv =
        take_columns(*saved.kv, 0, consumed).map([](const array& x) { return mx::contiguous(x); });
    if (!packed_) kv = unpacked(kv.k.values, kv.v.values);
    held_.push_back({std::make_shared<KvPair>(std::move(kv)), consumed});
  }
  return consumed;
}

}  // namespace mlxcpp::lm
