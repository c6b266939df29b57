// How much work is worth other threads.
#pragma once

#include "mlxcpp/ops/cpu/pool.h"

#include <algorithm>

namespace mlxcpp::cpu::detail {

/// Calls f(from, to) for parts of [0, items), on several threads where all of it takes long enough.
/// What f does with an item may not depend on the part.
template <class F>
void split(long items, double item_nanoseconds, F&& f) {
  constexpr double kWorthwhile = 20e3, kPart = 10e3;
  double all = double(items) * item_nanoseconds;
  if (all < kWorthwhile || items < 2) {
    if (items > 0) f(0L, items);
    return;
  }
  long part = std::max(1L, long(kPart / item_nanoseconds));
  int parts = int((items + part - 1) / part);
  Pool::instance().run(parts, [&](int i) {
    long from = long(i) * part;
    f(from, std::min(items, from + part));
  });
}

}  // namespace mlxcpp::cpu::detail
