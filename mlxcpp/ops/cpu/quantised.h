// Where activations stand once they are quantised.
#pragma once

#include "mlxcpp/ops/cpu/kernels.h"

namespace mlxcpp::cpu {

/// How much memory so many rows need, and how they lie in it: aligned to 64 bytes.  The numbers are
/// written by MatrixKernels::quantise, row by row.
std::size_t quantised_bytes(int rows, int columns);
QuantisedRows quantised_rows(void* memory, int rows, int columns);
/// Some of the rows.
QuantisedRows rows_from(const QuantisedRows& x, int row, int rows);

/// Codings whose numbers are no small integers: not for MatrixKernels::dots.
bool dense(Coding coding);

}  // namespace mlxcpp::cpu
