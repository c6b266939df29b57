#include "mlxcpp/ops/cpu/attention.h"

#include "mlxcpp/ops/cpu/detail/split.h"
#include "mlxcpp/ops/cpu/features.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

namespace mlxcpp::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// Memory handed out in pieces of whole cache lines.
class Arena {
 public:
  explicit Arena(void* start) : start_(static_cast<char*>(start)) {}
  template <class T = float>
  T* take(long n) {
    char* piece = start_ + used_;
    used_ += (sizeof(T) * std::size_t(n) + 63) / 64 * 64;
    return reinterpret_cast<T*>(piece);
  }

 private:
  char* start_;
  std::size_t used_ = 0;
};

bool is_half(const KeyNumbers& x) { return !x.data && x.packed.coding == Coding::f16; }
/// From token `at` of a head on.
const unsigned short* halves(const KeyNumbers& x, int kv_head, int at) {
  auto* data = static_cast<const char*>(x.packed.data);
  return reinterpret_cast<const unsigned short*>(data + kv_head * x.head_bytes +
                                                 at * x.packed.row_bytes);
}

/// Some queries of one row, with heads that share keys.  Row r of a tile is query r / heads and
/// head r % heads.
struct Tile {
  int row, kv_head, query, queries, head, heads;
  int rows() const { return queries * heads; }
};

/// Blocks that some query of a tile may see, and how many of the row's keys.
struct Visible {
  int from = 0, to = 0, keys = 0;
};

/// Rows that an Attended has memory for.
long room_for(int rows) {
  constexpr int kTogether = Attended::kRowsTogether;
  return (long(rows) + kTogether - 1) / kTogether * kTogether;
}

/// What one thread needs for one tile.
struct Workspace {
  KeyBlock keys = {};
  Attended block, all;
  unsigned char* allowed;  // null: Sight tells who is seen
  float *k, *v;            // for a block that does not lie in one piece; null: all do
  void* scratch;
};

/// One call of attention().
class Job {
 public:
  Job(const Attention& a, const AttentionKernels& kernels, const Kernels& all, bool same_sums)
      : a_(a),
        kernels_(kernels),
        simple_(all.elementwise),
        unpack_(all.matrix.unpack),
        group_(a.heads / a.kv_heads),
        same_sums_(same_sums) {
    tile_heads_ = std::min(group_, kernels.most_rows);
    head_parts_ = (group_ + tile_heads_ - 1) / tile_heads_;
    tile_queries_ = std::clamp(kernels.most_rows / tile_heads_, 1, a.queries);
    query_parts_ = (a.queries + tile_queries_ - 1) / tile_queries_;
    k_padded_ = (a.k_size + 3) / 4 * 4;
    stride_ = (a.v_size + 15) / 16 * 16;
    for (int b = 0; b < a.rows; ++b) {
      const RowKeys& r = a.keys[b];
      scattered_ |= r.count > 1 || (r.count == 1 && !(r.pieces->k.data && r.pieces->v.data));
      written_ |= r.allowed || a.spans;
    }
  }

  void run() const {
    int threads = Pool::instance().threads(), n = count();
    if (threads == 1 || nanoseconds() < 6e3) {  // less is not worth waiting for others
      for (int i = 0; i < n; ++i) whole(tile(i));
    } else if (n >= 4 * threads) {
      Pool::instance().run(n, [&](int i) { whole(tile(n - 1 - i)); });  // the longest first
    } else {
      split(n);
    }
  }

 private:
  int count() const { return a_.rows * a_.kv_heads * head_parts_ * query_parts_; }
  double nanoseconds() const {
    double keys = 0;
    for (int b = 0; b < a_.rows; ++b) keys += double(a_.keys[b].keys) * (a_.k_size + a_.v_size);
    return keys * a_.kv_heads * 0.15 + keys * a_.heads * a_.queries * 0.015;
  }
  Tile tile(int i) const;
  Sight sight(int row, int query) const;
  Visible visible(const Tile& t) const;
  Attended attended(Arena& memory, const Tile& t) const;
  KeyBlock prepare(const Tile& t, Arena& memory) const;
  int blocks(int row) const { return (a_.keys[row].keys + kKeyBlock - 1) / kKeyBlock; }
  void point_at(Workspace* w, const Tile& t, int block, int keys) const;
  void gather(const RowKeys& row, int kv_head, Workspace* w) const;
  void copy(const KeyNumbers& from, int kv_head, int first, int keys, int size, float* to) const;
  void fill_allowed(const Tile& t, int first, int keys, unsigned char* allowed) const;
  Workspace workspace(const Tile& t) const;
  void clear(const Attended& y, int rows) const;
  void whole(const Tile& t) const;
  void split(int tiles) const;
  void finish(const Tile& t, const Attended& y) const;

  const Attention& a_;
  const AttentionKernels& kernels_;
  const ElementwiseKernels& simple_;
  decltype(MatrixKernels::unpack) unpack_;
  int group_, tile_heads_, head_parts_, tile_queries_, query_parts_, k_padded_, stride_;
  bool scattered_ = false, written_ = false, same_sums_;
};

Tile Job::tile(int i) const {
  Tile t;
  int of_head = i / query_parts_, of_kv_head = of_head / head_parts_;
  t.query = i % query_parts_ * tile_queries_;
  t.queries = std::min(tile_queries_, a_.queries - t.query);
  int part = of_head % head_parts_ * tile_heads_;
  t.heads = std::min(tile_heads_, group_ - part);
  t.row = of_kv_head / a_.kv_heads, t.kv_head = of_kv_head % a_.kv_heads;
  t.head = t.kv_head * group_ + part;
  return t;
}

Sight Job::sight(int row, int query) const {
  const RowKeys& r = a_.keys[row];
  if (r.all) return {0, float(kNoToken), 0, 0};
  int at = r.offset + query, low = 0, high = std::min(a_.causal ? at + 1 : r.end, kNoToken);
  if (a_.window) low = std::max(low, at - a_.window + 1);
  if (a_.chunk) {
    int start = at / a_.chunk * a_.chunk;
    low = std::max(low, start), high = std::min(high, start + a_.chunk);
  }
  if (!r.kept_last) return {float(low), float(high), 0, 0};
  return {float(low), float(high), float(r.kept_first), float(at - r.kept_last + 1)};
}

Visible Job::visible(const Tile& t) const {
  const RowKeys& r = a_.keys[t.row];
  if (r.index || r.all || a_.spans) return {0, blocks(t.row), r.keys};
  float low = kInfinity, high = 0;
  for (int i = 0; i < t.queries; ++i) {
    Sight s = sight(t.row, t.query + i);
    low = std::min(low, s.low), high = std::max(high, s.high);
  }
  if (high <= low) return {};
  int keys = int(std::min(high, float(r.keys))), to = (keys + kKeyBlock - 1) / kKeyBlock;
  return {std::min(int(low) / kKeyBlock, to), to, keys};
}

Attended Job::attended(Arena& memory, const Tile& t) const {
  Attended y;
  long rows = room_for(t.rows());
  y.largest = memory.take(rows), y.sum = memory.take(rows);
  y.out = memory.take(rows * stride_), y.stride = stride_;
  return y;
}

/// What does not depend on the block.
KeyBlock Job::prepare(const Tile& t, Arena& memory) const {
  KeyBlock b = {.k_half = nullptr,
                .v_half = nullptr,
                .k_size = a_.k_size,
                .v_size = a_.v_size,
                .index = nullptr,
                .packed = nullptr,
                .rows = t.rows(),
                .k_padded = k_padded_,
                .softcap = a_.softcap,
                .allowed = nullptr,
                .group = t.heads,
                .same_sums = same_sums_};
  auto* q = memory.take(long(t.rows()) * k_padded_);
  auto* sights = memory.take<Sight>(t.rows());
  b.q = q, b.sight = sights;
  for (int i = 0; i < t.queries; ++i)
    for (int h = 0; h < t.heads; ++h, q += k_padded_) {
      const float* from =
          a_.q.data + t.row * a_.q.row + (t.head + h) * a_.q.head + (t.query + i) * a_.q.token;
      simple_.scale_shift(from, a_.scale, 0, a_.k_size, q);
      for (int d = a_.k_size; d < k_padded_; ++d) q[d] = 0;
      *sights++ = sight(t.row, t.query + i);
    }
  return b;
}

/// Written out where no Sight can say who is seen.
void Job::fill_allowed(const Tile& t, int first, int keys, unsigned char* allowed) const {
  const RowKeys& r = a_.keys[t.row];
  const int* index = r.all ? nullptr : r.index;
  const int* spans = a_.spans ? a_.spans + long(t.row) * a_.queries : nullptr;
  for (int i = 0; i < t.queries; ++i, allowed += kKeyBlock) {
    Sight s = sight(t.row, t.query + i);
    int mine = spans ? spans[t.query + i] : 0;
    for (int j = 0; j < keys; ++j) {
      int key = index ? index[first + j] : first + j, fresh = key - r.offset;
      auto at = float(key);
      bool seen = s.low <= at && at < s.high && !(s.hidden_from <= at && at < s.hidden_to);
      if (mine > 0 && fresh >= 0 && fresh < a_.queries) seen |= spans[fresh] == mine;
      if (r.allowed) seen &= r.allowed[long(t.query + i) * r.keys + first + j] != 0;
      allowed[j] = seen;
    }
    std::fill(allowed + keys, allowed + kKeyBlock, 0);
  }
}

/// Keys [first, first + keys) of a piece, in rows of `size`.
void Job::copy(
    const KeyNumbers& from, int kv_head, int first, int keys, int size, float* to) const {
  if (from.data) {
    const float* x = from.data + kv_head * from.head + first * from.token;
    for (int j = 0; j < keys; ++j, x += from.token, to += size) std::copy_n(x, size, to);
    return;
  }
  Matrix m = from.packed;
  auto shifted = [kv_head](const void* p, long bytes) {
    return static_cast<const char*>(p) + kv_head * bytes;
  };
  m.data = shifted(m.data, from.head_bytes);
  m.scales = shifted(m.scales, from.head_scale_bytes);
  m.zeros = shifted(m.zeros, from.head_scale_bytes);
  bool in_order = is_half(from) && m.row_bytes == 2L * size;
  if (in_order) return unpack_(m, first, 0, keys * size, to);
  for (int j = 0; j < keys; ++j, to += size) unpack_(m, first + j, 0, size, to);
}

/// The keys of a block from wherever they lie.
void Job::gather(const RowKeys& row, int kv_head, Workspace* w) const {
  KeyBlock& b = w->keys;
  int at = 0, end = b.first + b.keys;  // columns before the piece, and behind the block
  for (const KeyPiece* p = row.pieces; at < end; at += (p++)->keys) {
    int from = std::max(at, b.first), to = std::min(at + p->keys, end);
    if (to <= from) continue;
    copy(p->k, kv_head, from - at, to - from, a_.k_size, w->k + long(from - b.first) * a_.k_size);
    copy(p->v, kv_head, from - at, to - from, a_.v_size, w->v + long(from - b.first) * a_.v_size);
  }
  b.k = w->k, b.k_token = a_.k_size;
  b.v = w->v, b.v_token = a_.v_size;
}

/// `keys`: what comes behind so many of the row is not seen.
void Job::point_at(Workspace* w, const Tile& t, int block, int keys) const {
  const RowKeys& row = a_.keys[t.row];
  KeyBlock* b = &w->keys;
  b->first = block * kKeyBlock;
  b->keys = std::min(kKeyBlock, keys - b->first);
  const KeyPiece* p = row.pieces;
  int at = b->first;
  while (at >= p->keys) at -= (p++)->keys;
  bool whole = at + b->keys <= p->keys;
  b->k_half = b->v_half = nullptr;
  if (whole && is_half(p->k) && is_half(p->v) && kernels_.reads_half && kernels_.reads_half(*b)) {
    b->k_token = p->k.packed.row_bytes / 2, b->k_half = halves(p->k, t.kv_head, at);
    b->v_token = p->v.packed.row_bytes / 2, b->v_half = halves(p->v, t.kv_head, at);
  } else if (whole && p->k.data && p->v.data) {
    b->k = p->k.data + t.kv_head * p->k.head + at * p->k.token, b->k_token = p->k.token;
    b->v = p->v.data + t.kv_head * p->v.head + at * p->v.token, b->v_token = p->v.token;
  } else {
    gather(row, t.kv_head, w);
  }
  b->index = row.index && !row.all ? row.index + b->first : nullptr;
  if (!w->allowed) return;
  fill_allowed(t, b->first, b->keys, w->allowed);
  b->allowed = w->allowed;
}

Workspace Job::workspace(const Tile& t) const {
  std::size_t scratch = kernels_.scratch_bytes(a_.k_size, a_.v_size);
  std::size_t packed = kernels_.pack ? kernels_.packed_bytes(a_.k_size) : 0;
  std::size_t of_row = sizeof(float) * (k_padded_ + 2 * (stride_ + 2)) + sizeof(Sight) + kKeyBlock;
  std::size_t gathered = scattered_ ? sizeof(float) * kKeyBlock * (a_.k_size + a_.v_size) : 0;
  Arena memory(thread_scratch(of_row * room_for(t.rows()) + packed + gathered + scratch + 18 * 64));
  Workspace w;
  w.keys = prepare(t, memory);
  if (packed) {
    auto* queries = memory.take<char>(long(packed));
    kernels_.pack(w.keys, queries);
    w.keys.packed = queries;
  }
  w.block = attended(memory, t), w.all = attended(memory, t);
  w.allowed = written_ ? memory.take<unsigned char>(long(t.queries) * kKeyBlock) : nullptr;
  w.k = scattered_ ? memory.take(long(kKeyBlock) * a_.k_size) : nullptr;
  w.v = scattered_ ? memory.take(long(kKeyBlock) * a_.v_size) : nullptr;
  w.scratch = memory.take<char>(long(scratch));
  return w;
}

void Job::clear(const Attended& y, int rows) const {
  long n = room_for(rows);
  std::fill(y.largest, y.largest + n, -kInfinity);
  std::fill(y.sum, y.sum + n, 0.f);
  std::fill(y.out, y.out + n * stride_, 0.f);
}

/// All blocks of a tile, one after the other.
void Job::whole(const Tile& t) const {
  Workspace w = workspace(t);
  clear(w.all, t.rows());
  auto [from, to, keys] = visible(t);
  for (int block = from; block < to; ++block) {
    point_at(&w, t, block, keys);
    kernels_.block(w.keys, w.scratch, w.block);
    kernels_.merge(w.block, t.rows(), w.all);
  }
  finish(t, w.all);
}

/// Blocks of few tiles on all threads; then what they gave, in the same order as above.
void Job::split(int tiles) const {
  struct Part {
    int tile, block, keys;
    Attended y;
  };
  std::vector<Part> parts;
  std::vector<std::size_t> first;
  std::size_t bytes = 0;
  for (int i = 0; i < tiles; ++i) {
    Tile t = tile(i);
    first.push_back(parts.size());
    auto [from, to, keys] = visible(t);
    for (int block = from; block < to; ++block) parts.push_back({i, block, keys, {}});
    bytes +=
        std::size_t(to - from + 1) * (sizeof(float) * room_for(t.rows()) * (stride_ + 2) + 3 * 64);
  }
  first.push_back(parts.size());
  Arena memory(thread_scratch(bytes, 1));
  for (auto& p : parts) p.y = attended(memory, tile(p.tile));
  Pool::instance().run(int(parts.size()), [&](int i) {
    Part& p = parts[i];
    Tile t = tile(p.tile);
    Workspace w = workspace(t);
    point_at(&w, t, p.block, p.keys);
    kernels_.block(w.keys, w.scratch, p.y);
  });
  for (int i = 0; i < tiles; ++i) {
    Tile t = tile(i);
    Attended all = workspace(t).all;
    clear(all, t.rows());
    for (std::size_t p = first[i]; p < first[i + 1]; ++p) kernels_.merge(parts[p].y, t.rows(), all);
    finish(t, all);
  }
}

void Job::finish(const Tile& t, const Attended& y) const {
  std::vector<const float*> sinks;
  std::vector<float*> out;
  for (int i = 0; i < t.queries; ++i)
    for (int h = t.head; h < t.head + t.heads; ++h) {
      sinks.push_back(a_.sinks ? a_.sinks + h : nullptr);
      out.push_back(a_.out + t.row * a_.out_row + h * a_.out_head + (t.query + i) * a_.out_token);
    }
  kernels_.finish(y, t.rows(), sinks.data(), a_.v_size, out.data());
}

}  // namespace

KeyNumbers KeyNumbers::half(const void* data, long head, long token, int size) {
  KeyNumbers x;
  x.packed = {
      .data = data, .row_bytes = 2 * token, .rows = 0, .columns = size, .coding = Coding::f16};
  x.head_bytes = 2 * head;
  return x;
}

void attention(const Attention& a) {
  if (a.rows == 0 || a.heads == 0 || a.queries == 0 || a.v_size == 0) return;
  const Machine& m = machine();
  const AttentionKernels* half = m.deterministic ? nullptr : m.kernels->attention_half;
  bool enough = half && a.queries * (a.heads / a.kv_heads) >= half->least_rows;
  bool use_half = enough && !a.spans;
  for (int b = 0; b < a.rows; ++b) use_half &= !a.keys[b].allowed;
  Job(a, use_half ? *half : m.kernels->attention_f32, *m.kernels, m.deterministic).run();
}

void rotate(const Rotation& r) {
  auto& k = machine().kernels->elementwise;
  int pairs = r.dims / 2;
  double token = 50 + double(pairs) * 2 + double(r.heads) * (5 + r.size * 0.15);
  detail::split(long(r.rows) * r.tokens, token, [&](long from, long to) {
    auto* places = static_cast<float*>(thread_scratch(3 * sizeof(float) * pairs));
    float *cosines = places + pairs, *sines = cosines + pairs;
    long stream = long(r.rows) * r.tokens;
    for (long i = from; i < to; ++i) {
      long row = i / r.tokens, t = i % r.tokens;
      for (int p = 0; p < pairs; ++p)
        places[p] = float(r.positions[i + (r.axis ? r.axis[p] * stream : 0)]);
      k.turns(r.inverse + row * r.inverse_row, places, r.magnitude, pairs, cosines, sines);
      for (int h = 0; h < r.heads; ++h)
        k.turn(r.x.data + row * r.x.row + h * r.x.head + t * r.x.token,
               cosines,
               sines,
               pairs,
               r.size,
               r.traditional,
               r.out + row * r.out_row + h * r.out_head + t * r.out_token);
    }
  });
}

}  // namespace mlxcpp::cpu
