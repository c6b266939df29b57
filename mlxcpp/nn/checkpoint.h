// Makes a WeightMap's arrays of the tensors of a checkpoint, without evaluating anything.
#pragma once

#include "mlxcpp/io/weight_files.h"
#include "mlxcpp/nn/file_tensors.h"
#include "mlxcpp/ops/mx.h"

#include <cstdint>
#include <map>
#include <string>

namespace mlxcpp::nn {

/// What becomes of F8_E4M3, which MLX has not: nothing tells its bytes from uint8 afterwards.
enum class Fp8 { refused, as_bytes };

/// Every tensor in safetensors files, in their stored dtypes; headers are checked first.  With an
/// index, only what it names.  With `tensors` (for CPUs), arrays are theirs; without, MLX's, lazy.
/// Throws WeightError naming file and tensor.
std::map<std::string, array> load_safetensors(const io::WeightFiles& files,
                                              Fp8 fp8 = Fp8::refused,
                                              FileTensors* tensors = nullptr);

/// The arrays of a .npz archive, read now.  Throws WeightError naming file and member.
std::map<std::string, array> load_npz(const std::filesystem::path& path);

/// The bytes that the tensors of these files take in memory.
std::uint64_t tensor_bytes(const io::WeightFiles& files);

}  // namespace mlxcpp::nn
