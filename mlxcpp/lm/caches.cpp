#include "mlxcpp/lm/caches.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/cache/row.h"
#include "mlxcpp/nn/weights.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace mlxcpp::lm {

Caches::Caches() = default;
Caches::Caches(Caches&&) noexcept = default;
Caches& Caches::operator=(Caches&&) noexcept = default;
Caches::~Caches() = default;

namespace {

[[noreturn]] void refuse(const char* field, const char* expected, int found) {
  throw InputError(describe(field, "out of range", expected, std::to_string(found)));
}

}  // namespace

void KvQuant::validate() const {
  auto packed = [](int bits) { return bits == 0 || (bits >= 2 && bits <= 8 && bits != 7); };
  auto known = [&](int bits, int other) {
    return packed(bits) || ((bits == 16 || bits == 32) && other == bits);
  };
  constexpr const char* kKnown = "0, 2, 3, 4, 5, 6 or 8, or 16 or 32 of both";
  if (!known(k_bits, v_bits)) refuse("kv_bits", kKnown, k_bits);
  if (!known(v_bits, k_bits)) refuse("kv_bits", kKnown, v_bits);
  if (group_size != 32 && group_size != 64 && group_size != 128)
    refuse("kv_group_size", "32, 64 or 128", group_size);
  if (start < 0) refuse("quantized_kv_start", "0 or more", start);
}

void CacheOptions::validate() const {
  if (rows < 1) refuse("rows", "at least 1", rows);
  if (max_kv_size < 0) refuse("max_kv_size", "0 or more", max_kv_size);
  if (keep < 0) refuse("keep", "0 or more", keep);
  if (max_kv_size && keep >= max_kv_size) refuse("max_kv_size", "more than keep", max_kv_size);
  quant.validate();
}

Caches::Caches(const CacheLayout& layout, const CacheOptions& options) {
  options.validate();
  none_ = false;
  for (int b = 0; b < options.rows; ++b) {
    auto row = std::make_shared<Row>();
    for (auto& l : layout) {
      LayerCaches layer;
      for (auto& kv : l.kv) layer.kv.push_back(make_store(kv, options));
      layer.states.resize(l.states.size());
      layer.state_shapes = l.states;
      row->layers.push_back(std::move(layer));
    }
    rows_.push_back(std::move(row));
  }
}

std::vector<int> Caches::consumed() const {
  std::vector<int> all;
  for (auto& r : rows_) all.push_back(r->consumed);
  return all;
}

Caches Caches::fork() const {
  Caches copy;
  copy.none_ = none_;
  for (auto& r : rows_) copy.rows_.push_back(std::make_shared<Row>(r->copy()));
  return copy;
}

Caches Caches::together(const std::vector<Caches*>& parts) {
  Caches batch;
  batch.none_ = false;
  for (auto* p : parts) {
    if (!batch.rows_.empty() && !p->rows_.empty() && !batch.rows_[0]->like(*p->rows_[0]))
      throw InputError(describe("together", "caches of another layout or other options"));
    batch.rows_.insert(batch.rows_.end(), p->rows_.begin(), p->rows_.end());
  }
  return batch;
}

void Caches::reserve(int tokens) {
  for (auto& r : rows_)
    for (auto& l : r->layers)
      for (auto& kv : l.kv) kv->reserve(tokens);
}

bool Caches::trimmable() const {
  return std::all_of(rows_.begin(), rows_.end(), [](auto& r) { return r->trimmable(); });
}

void Caches::trim(const std::vector<int>& n) {
  if (!trimmable()) throw InputError(describe("trim", "these caches can not forget single tokens"));
  if (n.size() != rows_.size())
    throw InputError(
        describe("trim", "wrong number of rows", std::to_string(rows()), std::to_string(n.size())));
  for (size_t b = 0; b < n.size(); ++b)
    if (n[b] < 0 || n[b] > rows_[b]->consumed)
      throw InputError(describe("trim",
                                "more than the row has",
                                "0 to " + std::to_string(rows_[b]->consumed),
                                std::to_string(n[b])));
  for (size_t b = 0; b < n.size(); ++b) {
    Row& r = *rows_[b];
    r.consumed -= n[b];
    for (auto& l : r.layers)
      for (auto& kv : l.kv) kv->trim(r.consumed);
  }
}

struct Caches::Mark {
  std::vector<Row> rows;  // only the stores that forget
};

std::shared_ptr<const Caches::Mark> Caches::mark() const {
  auto m = std::make_shared<Mark>();
  for (auto& r : rows_) {
    Row kept;
    kept.consumed = r->consumed, kept.rope_shift = r->rope_shift;
    for (auto& l : r->layers) {
      LayerCaches layer;
      layer.states = l.states;
      for (auto& kv : l.kv)
        if (kv->forgets()) layer.kv.push_back(kv->clone());
      kept.layers.push_back(std::move(layer));
    }
    m->rows.push_back(std::move(kept));
  }
  return m;
}

void Caches::rollback(const Mark& m) {
  bool fits = m.rows.size() == rows_.size();
  for (size_t b = 0; fits && b < rows_.size(); ++b)
    fits = m.rows[b].layers.size() == rows_[b]->layers.size();
  if (!fits)
    throw InputError(describe("rollback",
                              "the mark is of other caches",
                              std::to_string(rows()) + " rows",
                              std::to_string(m.rows.size())));
  for (size_t b = 0; b < rows_.size(); ++b) {
    Row& r = *rows_[b];
    r.consumed = m.rows[b].consumed, r.rope_shift = m.rows[b].rope_shift;
    for (size_t i = 0; i < r.layers.size(); ++i) {
      auto& kept = m.rows[b].layers[i];
      r.layers[i].states = kept.states;
      auto copy = kept.kv.begin();
      for (auto& kv : r.layers[i].kv) {
        if (kv->forgets())
          kv = (*copy++)->clone();
        else
          kv->trim(r.consumed);
      }
    }
  }
}

void Caches::keep_rows(const std::vector<int>& rows) {
  for (int r : rows)
    if (r < 0 || r >= this->rows())
      throw InputError(describe(
          "keep_rows", "no such row", "below " + std::to_string(this->rows()), std::to_string(r)));
  std::vector<std::shared_ptr<Row>> kept;
  for (int r : rows) {
    bool again = std::find(kept.begin(), kept.end(), rows_[r]) != kept.end();
    kept.push_back(again ? std::make_shared<Row>(*rows_[r]) : rows_[r]);
  }
  rows_ = std::move(kept);
}

void Caches::join(const Caches& other) {
  bool alike = rows_.empty() || other.rows_.empty() || rows_[0]->like(*other.rows_[0]);
  if (!alike) throw InputError(describe("join", "caches of another layout or other options"));
  Caches copy = other.fork();
  rows_.insert(rows_.end(), copy.rows_.begin(), copy.rows_.end());
}

std::uint64_t Caches::nbytes() const { return nbytes({this}); }

std::uint64_t Caches::nbytes(const std::vector<const Caches*>& all) {
  std::unordered_set<std::uintptr_t> counted;
  std::uint64_t n = 0;
  auto count = [&](const array& a) {
    if (counted.insert(a.id()).second) n += a.nbytes();
  };
  for (auto* caches : all)
    for (auto& r : caches->rows_)
      for (auto& l : r->layers) {
        for (auto& kv : l.kv)
          for (auto& a : kv->arrays()) count(a);
        for (auto& s : l.states)
          if (s.begun()) count(*s.whole());
      }
  return n;
}

std::vector<array> Caches::arrays() const {
  std::vector<array> all;
  std::unordered_set<std::uintptr_t> seen;
  for (auto& r : rows_)
    for (auto& l : r->layers) {
      for (auto& kv : l.kv)
        for (auto& a : kv->written()) all.push_back(a);
      for (auto& s : l.states)
        if (s.begun() && seen.insert(s.whole()->id()).second) all.push_back(*s.whole());
    }
  return all;
}

std::vector<array> Caches::stored() const {
  std::vector<array> all;
  for (auto& r : rows_)
    for (auto& l : r->layers) {
      for (auto& kv : l.kv)
        for (auto& a : kv->arrays()) all.push_back(a);
      for (auto& s : l.states)
        if (s.begun()) all.push_back(*s.whole());
    }
  return all;
}

bool Caches::tighten(const std::vector<Caches*>& all) {
  struct Use {
    std::vector<std::shared_ptr<KvPair>*> places;
    int columns = 0;
  };
  std::unordered_map<const KvPair*, Use> uses;
  for (auto* caches : all)
    for (auto& r : caches->rows_)
      for (auto& l : r->layers)
        for (auto& kv : l.kv)
          for (auto& [segment, columns] : kv->shares()) {
            auto& use = uses[segment->get()];
            use.places.push_back(segment);
            use.columns = std::max(use.columns, columns);
          }
  bool any = false;
  for (auto& [segment, use] : uses) {
    bool theirs = use.places[0]->use_count() == long(use.places.size());
    if (!theirs || segment->columns() - use.columns <= use.columns / 8) continue;
    auto small = std::make_shared<KvPair>(copied(*segment, use.columns));
    for (auto* place : use.places) *place = small;
    any = true;
  }
  return any;
}

std::vector<CacheState> Caches::state() const {
  if (rows() != 1)
    throw InputError(describe("cache state", "wrong number of rows", "1", std::to_string(rows())));
  std::vector<CacheState> all;
  for (auto& l : rows_[0]->layers) {
    std::vector<CacheState> parts;
    if (!l.states.empty()) {
      parts.push_back({.class_name = "ArraysCache", .arrays = {}, .numbers = {}, .parts = {}});
      for (auto& s : l.states) parts.back().arrays.push_back(s.value());
    }
    for (auto& kv : l.kv) parts.push_back(kv->state(rows_[0]->consumed));
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

/// Sets the layer; returns the offset that its keys say.
std::optional<int> set_layer(const CacheState& state, LayerCaches& layer) {
  size_t count = layer.kv.size() + !layer.states.empty();
  std::vector<CacheState> parts = count == 1 ? std::vector{state} : state.parts;
  if (parts.size() != count) throw InputError(describe("cache state", "wrong number of parts"));
  auto part = parts.begin();
  if (!layer.states.empty()) {
    if (part->class_name != "ArraysCache" || part->arrays.size() != layer.states.size())
      throw InputError(
          describe("cache state", "wrong class or size", "ArraysCache", part->class_name));
    for (size_t k = 0; k < layer.states.size(); ++k) {
      auto& saved = part->arrays[k];
      check_state(saved, layer.state_shapes[k]);
      layer.states[k] = saved ? RowState(*saved) : RowState();
    }
    ++part;
  }
  std::optional<int> consumed;
  for (auto& kv : layer.kv) {
    int n = kv->set_state(*part++);
    if (consumed.value_or(n) != n)
      throw InputError(describe("cache state", "layers disagree on the offset"));
    consumed = n;
  }
  return consumed;
}

}  // namespace

void Caches::set_state(const std::vector<CacheState>& state, int consumed_by_states) {
  size_t layers = rows_.empty() ? 0 : rows_[0]->layers.size();
  if (rows() != 1 || state.size() != layers)
    throw InputError(describe("cache state",
                              "does not fit",
                              std::to_string(layers) + " layers",
                              std::to_string(state.size())));
  auto next = std::make_shared<Row>(*rows_[0]);  // what fails half-way must change nothing
  std::optional<int> consumed;
  for (size_t i = 0; i < layers; ++i) {
    auto n = set_layer(state[i], next->layers[i]);
    if (n && consumed.value_or(*n) != *n)
      throw InputError(describe("cache state", "layers disagree on the offset"));
    if (n) consumed = n;
  }
  next->consumed = consumed.value_or(consumed_by_states);
  rows_[0] = std::move(next);
}

}  // namespace mlxcpp::lm
