// Where the numbers of weights lie while a model runs: in the map of their file, or in memory that
// was read from it.
#pragma once

#include "mlxcpp/io/file.h"
#include "mlxcpp/ops/mx.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

namespace mlxcpp::io {
class Arena;
}

namespace mlxcpp::nn {

/// automatic: whoever loads decides by what memory is free.
enum class Residency { automatic, mapped, resident };

/// Which row of a file becomes row r.
struct RowOrder {
  /// > 0: in each run of so many rows those of two halves alternate, and are put back.
  int head_rows = 0;
  std::size_t operator()(std::size_t r) const {
    if (!head_rows) return r;
    std::size_t rows = std::size_t(head_rows), head = r / rows, i = r % rows, half = rows / 2;
    return head * rows + (i < half ? 2 * i : 2 * (i - half) + 1);
  }
};

/// A tensor as a file has it.
struct StoredTensor {
  std::span<const std::byte> bytes;  // within the map of its file
  mx::Shape shape;
  mx::Dtype dtype;
};

/// Arrays over tensors of files.  Where they are resident, numbers are there after read(): graphs
/// may be built before, but not evaluated.
class FileTensors {
 public:
  /// mapped or resident.
  explicit FileTensors(Residency residency) : resident_(residency == Residency::resident) {}

  /// The tensor without a copy.  What a map has in another order is copied, what it has at
  /// addresses that do not fit the dtype is resident.  `file` null: a copy, made now.
  array place(const std::shared_ptr<const io::MappedFile>& file,
              const StoredTensor& tensor,
              RowOrder order = {});

  /// Reads what place() promised, but for what nobody holds any more, over all threads.  Throws
  /// IoError.  `progress` is told the bytes done and in all, on this thread, and may throw.
  void read(const std::function<void(std::uint64_t, std::uint64_t)>& progress = {});

 private:
  struct Piece;  // of an arena, while an array holds it
  struct Part {
    std::weak_ptr<const Piece> piece;
    std::shared_ptr<const io::MappedFile> file;
    std::size_t offset;
    std::span<std::byte> to;
    std::size_t row_bytes;
    RowOrder order;
  };
  std::span<std::byte> take(const io::MappedFile& file, std::size_t bytes);
  static void fill(const Part& part);

  bool resident_;
  std::shared_ptr<io::Arena> arena_;
  std::vector<Part> parts_;
};

}  // namespace mlxcpp::nn
