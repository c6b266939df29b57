#include "mlxcpp/lm/cache/row.h"

#include <mlx/ops.h>

#include <algorithm>
#include <utility>

namespace mlxcpp::lm {
ops::State RowState::value() const {
  return whole_ ? ops::State(ops::take_row(*whole_, row_)) : std::nullopt;
}

RowState RowState::apart() const {
  if (!whole_ || whole_->shape(0) == 1) return *this;
  return RowState(mx::take(*whole_, array({row_}, mx::int32), 0));
}

LayerCaches::LayerCaches(const LayerCaches& other)
    : states(other.states), state_shapes(other.state_shapes) {
  for (auto& store : other.kv) kv.push_back(store->clone());
}

bool LayerCaches::like(const LayerCaches& other) const {
  return state_shapes == other.state_shapes &&
         std::equal(kv.begin(), kv.end(), other.kv.begin(), other.kv.end(), [](auto& a, auto& b) {
           return a->like(*b);
         });
}

Caches::Row Caches::Row::copy() const {
  Row other = *this;
  for (auto& l : other.layers)
    for (auto& s : l.states) s = s.apart();
  return other;
}

bool Caches::Row::like(const Row& other) const {
  return std::equal(
      layers.begin(), layers.end(), other.layers.begin(), other.layers.end(), [](auto& a, auto& b) {
        return a.like(b);
      });
}

bool Caches::Row::trimmable() const {
  return std::all_of(layers.begin(), layers.end(), [&](auto& l) {
    return l.states.empty() &&
           std::none_of(l.kv.begin(), l.kv.end(), [&](auto& kv) { return kv->forgot(consumed); });
  });
}

ops::State gathered(const std::vector<const RowState*>& states) {
  auto& first = *states[0];
  bool together = first.begun() && first.whole()->shape(0) == int(states.size());
  const array* like = nullptr;
  for (size_t b = 0; b < states.size(); ++b) {
    together &= states[b]->whole() == first.whole() && states[b]->row() == int(b);
    if (states[b]->begun()) like = states[b]->whole().get();
  }
  if (!like) return {};
  if (together) return *first.whole();
  auto shape = like->shape();
  shape[0] = 1;
  std::vector<array> all;
  for (auto* s : states) all.push_back(s->begun() ? *s->value() : mx::zeros(shape, like->dtype()));
  return mx::concatenate(std::move(all), 0);
}

ops::KvView RowsKv::append(const array& k, const array& v, std::shared_ptr<const ops::Rows> rows) {
  ops::KvView view{{}, rows};
  for (size_t b = 0; b < rows_.size(); ++b) {
    int n = rows->lengths[b];
    auto fresh = [&](const array& x) {
      return ops::take_columns(ops::take_row(x, int(b)), 0, n, 2);
    };
    view.parts.push_back(rows_[b]->append(fresh(k), fresh(v), rows->offsets[b]));
  }
  return view;
}

std::vector<ops::KvRoom> RowsKv::room(const ops::Rows& rows) {
  std::vector<ops::KvRoom> rooms;
  for (size_t b = 0; b < rows_.size(); ++b) {
    auto room = rows_[b]->room(rows.offsets[b], rows.lengths[b]);
    if (!room) return {};
    rooms.push_back(std::move(*room));
  }
  return rooms;
}

void RowsKv::fill(const std::vector<std::pair<array, array>>& filled) {
  for (size_t b = 0; b < rows_.size(); ++b) rows_[b]->fill(filled[b].first, filled[b].second);
}

}  // namespace mlxcpp::lm
