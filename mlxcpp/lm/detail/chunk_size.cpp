#include "mlxcpp/lm/detail/chunk_size.h"

#include "mlxcpp/ops/device.h"

#include <algorithm>

namespace mlxcpp::lm::detail {
namespace {

/// Before anything was measured: little work also for a large model.
int first_size() { return ops::own_kernels() ? 128 : ops::on_cpu() ? 2 : 512; }

}  // namespace

ChunkSize::ChunkSize(const StepOptions& o)
    : most_(o.prefill_step_size), seconds_(o.prefill_seconds), size_(most_) {
  if (seconds_ > 0) size_ = std::min(most_, first_size());
}

void ChunkSize::learn(int tokens, double seconds) {
  if (seconds_ <= 0 || (2 * tokens < size_ && seconds < seconds_)) return;
  double fitting = tokens * seconds_ / std::max(seconds, 1e-6);
  size_ = int(std::clamp(fitting, 1.0, std::min(8.0 * size_, double(most_))));
}

}  // namespace mlxcpp::lm::detail
