#include "mlxcpp/nn/file_tensors.h"

#include "mlxcpp/io/arena.h"
#include "mlxcpp/ops/borrowed.h"
#include "mlxcpp/ops/cpu/pool.h"

#include <algorithm>
#include <cstring>

namespace mlxcpp::nn {
namespace {

constexpr std::size_t kPiece = std::size_t{8} << 20;  // that a thread reads at once
constexpr int kPiecesAtOnce = 8;                      // between two reports

std::size_t row_bytes(const StoredTensor& t) {
  std::size_t rows = t.shape.empty() ? 1 : std::size_t(t.shape[0]);
  return rows ? t.bytes.size() / rows : 0;
}

void copy_rows(const std::byte* from, std::span<std::byte> to, std::size_t bytes, RowOrder order) {
  if (to.empty()) return;
  if (!order.head_rows) return void(std::memcpy(to.data(), from, to.size()));
  for (std::size_t r = 0; r < to.size() / bytes; ++r)
    std::memcpy(to.data() + r * bytes, from + order(r) * bytes, bytes);
}

}  // namespace

struct FileTensors::Piece {
  std::shared_ptr<io::Arena> arena;
};

std::span<std::byte> FileTensors::take(const io::MappedFile& file, std::size_t bytes) {
  std::byte* at = arena_ ? arena_->take(bytes) : nullptr;
  if (!at) {  // address space for a whole file, but at most a hundredth of it lost
    std::size_t all = std::max(file.bytes().size(), bytes);
    arena_ = io::Arena::reserve(all + all / 64 + 2 * io::Arena::kAlignment);
    at = arena_->take(bytes);
  }
  return {at, bytes};
}

array FileTensors::place(const std::shared_ptr<const io::MappedFile>& file,
                         const StoredTensor& t,
                         RowOrder order) {
  bool copy = !file || !ops::can_borrow() || t.bytes.empty();
  if (copy || (!resident_ && order.head_rows)) {
    auto [out, data] = ops::blank(t.shape, t.dtype);
    copy_rows(t.bytes.data(), {data, t.bytes.size()}, row_bytes(t), order);
    if (file) file->forget(t.bytes);
    return out;
  }
  if (!resident_ && ops::aligned(t.bytes.data(), t.dtype))
    return ops::borrowed(t.bytes.data(), t.shape, t.dtype, file);
  auto to = take(*file, t.bytes.size());
  auto piece = std::make_shared<const Piece>(Piece{arena_});
  parts_.push_back(
      {piece, file, std::size_t(t.bytes.data() - file->bytes().data()), to, row_bytes(t), order});
  return ops::borrowed(to.data(), t.shape, t.dtype, piece);
}

void FileTensors::fill(const Part& part) {
  part.file->read(part.offset, part.to);
  if (!part.order.head_rows) return;
  std::size_t head = std::size_t(part.order.head_rows) * part.row_bytes;
  std::vector<std::byte> kept(head);  // head by head, so that both stay in a core's cache
  for (std::size_t at = 0; at < part.to.size(); at += head) {
    std::memcpy(kept.data(), part.to.data() + at, head);
    copy_rows(kept.data(), part.to.subspan(at, head), part.row_bytes, part.order);
  }
}

void FileTensors::read(const std::function<void(std::uint64_t, std::uint64_t)>& progress) {
  std::vector<Part> all = std::move(parts_), pieces;
  parts_.clear();
  std::vector<std::shared_ptr<const Piece>> held;
  std::uint64_t total = 0, done = 0;
  for (auto& part : all) {
    auto piece_held = part.piece.lock();
    if (!piece_held) continue;
    held.push_back(std::move(piece_held));
    total += part.to.size();
    // Rows that change places stay together.
    std::size_t step = part.order.head_rows ? part.to.size() : kPiece;
    for (std::size_t at = 0; at < part.to.size(); at += step) {
      Part piece = part;
      piece.offset += at;
      piece.to = part.to.subspan(at, std::min(step, part.to.size() - at));
      pieces.push_back(std::move(piece));
    }
  }
  for (std::size_t first = 0; first < pieces.size();) {
    std::uint64_t bytes = 0;
    std::size_t end = first;
    while (end < pieces.size() && bytes < kPiecesAtOnce * kPiece) bytes += pieces[end++].to.size();
    cpu::Pool::instance().run(int(end - first),
                              [&](int i) { fill(pieces[first + std::size_t(i)]); });
    first = end;
    if (progress) progress(done += bytes, total);
  }
}

}  // namespace mlxcpp::nn
