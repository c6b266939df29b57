#include "mlxcpp/lm/detail/budget.h"

#include "mlxcpp/base/error.h"
#include "mlxcpp/lm/detail/memory.h"
#include "mlxcpp/lm/model.h"
#include "mlxcpp/ops/device.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

namespace mlxcpp::lm::detail {

std::uint64_t widest(const LanguageModel& model) {
  std::uint64_t most = 0, vocab = std::uint64_t(model.vocab_size());
  for (auto& [path, p] : model.manifest().params)
    for (int n : p->shape())
      if (std::uint64_t(n) < vocab) most = std::max(most, std::uint64_t(n));
  return most;
}

namespace {

constexpr int kColumns = 256;  // storage grows by so many tokens

/// Values that a pass holds at once for a token: as wide as the widest matrix but the vocabulary's,
/// a handful of times.
std::uint64_t pass_bytes(const LanguageModel& model, int rows, int chunk) {
  std::uint64_t vocab = std::uint64_t(model.vocab_size());
  return 4 * (8 * widest(model) * std::uint64_t(std::max(rows, chunk)) +
              4 * vocab * std::uint64_t(rows));
}

/// Of a key or value that is packed, with its scales and biases.
double packed_bytes(int size, int bits, int group_size) {
  double value = ops::on_cpu() ? 4 : 2;
  return bits ? size * (bits / 8.0 + 2 * value / group_size) : size * value;
}

std::uint64_t kv_bytes(const ops::KvLayout& kv, const CacheOptions& o, int tokens) {
  auto columns = [](double n) { return std::ceil(n / kColumns) * kColumns; };
  double kept = columns(tokens * 1.25);  // storage grows by a quarter of what there is
  // A ring holds a chunk beside its window while a prompt is computed.
  if (o.max_kv_size) kept = std::min(kept, 2 * columns(o.max_kv_size));
  if (o.rotate && kv.window) kept = std::min(kept, 2 * columns(kv.window));
  double plain = (double(kv.k_dim) + kv.v_dim) * kv_number_bytes(kv, o.quant);
  double bytes = kept * plain;
  if (o.quant.packs() && tokens > o.quant.start) {
    auto& q = o.quant;
    bytes = kept * (packed_bytes(kv.k_dim, q.k_bits, q.group_size) +
                    packed_bytes(kv.v_dim, q.v_bits, q.group_size));
    bytes += std::min(kept, columns(q.start)) * plain;  // both, while it is packed
  }
  return std::uint64_t(bytes * kv.heads);
}

}  // namespace

std::uint64_t cache_bytes(const CacheLayout& layout, const CacheOptions& options, int tokens) {
  std::uint64_t all = 0;
  for (auto& layer : layout) {
    for (auto& kv : layer.kv) all += kv_bytes(kv, options, tokens);
    for (auto& shape : layer.states) {
      std::uint64_t n = 4;
      for (int extent : shape) n *= std::uint64_t(extent);
      all += n;
    }
  }
  return all;
}

Budget::Budget(const LanguageModel& model, std::uint64_t limit, int rows, int chunk)
    : counts_weights_(limit != 0) {
  std::uint64_t fixed = pass_bytes(model, rows, chunk) + (limit ? model.nbytes() : 0);
  auto all = limit ? std::optional(limit) : available_memory();
  limit_ = !all ? std::numeric_limits<std::uint64_t>::max() : *all > fixed ? *all - fixed : 0;
  if (limit_ == 0)
    throw CapacityError(describe(
        "memory_limit",
        "leaves nothing for caches",
        "more than " + mebibytes(fixed) + (limit ? " for the weights and a pass" : " for a pass"),
        mebibytes(*all)));
}

std::uint64_t Budget::draft_bytes(const LanguageModel& draft, int chunk) const {
  return pass_bytes(draft, 1, chunk) + (counts_weights_ ? draft.nbytes() : 0);
}

bool Budget::reserve(std::uint64_t bytes) {
  if (!fits(bytes)) return false;
  used_ += bytes;
  return true;
}

}  // namespace mlxcpp::lm::detail
