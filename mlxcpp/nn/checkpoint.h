// Reads the tensors of a checkpoint into a WeightMap's arrays, without evaluating anything.
#pragma once

#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/ops/mx.h"

#include <cstdint>
#include <map>
#include <string>

namespace mlxcpp::nn {

/// Lazy arrays of every tensor in safetensors files, in their stored dtypes; headers are checked
/// first.  With an index, only what it names.  Throws WeightError naming file and tensor.
std::map<std::string, array> load_safetensors(const io::WeightFiles& files);

/// The bytes that the tensors of these files take in memory.
std::uint64_t tensor_bytes(const io::WeightFiles& files);

}  // namespace mlxcpp::nn
