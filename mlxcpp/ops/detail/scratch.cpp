#include "mlxcpp/ops/detail/scratch.h"

#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

namespace mlxcpp::ops::detail {
namespace {

constexpr std::size_t kLine = 16;               // floats of 64 bytes
constexpr std::size_t kKept = (32u << 20) / 4;  // floats

struct Free {
  void operator()(float* p) const { std::free(p); }
};
struct Block {
  std::unique_ptr<float, Free> data;
  std::size_t size = 0;
};
/// One block for each depth of scopes.
struct Blocks {
  std::vector<Block> all;
  std::size_t depth = 0;
};
Blocks& blocks() {
  thread_local Blocks b;
  return b;
}

}  // namespace

Scratch::Scratch(std::size_t floats) {
  Blocks& b = blocks();
  if (b.depth == b.all.size()) b.all.emplace_back();
  Block& block = b.all[b.depth];
  floats += 8 * kLine;
  if (block.size < floats) {
    block.data.reset();
    block.size = 0;
    std::size_t bytes = (floats * sizeof(float) + 4095) / 4096 * 4096;
    block.data.reset(static_cast<float*>(std::aligned_alloc(4096, bytes)));
    if (!block.data) throw std::bad_alloc();
    block.size = bytes / sizeof(float);
  }
  ++b.depth;
  next_ = block.data.get();
}

Scratch::~Scratch() {
  Blocks& b = blocks();
  Block& block = b.all[--b.depth];
  if (block.size > kKept) block = {};
}

float* Scratch::take(std::size_t n) {
  float* p = next_;
  next_ += (n + kLine - 1) / kLine * kLine;
  return p;
}

}  // namespace mlxcpp::ops::detail
