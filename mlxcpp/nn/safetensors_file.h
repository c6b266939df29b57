// Writes arrays to a safetensors file: the whole new file or none.
#pragma once

#include "mlxcpp/ops/mx.h"

#include <filesystem>
#include <string>
#include <unordered_map>

namespace mlxcpp::nn {

/// Evaluates the arrays.  Throws IoError, for example on a full disk; `path` is then as it was.
void write_safetensors(const std::filesystem::path& path,
                       const std::unordered_map<std::string, array>& arrays,
                       const std::unordered_map<std::string, std::string>& metadata = {});

}  // namespace mlxcpp::nn
