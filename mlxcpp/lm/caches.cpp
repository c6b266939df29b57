#include "mlxcpp/lm/caches.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/cache/layer_caches.h"
#include "mlxcpp/nn/weights.h"

#include <mlx/ops.h>

#include <algorithm>

namespace mlxcpp::lm {

Caches::Caches() = default;
Caches::Caches(Caches&&) noexcept = default;
Caches& Caches::operator=(Caches&&) noexcept = default;
Caches::~Caches() = default;

void CacheOptions::validate() const {
  auto refuse = [](const char* field, const char* expected, int found) {
    throw InputError(describe(field, "out of range", expected, std::to_string(found)));
  };
  if (rows < 1) refuse("rows", "at least 1", rows);
  if (max_kv_size < 0) refuse("max_kv_size", "0 or more", max_kv_size);
  if (keep < 0) refuse("keep", "0 or more", keep);
  if (max_kv_size && keep >= max_kv_size) refuse("max_kv_size", "more than keep", max_kv_size);
}

Caches::Caches(const CacheLayout& layout, const CacheOptions& options) {
  options.validate();
  consumed_.assign(options.rows, 0);
  rope_shift_.assign(options.rows, 0);
  for (auto& l : layout) {
    auto layer = std::make_unique<LayerCaches>();
    for (auto& kv : l.kv) layer->kv.push_back(make_store(kv, options));
    layer->states.resize(l.states.size());
    layer->state_shapes = l.states;
    layers_.push_back(std::move(layer));
  }
}

Caches Caches::fork() const {
  Caches copy;
  copy.consumed_ = consumed_;
  copy.rope_shift_ = rope_shift_;
  for (auto& l : layers_) copy.layers_.push_back(std::make_unique<LayerCaches>(*l));
  return copy;
}

bool Caches::trimmable() const {
  int longest = consumed_.empty() ? 0 : *std::max_element(consumed_.begin(), consumed_.end());
  return std::all_of(layers_.begin(), layers_.end(), [&](auto& l) {
    return l->states.empty() &&
           std::none_of(l->kv.begin(), l->kv.end(), [&](auto& kv) { return kv->forgot(longest); });
  });
}

void Caches::trim(const std::vector<int>& n) {
  if (!trimmable()) throw InputError(describe("trim", "these caches can not forget single tokens"));
  if (n.size() != consumed_.size())
    throw InputError(describe("trim",
                              "wrong number of rows",
                              std::to_string(consumed_.size()),
                              std::to_string(n.size())));
  for (size_t b = 0; b < n.size(); ++b)
    if (n[b] < 0 || n[b] > consumed_[b])
      throw InputError(describe("trim",
                                "more than the row has",
                                "0 to " + std::to_string(consumed_[b]),
                                std::to_string(n[b])));
  for (size_t b = 0; b < n.size(); ++b) consumed_[b] -= n[b];
}

struct Caches::Mark {
  std::vector<int> consumed, rope_shift;
  std::vector<LayerCaches> layers;  // only the stores that forget
};

std::shared_ptr<const Caches::Mark> Caches::mark() const {
  auto m = std::make_shared<Mark>(Mark{consumed_, rope_shift_, {}});
  for (auto& l : layers_) {
    LayerCaches kept;
    kept.states = l->states;
    for (auto& kv : l->kv)
      if (kv->forgets()) kept.kv.push_back(kv->clone());
    m->layers.push_back(std::move(kept));
  }
  return m;
}

void Caches::rollback(const Mark& m) {
  if (m.consumed.size() != consumed_.size() || m.layers.size() != layers_.size())
    throw InputError(describe("rollback",
                              "the mark is of other caches",
                              std::to_string(rows()) + " rows",
                              std::to_string(m.consumed.size())));
  consumed_ = m.consumed;
  rope_shift_ = m.rope_shift;
  for (size_t i = 0; i < layers_.size(); ++i) {
    layers_[i]->states = m.layers[i].states;
    auto kept = m.layers[i].kv.begin();
    for (auto& kv : layers_[i]->kv)
      if (kv->forgets()) kv = (*kept++)->clone();
  }
}

void Caches::keep_rows(const std::vector<int>& rows) {
  for (int r : rows)
    if (r < 0 || r >= this->rows())
      throw InputError(describe(
          "keep_rows", "no such row", "below " + std::to_string(this->rows()), std::to_string(r)));
  array index(rows.data(), {int(rows.size())}, mx::int32);
  auto pick = [&](std::vector<int>& v) {
    std::vector<int> kept;
    for (int r : rows) kept.push_back(v[r]);
    v = std::move(kept);
  };
  pick(consumed_), pick(rope_shift_);
  for (auto& l : layers_) {
    for (auto& kv : l->kv) kv->keep_rows(index);
    for (auto& s : l->states)
      if (s) s = mx::take(*s, index, 0);
  }
}

void Caches::join(const Caches& other) {
  bool alike = std::equal(layers_.begin(),
                          layers_.end(),
                          other.layers_.begin(),
                          other.layers_.end(),
                          [](auto& a, auto& b) { return a->like(*b); });
  if (!alike) throw InputError(describe("join", "caches of another layout or other options"));
  auto begun = [](const ops::State& s, const array& like, int rows) {
    auto shape = like.shape();
    shape[0] = rows;
    return s ? *s : mx::zeros(shape, like.dtype());
  };
  for (size_t i = 0; i < layers_.size(); ++i) {
    auto &a = *layers_[i], &b = *other.layers_[i];
    for (size_t k = 0; k < a.kv.size(); ++k) a.kv[k]->join(*b.kv[k], rows(), other.rows());
    for (size_t k = 0; k < a.states.size(); ++k) {
      auto &s = a.states[k], &t = b.states[k];
      if (!s && !t) continue;
      const array& like = s ? *s : *t;
      s = mx::concatenate({begun(s, like, rows()), begun(t, like, other.rows())}, 0);
    }
  }
  consumed_.insert(consumed_.end(), other.consumed_.begin(), other.consumed_.end());
  rope_shift_.insert(rope_shift_.end(), other.rope_shift_.begin(), other.rope_shift_.end());
}

std::uint64_t Caches::nbytes() const {
  std::uint64_t n = 0;
  for (auto& a : arrays()) n += a.nbytes();
  return n;
}

std::vector<array> Caches::arrays() const {
  std::vector<array> all;
  for (auto& l : layers_) {
    for (auto& kv : l->kv)
      for (auto& a : kv->arrays()) all.push_back(a);
    for (auto& s : l->states)
      if (s) all.push_back(*s);
  }
  return all;
}

std::vector<CacheState> Caches::state() const {
  if (rows() != 1)
    throw InputError(describe("cache state", "wrong number of rows", "1", std::to_string(rows())));
  std::vector<CacheState> all;
  for (auto& l : layers_) {
    std::vector<CacheState> parts;
    if (!l->states.empty())
      parts.push_back(
          {.class_name = "ArraysCache", .arrays = l->states, .numbers = {}, .parts = {}});
    for (auto& kv : l->kv) parts.push_back(kv->state(consumed_[0]));
    if (parts.size() == 1)
      all.push_back(std::move(parts[0]));
    else
      all.push_back({.class_name = "CacheList", .arrays = {}, .numbers = {}, .parts = parts});
  }
  return all;
}

namespace {

/// A saved recurrent state: absent, or one row of what the layout says.
void check_state(const ops::State& state, mx::Shape shape) {
  shape.insert(shape.begin(), 1);
  if (state && state->shape() != shape)
    throw InputError(describe(
        "cache state", "wrong shape", nn::to_string(shape), nn::to_string(state->shape())));
}

}  // namespace

void Caches::set_state(const std::vector<CacheState>& state) {
  if (rows() != 1 || state.size() != layers_.size())
    throw InputError(describe("cache state",
                              "does not fit",
                              std::to_string(layers_.size()) + " layers",
                              std::to_string(state.size())));
  Caches next = fork();  // what fails half-way must change nothing
  std::optional<int> consumed;
  for (size_t i = 0; i < state.size(); ++i) {
    auto& layer = *next.layers_[i];
    size_t count = layer.kv.size() + !layer.states.empty();
    std::vector<CacheState> parts = count == 1 ? std::vector{state[i]} : state[i].parts;
    if (parts.size() != count) throw InputError(describe("cache state", "wrong number of parts"));
    auto part = parts.begin();
    if (!layer.states.empty()) {
      if (part->class_name != "ArraysCache" || part->arrays.size() != layer.states.size())
        throw InputError(
            describe("cache state", "wrong class or size", "ArraysCache", part->class_name));
      for (size_t k = 0; k < layer.states.size(); ++k)
        check_state(part->arrays[k], layer.state_shapes[k]);
      layer.states = part++->arrays;
    }
    for (auto& kv : layer.kv) {
      int n = kv->set_state(*part++);
      if (consumed.value_or(n) != n)
        throw InputError(describe("cache state", "layers disagree on the offset"));
      consumed = n;
    }
  }
  next.consumed_ = {consumed.value_or(0)};
  *this = std::move(next);
}

}  // namespace mlxcpp::lm
