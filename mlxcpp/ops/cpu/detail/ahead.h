// What threads fetch while they wait: what is known about it, and how it is shared.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace mlxcpp::cpu {

/// Memory that a later call will read, in the order of its chunks.
struct Ahead {
  struct Piece {
    const char* data;
    long bytes;
  };
  static constexpr int kMost = 4;
  Piece pieces[kMost];
  int count = 0;
};

namespace detail {

/// The beginning of a thread's share, line by line.
class Fetcher {
 public:
  static constexpr long kMost = 256 << 10;  // bytes, of a second cache of a megabyte or two
  static constexpr long kLine = 64;

  void aim(const Ahead& what, long thread, long threads) {
    what_ = what;
    long all = 0;
    for (int i = 0; i < what_.count; ++i) all += what_.pieces[i].bytes;
    at_ = all * thread / threads;
    end_ = std::min(at_ + kMost, all * (thread + 1) / threads);
    piece_ = 0;
    skip_pieces();
  }
  /// The next line, or null.
  const char* line() {
    skip_pieces();
    if (at_ >= end_ || piece_ == what_.count) return nullptr;
    const char* p = what_.pieces[piece_].data + at_;
    at_ += kLine;
    return p;
  }
  /// Fetches a few lines into the second cache; false where there were none.
  bool some() {
    constexpr int kLines = 8;  // until it is looked again whether there is work
    for (int i = 0; i < kLines; ++i) {
      const char* p = line();
      if (!p) return i > 0;
      __builtin_prefetch(p, 0, 2);
    }
    return true;
  }

 private:
  void skip_pieces() {
    for (; piece_ < what_.count && at_ >= what_.pieces[piece_].bytes; ++piece_) {
      long bytes = what_.pieces[piece_].bytes;
      at_ -= bytes, end_ -= bytes;
    }
  }

  Ahead what_;
  long at_ = 0, end_ = 0;  // from the beginning of the piece on
  int piece_ = 0;
};

/// What was read after what, the last time: a model goes through its weights in the same order for
/// each token.
class Order {
 public:
  /// What is to be expected after this, or null.
  const Ahead* after(const Ahead& now) {
    if (now.count == 0) return nullptr;
    if (entries_.empty()) entries_.resize(kEntries);
    std::size_t i = place(now.pieces[0].data);
    Entry& e = entries_[i];
    if (e.what.count == 0 || e.what.pieces[0].data != now.pieces[0].data) e.next = i;
    e.what = now;
    entries_[last_].next = i;
    last_ = i;
    return e.next == i ? nullptr : &entries_[e.next].what;
  }

 private:
  struct Entry {
    Ahead what;
    std::size_t next = 0;  // its own place: not known
  };
  static constexpr int kBits = 10;
  static constexpr std::size_t kEntries = 1 << kBits, kTries = 8;
  /// Where it is or may be; where all tries are others', one of these is forgotten.
  std::size_t place(const char* p) const {
    auto first =
        std::size_t(reinterpret_cast<std::uintptr_t>(p) * 0x9e3779b97f4a7c15u >> (64 - kBits));
    for (std::size_t t = 0; t < kTries; ++t) {
      std::size_t i = (first + t) % kEntries;
      if (entries_[i].what.count == 0 || entries_[i].what.pieces[0].data == p) return i;
    }
    return first;
  }
  std::vector<Entry> entries_;
  std::size_t last_ = 0;  // at first a place that nothing is in
};

}  // namespace detail
}  // namespace mlxcpp::cpu
