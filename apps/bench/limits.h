// What this machine can do: how fast it reads memory, and how fast it multiplies.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mlxcpp::apps::bench {

/// Multiply-adds a second with operands in registers, over all threads; 0: the tier has no such
/// instruction.
struct Peaks {
  double f32 = 0, half = 0, byte = 0, tile_half = 0;
};
/// Takes a few hundredths of a second.
Peaks measure_peaks();

/// The most that kernels of the usual accuracy can reach: 16-bit activations take two products of
/// bytes; rounding to bfloat16 is not allowed when results must not depend on the batch.
double usable(const Peaks& peaks, bool deterministic);

/// Bytes a second that all threads together read from a buffer of this size, in 2 MiB pages, by
/// chunks as the kernels do.  The buffer lives as long as the call: what a model takes is measured
/// without it.  Throws CapacityError when there is no such memory.
double measure_reading(std::uint64_t bytes);

/// Forgets how much memory the process had at most, where the system can; and what it had at most
/// since.
void forget_peak_memory();
std::uint64_t peak_memory();

}  // namespace mlxcpp::apps::bench
