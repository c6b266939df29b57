#include "mlxcpp/ops/detail/fused.h"

#include "mlxcpp/ops/cpu/attention.h"
#include "mlxcpp/ops/cpu/elementwise.h"
#include "mlxcpp/ops/cpu/linear.h"
#include "mlxcpp/ops/detail/gates.h"
#include "mlxcpp/ops/detail/scratch.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

namespace mlxcpp::ops::detail {
namespace {

cpu::Product product(const BoundWeight& w, float* y) {
  return {.w = w.matrix(), .bias = w.bias(), .y = y, .y_stride = w.outputs()};
}

std::optional<BoundNorm> bind_norm(const Norm& n) {
  BoundNorm b{{}, n.eps};
  if (!n.weight) return b;
  b.weight = float_values(*n.weight);
  return b.weight ? std::optional(b) : std::nullopt;
}

std::uintptr_t id(const Param& p) { return p ? p->id() : 0; }
std::uintptr_t id(const std::optional<Norm>& n) { return n ? id(n->weight) : 0; }

/// Which arrays an attention was made from, apart from its projections.
std::vector<std::uintptr_t> ids(const SelfAttention& a) {
  return {id(a.q_norm),
          id(a.k_norm),
          a.args.sinks ? id(*a.args.sinks) : 0,
          a.rope.freqs ? a.rope.freqs->id() : 0,
          a.rope.beyond ? a.rope.beyond->freqs.id() : 0};
}

/// y = norm(x) + residual, in place.
void norm_and_add(const BoundNorm& n, float* x, const float* residual, int rows, int size) {
  cpu::rms_norm(x, n.values(), n.eps, rows, size, x);
  for (size_t i = 0; i < size_t(rows) * size; ++i) x[i] += residual[i];
}

/// angle = position * inverse frequency; of the wavelengths in `freqs`, or of powers of `base`.
std::vector<float> inverse_frequencies(const Rope& r,
                                       const std::optional<array>& freqs,
                                       double base) {
  std::vector<float> inverse(std::max(0, r.dims / 2));
  for (size_t i = 0; i < inverse.size(); ++i) {
    double wavelength = freqs ? freqs->data<float>()[i] : std::pow(base, 2.0 * double(i) / r.dims);
    inverse[i] = float(r.scale / wavelength);
  }
  return inverse;
}

/// The base of a row that ends at `end`.
double grown_base(const Rope& r, int end) {
  double n = std::max(end, r.dynamic->original), factor = r.dynamic->factor;
  double grown = factor * n / r.dynamic->original - (factor - 1);
  return float(r.base * std::pow(grown, r.dims / (r.dims - 2.0)));
}

}  // namespace

bool plain_pass(const Rows& rows) { return !rows.positions && !rows.spans; }

std::shared_ptr<const BoundAttention> BoundAttention::of(const SelfAttention& a) {
  auto q = BoundWeight::of(a.q), k = BoundWeight::of(a.k), v = BoundWeight::of(a.v),
       o = BoundWeight::of(a.o);
  if (!q || !k || !v || !o) return {};
  auto bound = std::atomic_load(&a.bound);
  if (bound && bound->q_ == q && bound->k_ == k && bound->v_ == v && bound->o_ == o &&
      bound->made_from_ == ids(a))
    return bound;
  auto made = make(a);
  if (made) made->q_ = q, made->k_ = k, made->v_ = v, made->o_ = o;
  if (made) {
    made->heads_ = q->outputs() / a.head_dim;
    made->kv_heads_ = k->outputs() / a.head_dim;
    made->v_dim_ = v->outputs() / made->kv_heads_;
    if (q->stacked() || k->stacked() || v->stacked() || o->stacked() ||
        o->inputs() != made->heads_ * made->v_dim_)
      made = nullptr;
  }
  std::atomic_store(&a.bound, std::shared_ptr<const BoundAttention>(made));
  return made;
}

std::shared_ptr<BoundAttention> BoundAttention::make(const SelfAttention& a) {
  auto b = std::make_shared<BoundAttention>();
  b->head_dim_ = a.head_dim;
  b->rope_ = a.rope;
  b->args_ = a.args;
  if (a.q_norm && !(b->q_norm_ = bind_norm(*a.q_norm))) return {};
  if (a.k_norm && !(b->k_norm_ = bind_norm(*a.k_norm))) return {};
  if (a.args.sinks && !(b->sinks_ = float_values(**a.args.sinks))) return {};
  std::optional<array> freqs, long_freqs;
  if (a.rope.freqs && !(freqs = float_values(*a.rope.freqs))) return {};
  if (a.rope.beyond && !(long_freqs = float_values(a.rope.beyond->freqs))) return {};
  b->inverse_ = inverse_frequencies(a.rope, freqs, a.rope.base);
  if (long_freqs) b->long_inverse_ = inverse_frequencies(a.rope, long_freqs, a.rope.base);
  b->made_from_ = ids(a);
  return b;
}

BoundAttention::Queries BoundAttention::Queries::all(const Rows& rows) {
  size_t B = size_t(rows.batch);
  return {std::vector<int>(B, 0), std::vector<int>(B, rows.length), rows.batch * rows.length};
}

BoundAttention::Queries BoundAttention::Queries::needed(const Rows& rows) {
  Queries q;
  for (int b = 0; b < rows.batch; ++b) {
    q.first.push_back(rows.lengths[b] - rows.needed[b]);
    q.count.push_back(rows.needed[b]);
    q.tokens += rows.needed[b];
  }
  return q;
}

/// Turns the heads of one row, (tokens, heads, head_dim).
void BoundAttention::turn_row(
    const float* x, int row, int heads, const Turned& to, const Rows& rows) const {
  std::vector<int> positions(to.tokens);
  for (int t = 0; t < to.tokens; ++t) positions[t] = rows.offsets[row] + to.first + t;
  int end = rows.end(row);
  bool beyond = rope_->beyond && end > rope_->beyond->original;
  const float* inverse = (beyond ? long_inverse_ : inverse_).data();
  std::vector<float> grown;
  if (rope_->dynamic) {
    grown = inverse_frequencies(*rope_, {}, grown_base(*rope_, end));
    inverse = grown.data();
  }
  cpu::rotate({.rows = 1,
               .heads = heads,
               .tokens = to.tokens,
               .size = head_dim_,
               .dims = rope_->dims,
               .x = {.data = x, .row = 0, .head = head_dim_, .token = long(heads) * head_dim_},
               .out = to.out,
               .out_row = 0,
               .out_head = to.head,
               .out_token = to.token,
               .traditional = rope_->traditional,
               .magnitude = rope_->dims ? rope_->magnitude : 1,
               .inverse = inverse,
               .positions = positions.data()});
}

/// Turns the valid tokens of a row, (L, K, size), and copies them to where they are kept; what
/// rounds there turns k in place.
void BoundAttention::keep_row(
    float* k, const float* v, int row, const Keys& keys, const Rows& rows) const {
  int at = keys.sight.column, tokens = rows.lengths[row];
  if (tokens == 0) return;
  auto copy = [&](const float* from, int size, auto* to, auto each) {
    for (int h = 0; h < kv_heads_; ++h)
      for (int t = 0; t < tokens; ++t)
        each(
            from + (long(t) * kv_heads_ + h) * size, size, to + (h * keys.columns + at + t) * size);
  };
  if (keys.half) {
    turn_row(k, row, kv_heads_, {k, head_dim_, long(kv_heads_) * head_dim_, 0, tokens}, rows);
    copy(k, head_dim_, static_cast<unsigned short*>(keys.k), cpu::to_half);
    copy(v, v_dim_, static_cast<unsigned short*>(keys.v), cpu::to_half);
  } else {
    float* to = static_cast<float*>(keys.k) + long(at) * head_dim_;
    turn_row(k, row, kv_heads_, {to, keys.columns * head_dim_, head_dim_, 0, tokens}, rows);
    copy(v, v_dim_, static_cast<float*>(keys.v), std::copy_n<const float*, int, float*>);
  }
}

/// What attention sees of the storage that a row's tokens went to.
cpu::KeyPiece BoundAttention::kept(const Keys& row) const {
  auto numbers = [&](const void* data, int size) -> cpu::KeyNumbers {
    if (row.half) return cpu::KeyNumbers::half(data, row.columns * size, size, size);
    return {.data = static_cast<const float*>(data), .head = row.columns * size, .token = size};
  };
  return {numbers(row.k, head_dim_), numbers(row.v, v_dim_), row.sight.seen};
}

/// Brings near where a token's keys and values are written to: that was last touched a token ago.
void BoundAttention::fetch_places(const std::vector<Keys>& keys) const {
  for (const Keys& row : keys) {
    long number = row.half ? 2 : 4;
    auto fetch = [&](const void* to, long at, long size) {
      auto* place = static_cast<const char*>(to) + at * size * number;
      for (long i = 0; i < size * number; i += 64) __builtin_prefetch(place + i, 1);
    };
    for (int h = 0; h < kv_heads_; ++h) {
      long at = h * row.columns + row.sight.column;
      fetch(row.k, at, head_dim_);
      fetch(row.v, at, v_dim_);
    }
  }
}

void BoundAttention::attend(const float* q,
                            const Queries& queries,
                            const std::vector<std::vector<cpu::KeyPiece>>& pieces,
                            const std::vector<Keys>& keys,
                            const Rows& rows,
                            float* mixed) const {
  std::vector<cpu::RowKeys> seen;
  for (int b = 0; b < rows.batch; ++b) {
    cpu::RowKeys r{.pieces = pieces[b].data(),
                   .count = int(pieces[b].size()),
                   .offset = rows.offsets[b] + queries.first[b],
                   .end = rows.end(b)};
    for (auto& p : pieces[b]) r.keys += p.keys;
    if (!keys.empty()) {
      auto& sight = keys[b].sight;
      r.kept_first = sight.kept.first, r.kept_last = sight.kept.last;
      if (!sight.key_index.empty()) r.index = sight.key_index.data();
    }
    seen.push_back(r);
  }
  // Rows that ask for the same number of tokens are one call.
  for (int b = 0, next; b < rows.batch; b = next) {
    int count = queries.count[b];
    for (next = b + 1; next < rows.batch && queries.count[next] == count;) ++next;
    long q_row = long(count) * heads_ * head_dim_, out_row = long(count) * heads_ * v_dim_;
    cpu::attention(
        {.rows = next - b,
         .heads = heads_,
         .kv_heads = kv_heads_,
         .queries = count,
         .k_size = head_dim_,
         .v_size = v_dim_,
         .q = {.data = q, .row = q_row, .head = head_dim_, .token = long(heads_) * head_dim_},
         .keys = seen.data() + b,
         .out = mixed,
         .out_row = out_row,
         .out_head = v_dim_,
         .out_token = long(heads_) * v_dim_,
         .scale = args_.scale,
         .softcap = args_.softcap,
         .sinks = sinks_ ? sinks_->data<float>() : nullptr,
         .causal = args_.causal,
         .window = args_.window,
         .chunk = args_.chunk});
    q += (next - b) * q_row, mixed += (next - b) * out_row;
  }
}

void BoundAttention::run(const float* x,
                         const float* x_q,
                         const Queries& queries,
                         const float* residual,
                         float* y,
                         const Rows& rows,
                         const std::vector<Keys>& keys) const {
  int B = rows.batch, L = rows.length, T = B * L, N = queries.tokens;
  int q_size = heads_ * head_dim_, k_size = kv_heads_ * head_dim_, v_size = kv_heads_ * v_dim_;
  Scratch scratch(size_t(T) * (k_size + v_size) + size_t(N) * (q_size + heads_ * v_dim_));
  float* q = scratch.take(size_t(N) * q_size);
  float* k = scratch.take(size_t(T) * k_size);
  float* v = scratch.take(size_t(T) * v_size);
  float* mixed = scratch.take(size_t(N) * heads_ * v_dim_);
  if (L == 1) fetch_places(keys);
  cpu::Product qkv[] = {product(*q_, q), product(*k_, k), product(*v_, v)};
  std::span<const cpu::Product> all = qkv;
  if (x_q != x) cpu::linear(x_q, inputs(), N, all.first(1));
  cpu::linear(x, inputs(), T, x_q == x ? all : all.subspan(1));
  if (q_norm_) cpu::rms_norm(q, q_norm_->values(), q_norm_->eps, N * heads_, head_dim_, q);
  if (k_norm_) cpu::rms_norm(k, k_norm_->values(), k_norm_->eps, T * kv_heads_, head_dim_, k);

  std::vector<std::vector<cpu::KeyPiece>> pieces(B);
  float* qb = q;
  for (int b = 0; b < B; ++b) {
    float* kb = k + size_t(b) * L * k_size;
    const float* vb = v + size_t(b) * L * v_size;
    int first = queries.first[b], count = queries.count[b];
    turn_row(qb, b, heads_, {qb, head_dim_, q_size, first, count}, rows);
    qb += size_t(count) * q_size;
    if (keys.empty()) {
      turn_row(kb, b, kv_heads_, {kb, head_dim_, k_size, 0, L}, rows);
      pieces[b].push_back({.k = {.data = kb, .head = head_dim_, .token = k_size},
                           .v = {.data = vb, .head = v_dim_, .token = v_size},
                           .keys = L});
      continue;
    }
    const Keys& row = keys[b];
    keep_row(kb, vb, b, row, rows);
    pieces[b] = row.before;
    if (row.sight.seen) pieces[b].push_back(kept(row));
  }
  attend(q, queries, pieces, keys, rows, mixed);

  cpu::Product out = product(*o_, y);
  out.residual = residual;
  out.residual_stride = o_->outputs();
  cpu::linear(mixed, heads_ * v_dim_, N, {&out, 1});
}

std::shared_ptr<const BoundMlp> BoundMlp::of(const Mlp& m) {
  auto b = std::make_shared<BoundMlp>();
  if (m.gate && !(b->gate_ = BoundWeight::of(m.gate))) return {};
  b->up_ = BoundWeight::of(m.up);
  b->down_ = BoundWeight::of(m.down);
  b->glu_ = m.glu;
  if (!b->up_ || !b->down_ || b->up_->stacked() || b->down_->stacked()) return {};
  return b;
}

bool BoundMlp::operator==(const BoundMlp& other) const {
  return gate_ == other.gate_ && up_ == other.up_ && down_ == other.down_;
}

void BoundMlp::run(const float* x, const float* residual, float* y, int rows) const {
  constexpr int kRows = 512;  // together: what lies between is then a few tens of MB at most
  int in = up_->inputs(), hidden = up_->outputs(), out = down_->outputs();
  Scratch scratch(size_t(std::min(rows, kRows)) * hidden * 2);
  float* up = scratch.take(size_t(std::min(rows, kRows)) * hidden);
  float* gate = scratch.take(size_t(std::min(rows, kRows)) * hidden);
  for (int from = 0; from < rows; from += kRows) {
    int n = std::min(kRows, rows - from);
    const float* part = x + size_t(from) * in;
    if (gate_) {
      cpu::Product both[] = {product(*gate_, gate), product(*up_, up)};
      cpu::linear(part, in, n, both);
      cpu::gated(gate, hidden, up, hidden, gate_of(glu_), n, hidden, up, hidden);
    } else {
      cpu::Product one = product(*up_, up);
      cpu::linear(part, in, n, {&one, 1});
      cpu::activate(up, act_of(glu_.act), long(n) * hidden, up);
    }
    cpu::Product down = product(*down_, y + size_t(from) * out);
    if (residual) down.residual = residual + size_t(from) * out;
    down.residual_stride = out;
    cpu::linear(up, hidden, n, {&down, 1});
  }
}

std::shared_ptr<const BoundLayer> BoundLayer::of(const LayerPlan& p) {
  auto attn = BoundAttention::of(p.attn);
  auto mlp = attn ? BoundMlp::of(p.mlp) : nullptr;
  if (!mlp) return {};
  std::vector<std::uintptr_t> norms{
      id(p.pre_attn.weight), id(p.pre_mlp.weight), id(p.post_attn), id(p.post_mlp)};
  auto bound = std::atomic_load(&p.bound);
  if (bound && bound->attn_ == attn && *bound->mlp_ == *mlp && bound->made_from_ == norms)
    return bound;
  auto made = std::make_shared<BoundLayer>();
  auto pre_attn = bind_norm(p.pre_attn), pre_mlp = bind_norm(p.pre_mlp);
  if (!pre_attn || !pre_mlp) return {};
  if (p.post_attn && !(made->post_attn_ = bind_norm(*p.post_attn))) return {};
  if (p.post_mlp && !(made->post_mlp_ = bind_norm(*p.post_mlp))) return {};
  made->pre_attn_ = *pre_attn, made->pre_mlp_ = *pre_mlp;
  made->attn_ = std::move(attn), made->mlp_ = std::move(mlp);
  made->made_from_ = std::move(norms);
  std::atomic_store(&p.bound, std::shared_ptr<const BoundLayer>(made));
  return made;
}

void BoundLayer::run(const float* h,
                     float* y,
                     const Rows& rows,
                     const std::vector<BoundAttention::Keys>& keys) const {
  int T = rows.batch * rows.length, D = attn_->outputs();
  Scratch scratch(size_t(T) * D);
  float* x = scratch.take(size_t(T) * D);
  cpu::rms_norm(h, pre_attn_.values(), pre_attn_.eps, T, D, x);
  run(x, x, h, BoundAttention::Queries::all(rows), y, rows, keys);
}

void BoundLayer::run_needed(const float* h,
                            float* y,
                            const Rows& rows,
                            const std::vector<BoundAttention::Keys>& keys) const {
  auto queries = BoundAttention::Queries::needed(rows);
  int T = rows.batch * rows.length, D = attn_->outputs(), N = queries.tokens;
  if (2 * N > T) return run(h, y, rows, keys);  // a product of its own for q, and copies, cost more
  Scratch scratch(size_t(T) * D + size_t(N) * D * 3);
  float* x = scratch.take(size_t(T) * D);
  float* h_q = scratch.take(size_t(N) * D);
  float* x_q = scratch.take(size_t(N) * D);
  float* y_q = scratch.take(size_t(N) * D);
  cpu::rms_norm(h, pre_attn_.values(), pre_attn_.eps, T, D, x);
  auto each_row = [&](auto copy) {
    size_t at = 0;
    for (int b = 0; b < rows.batch; ++b) {
      size_t from = (size_t(b) * rows.length + queries.first[b]) * D;
      size_t size = size_t(queries.count[b]) * D;
      copy(from, at, size);
      at += size;
    }
  };
  each_row([&](size_t from, size_t at, size_t size) {
    std::copy_n(h + from, size, h_q + at);
    std::copy_n(x + from, size, x_q + at);
  });
  run(x, x_q, h_q, queries, y_q, rows, keys);
  std::fill_n(y, size_t(T) * D, 0.f);
  each_row([&](size_t to, size_t at, size_t size) { std::copy_n(y_q + at, size, y + to); });
}

void BoundLayer::run(const float* x,
                     float* x_q,
                     const float* h,
                     const BoundAttention::Queries& queries,
                     float* y,
                     const Rows& rows,
                     const std::vector<BoundAttention::Keys>& keys) const {
  int N = queries.tokens, D = attn_->outputs();
  Scratch scratch(size_t(N) * D);
  float* mid = scratch.take(size_t(N) * D);
  attn_->run(x, x_q, queries, post_attn_ ? nullptr : h, mid, rows, keys);
  if (post_attn_) norm_and_add(*post_attn_, mid, h, N, D);
  cpu::rms_norm(mid, pre_mlp_.values(), pre_mlp_.eps, N, D, x_q);
  mlp_->run(x_q, post_mlp_ ? nullptr : mid, y, N);
  if (post_mlp_) norm_and_add(*post_mlp_, y, mid, N, D);
}

}  // namespace mlxcpp::ops::detail
