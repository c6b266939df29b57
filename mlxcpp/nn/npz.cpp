#include "mlxcpp/base/error.h"
#include "mlxcpp/io/npy.h"
#include "mlxcpp/nn/checkpoint.h"

#include <mlx/ops.h>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

namespace mlxcpp::nn {
namespace {

constexpr std::pair<std::string_view, mx::Dtype> kDtypes[] = {{"bool", mx::bool_},
                                                              {"uint8", mx::uint8},
                                                              {"uint16", mx::uint16},
                                                              {"uint32", mx::uint32},
                                                              {"uint64", mx::uint64},
                                                              {"int8", mx::int8},
                                                              {"int16", mx::int16},
                                                              {"int32", mx::int32},
                                                              {"int64", mx::int64},
                                                              {"float16", mx::float16},
                                                              {"float32", mx::float32},
                                                              {"bfloat16", mx::bfloat16}};

mx::Dtype dtype_of(const io::Npy& npy) {
  return std::ranges::find(kDtypes, npy.dtype, [](auto& d) { return d.first; })->second;
}

mx::Shape shape_of(const io::Npy& npy, const std::string& label) {
  mx::Shape shape;
  for (auto extent : npy.shape) {
    if (extent > INT32_MAX)
      throw WeightError(
          describe(label, "extent too large", "at most 2147483647", std::to_string(extent)));
    shape.push_back(int(extent));
  }
  return shape;
}

void swap_bytes(std::byte* data, const io::Npy& npy) {
  if (!npy.big_endian || npy.item_size == 1) return;
  for (std::uint64_t at = 0; at < npy.data_bytes; at += npy.item_size)
    std::reverse(data + at, data + at + npy.item_size);
}

/// The bytes of the file become the array's own.
array as_array(std::vector<std::byte> file, const io::Npy& npy, const std::string& label) {
  mx::Shape shape = shape_of(npy, label);
  if (npy.fortran_order) std::ranges::reverse(shape);
  std::uint64_t begin = npy.data_begin;
  if (begin % alignof(std::max_align_t)) {  // NumPy aligns the data; others need not
    std::copy_n(file.begin() + std::ptrdiff_t(begin), npy.data_bytes, file.begin());
    begin = 0;
  }
  swap_bytes(file.data() + begin, npy);
  auto owner = std::make_shared<std::vector<std::byte>>(std::move(file));
  array a(owner->data() + begin, shape, dtype_of(npy), [owner](void*) mutable { owner.reset(); });
  return npy.fortran_order ? mx::contiguous(mx::transpose(a)) : a;
}

}  // namespace

std::map<std::string, array> load_npz(const std::filesystem::path& path) {
  auto archive = io::Npz::open(path);
  std::map<std::string, array> all;
  for (auto& member : archive.members()) {
    auto [npy, file] = archive.read(member);
    all.emplace(member.name, as_array(std::move(file), npy, archive.label(member)));
  }
  return all;
}

}  // namespace mlxcpp::nn
