// Opening a forward pass: the checks of its input, and what each layer may use.
#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/cache/row.h"
#include "mlxcpp/lm/caches.h"
#include "mlxcpp/nn/weights.h"

#include <mlx/ops.h>

#include <algorithm>

namespace mlxcpp::lm {
namespace {

[[noreturn]] void refuse(const char* what, const std::string& expected, const std::string& found) {
  throw InputError(describe(std::string("input.") + what, "does not fit", expected, found));
}

/// `x` must begin with the extents of `shape`, and have `rank` of them in all.
void check_shape(const char* what, const std::optional<array>& x, mx::Shape shape, size_t rank) {
  if (!x) return;
  if (x->ndim() == rank && std::equal(shape.begin(), shape.end(), x->shape().begin())) return;
  refuse(what,
         nn::to_string(shape) + (rank > shape.size() ? " and more" : ""),
         nn::to_string(x->shape()));
}

void check(const Input& in, std::optional<int> cache_rows) {
  if (in.tokens.ndim() != 2 || in.tokens.size() == 0)
    refuse("tokens", "(B, L), not empty", nn::to_string(in.tokens.shape()));
  int B = in.tokens.shape(0), L = in.tokens.shape(1);
  if (cache_rows.value_or(B) != B)
    refuse("tokens", std::to_string(*cache_rows) + " rows, as the caches have", std::to_string(B));
  check_shape("embeddings", in.embeddings, {B, L}, 3);
  check_shape("spans", in.spans, {B, L}, 2);
  check_shape("per_layer", in.per_layer, {B, L}, 4);
  if (in.positions && in.positions->ndim() == 2)
    check_shape("positions", in.positions, {B, L}, 2);
  else
    check_shape("positions", in.positions, {3, B, L}, 3);
  auto per_row = [&](const std::vector<int>& v, const char* what) {
    if (!v.empty() && int(v.size()) != B)
      refuse(what, "one for each of " + std::to_string(B) + " rows", std::to_string(v.size()));
  };
  per_row(in.lengths, "lengths");
  per_row(in.rope_shift, "rope_shift");
  per_row(in.adapters, "adapters");
  for (int n : in.lengths)
    if (n < 0 || n > L) refuse("lengths", "0 to " + std::to_string(L), std::to_string(n));
  per_row(in.needed, "needed");
  for (size_t b = 0; b < in.needed.size(); ++b) {
    int n = in.needed[b], most = in.lengths.empty() ? L : in.lengths[b];
    if (n < 0 || n > most) refuse("needed", "0 to " + std::to_string(most), std::to_string(n));
  }
}

}  // namespace

ops::Pass Caches::begin(const CacheLayout& layout, const Input& in) {
  check(in, empty() ? std::nullopt : std::optional(this->rows()));
  int B = in.tokens.shape(0), L = in.tokens.shape(1);
  auto lengths = in.lengths.empty() ? std::vector<int>(B, L) : in.lengths;
  auto rows =
      std::make_shared<ops::Rows>(B, L, empty() ? std::vector<int>(B, 0) : consumed(), lengths);
  if (!in.needed.empty()) rows->needed = in.needed;
  rows->spans = in.spans;
  rows->positions = in.positions;
  std::vector<int> shift = in.rope_shift;
  if (shift.empty())
    for (int b = 0; b < B; ++b) shift.push_back(empty() ? 0 : rows_[b]->rope_shift);
  bool shifted = std::any_of(shift.begin(), shift.end(), [](int s) { return s != 0; });
  if (!in.positions && shifted)
    rows->positions = mx::add(rows->index, array(shift.data(), {B, 1}, mx::int32));
  for (int b = 0; !empty() && b < B; ++b)
    rows_[b]->rope_shift = shift[b], rows_[b]->consumed += lengths[b];

  ops::Pass pass{rows};
  for (size_t i = 0; i < layout.size(); ++i) {
    ops::Layer layer{rows, {}, {}};
    for (size_t k = 0; k < layout[i].kv.size(); ++k) {
      layer.kv.push_back(nullptr);
      if (empty()) continue;
      std::vector<CacheStore*> stores;
      for (auto& r : rows_) stores.push_back(r->layers[i].kv[k].get());
      pass.stores.push_back(std::make_shared<RowsKv>(std::move(stores)));
      layer.kv.back() = pass.stores.back().get();
    }
    for (size_t k = 0; k < layout[i].states.size(); ++k) {
      std::vector<const RowState*> states;
      for (auto& r : rows_) states.push_back(&r->layers[i].states[k]);
      pass.states.push_back(empty() ? std::nullopt : gathered(states));
      layer.states.push_back(&pass.states.back());
    }
    pass.layers.push_back(std::move(layer));
  }
  return pass;
}

void Caches::end(ops::Pass& pass) {
  for (size_t i = 0; !empty() && i < pass.layers.size(); ++i)
    for (size_t k = 0; k < pass.layers[i].states.size(); ++k) {
      ops::State& state = *pass.layers[i].states[k];
      if (!state) continue;
      auto whole = std::make_shared<const array>(*state);
      for (int b = 0; b < rows(); ++b) rows_[b]->layers[i].states[k] = RowState(whole, b);
    }
}

}  // namespace mlxcpp::lm
