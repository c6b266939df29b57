#include "mlxcpp/ops/cpu/quantised.h"

namespace mlxcpp::cpu {
namespace {

/// Kernels read scales in vectors of up to sixteen, from any multiple of sixteen times 64 columns
/// on.
constexpr long kGroupColumns = 1024;

long padded_to(long n, long multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

std::size_t quantised_bytes(int rows, int columns) {
  long planes = 8 * padded_to(columns, QuantisedRows::kPadded);
  long groups =
      2 * QuantisedRows::kLevels * long(sizeof(float)) * (padded_to(columns, kGroupColumns) / 16);
  return std::size_t(rows) * std::size_t(planes + groups);
}

QuantisedRows quantised_rows(void* memory, int rows, int columns) {
  QuantisedRows x;
  x.rows = rows, x.columns = columns;
  x.padded = int(padded_to(columns, QuantisedRows::kPadded));
  x.group_stride = padded_to(columns, kGroupColumns) / 16;
  char* p = static_cast<char*>(memory);
  auto take = [&]<class T>(T*& array, long n) {
    array = reinterpret_cast<T*>(p);
    p += n * long(sizeof(T)) * rows;
  };
  take(x.high, x.padded);
  take(x.low, x.padded);
  take(x.high_split, x.padded);
  take(x.low_split, x.padded);
  take(x.high_halves, x.padded);
  take(x.low_halves, x.padded);
  take(x.wide, x.padded);
  for (auto& level : x.scales) take(level, x.group_stride);
  for (auto& level : x.sums) take(level, x.group_stride);
  return x;
}

QuantisedRows rows_from(const QuantisedRows& x, int row, int rows) {
  QuantisedRows part = x;
  part.rows = rows;
  long columns = long(row) * x.padded, groups = row * x.group_stride;
  part.high += columns, part.low += columns;
  part.high_split += columns, part.low_split += columns;
  part.high_halves += columns, part.low_halves += columns;
  part.wide += columns;
  for (auto& level : part.scales) level += groups;
  for (auto& level : part.sums) level += groups;
  return part;
}

bool dense(Coding c) {
  return c == Coding::f32 || c == Coding::f16 || c == Coding::bf16 || c == Coding::mxfp8;
}

}  // namespace mlxcpp::cpu
