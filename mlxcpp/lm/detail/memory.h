// How much memory a model may take.
#pragma once

#include "mlxcpp/nn/file_tensors.h"

#include <cstdint>
#include <optional>
#include <string>

namespace mlxcpp::lm::detail {

/// Bytes that this process can still get: what the machine has free, within the limit of its
/// control group.  Nothing where that can not be known.
std::optional<std::uint64_t> available_memory();

/// Steps after which MLX's buffer cache is given back, as in mlx-lm.
inline constexpr int kClearEvery = 256;

std::string mebibytes(std::uint64_t bytes);  ///< "93 MiB", for messages

/// Throws CapacityError with both figures when `needed` is more than `limit` (0: what is free).
void require_memory(std::uint64_t needed, std::uint64_t limit);

/// Where weights of so many bytes are to lie: as asked, else resident when they take at most half
/// of what is free.  Throws as require_memory(); but maps that were asked for may be larger than
/// what is free, because the system can take back their pages.
nn::Residency choose_residency(nn::Residency asked, std::uint64_t bytes, std::uint64_t limit);

}  // namespace mlxcpp::lm::detail
