#include "mlxcpp/ops/cpu/recurrent.h"

#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/cpu/pool.h"

#include <algorithm>

namespace mlxcpp::cpu {
namespace {

constexpr int kGrain = 1 << 15;  // numbers that are worth a chunk of their own

int pieces(long size, long grain) { return int(std::max(1L, (size + grain - 1) / grain)); }

/// How a row's heads and states are dealt out.  Where it cuts, sums are not: each row of a state
/// has its own.
struct Deal {
  int heads, p;               // of one chunk
  int head_chunks, p_chunks;  // of one row
};
Deal deal(const Recurrence& r, int threads) {
  int sharing = r.heads / r.key_heads;
  Deal d{sharing, r.p, 0, 0};
  long work = long(r.tokens) * r.p * r.n;  // of one head
  auto chunks = [&] { return long(r.rows) * r.key_heads * (sharing / d.heads); };
  auto large = [&] { return work * d.heads > 2 * kGrain && chunks() < 4L * threads; };
  while (d.heads > 1 && (large() || sharing % d.heads)) --d.heads;
  d.head_chunks = r.heads / d.heads;
  d.p_chunks = 1;
  if (d.heads == 1 && work > 2 * kGrain)
    while (d.p_chunks < 8 && r.rows * d.head_chunks * d.p_chunks < 4 * threads &&
           r.p / d.p_chunks > 32)
      d.p_chunks *= 2;
  d.p = (r.p / d.p_chunks + 15) / 16 * 16;
  d.p_chunks = pieces(r.p, d.p);
  return d;
}

}  // namespace

void time_steps(const TimeSteps& t) {
  auto& kernels = machine().kernels->recurrent;
  int tokens = std::max(1, kGrain / 8 / std::max(1, t.heads)), blocks = pieces(t.tokens, tokens);
  Pool::instance().run(t.rows * blocks, [&](int i) {
    int row = i / blocks, first = i % blocks * tokens;
    for (int k = first; k < std::min(t.tokens, first + tokens); ++k) kernels.time_steps(t, row, k);
  });
}

void recurrence(const Recurrence& given) {
  Recurrence r = given;
  r.stepwise |= machine().deterministic;
  auto& kernels = machine().kernels->recurrent;
  Deal d = deal(r, Pool::instance().threads());
  size_t bytes = sizeof(float) * kernels.recurrence_scratch(r.n);
  int of_row = d.head_chunks * d.p_chunks;
  Pool::instance().run(r.rows * of_row, [&](int i) {
    auto* scratch = static_cast<float*>(thread_scratch(bytes, 0));
    int head = i % of_row / d.p_chunks * d.heads, p = i % d.p_chunks * d.p;
    kernels.recurrence(r, i / of_row, head, head + d.heads, p, std::min(r.p, p + d.p), scratch);
  });
}

void causal_conv(const CausalConv& c) {
  auto& kernels = machine().kernels->recurrent;
  // Long rows, but some for each thread.
  int block = c.channels / (4 * Pool::instance().threads()) / 64 * 64;
  block = std::clamp(block, c.tokens > 8 ? 64 : 512, 1024);
  int blocks = pieces(c.channels, block);
  size_t bytes = sizeof(float) * kernels.causal_conv_scratch(c.kernel, block);
  Pool::instance().run(c.rows * blocks, [&](int i) {
    auto* scratch = static_cast<float*>(thread_scratch(bytes, 0));
    int from = i % blocks * block;
    kernels.causal_conv(c, i / blocks, from, std::min(c.channels, from + block), scratch);
  });
}

void gated_norm(const GatedNorm& g) {
  auto& kernels = machine().kernels->recurrent;
  long size = long(g.groups) * g.size;
  int rows = int(std::max(1L, kGrain / 4 / std::max(1L, size)));
  int blocks = pieces(g.rows, rows);
  Pool::instance().run(blocks, [&](int i) {
    for (int row = i * rows; row < std::min(g.rows, (i + 1) * rows); ++row)
      kernels.gated_norm(g, row);
  });
}

}  // namespace mlxcpp::cpu
