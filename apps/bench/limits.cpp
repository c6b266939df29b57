#include "apps/bench/limits.h"

#include "apps/common/clock.h"
#include "mlxcpp/base/error.h"
#include "mlxcpp/ops/cpu/features.h"
#include "mlxcpp/ops/cpu/pool.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <string>

namespace mlxcpp::apps::bench {
namespace {

constexpr std::size_t kPage = std::size_t{2} << 20, kChunk = std::size_t{256} << 10;
// Beyond this no cache matters, and a model that just fits must not be pushed out.
constexpr std::uint64_t kLargestBuffer = std::uint64_t{2} << 30;

double now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

/// Memory in large pages, where the system has them.
class Buffer {
 public:
  explicit Buffer(std::size_t bytes) : mapped_(bytes + kPage) {
    base_ = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base_ == MAP_FAILED)
      throw CapacityError(describe(
          "bench", "no memory to measure reading", std::to_string(mapped_) + " bytes", "none"));
    auto at = reinterpret_cast<std::uintptr_t>(base_);
    data_ = reinterpret_cast<char*>((at + kPage - 1) / kPage * kPage);
#ifdef MADV_HUGEPAGE
    ::madvise(data_, bytes, MADV_HUGEPAGE);
#endif
  }
  ~Buffer() { ::munmap(base_, mapped_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  char* data() const { return data_; }

 private:
  void* base_;
  std::size_t mapped_;
  char* data_;
};

/// The best of some runs over all threads.
double rate(const cpu::Probe& probe) {
  if (!probe.run) return 0;
  auto& pool = cpu::Pool::instance();
  const int chunks = 4 * pool.threads();
  long n = 1000;
  for (double took = 0; took < 5e-4; n *= 2) {  // as long as a chunk shall be
    double start = now();
    probe.run(n);
    took = now() - start;
  }
  double best = 0;
  for (int i = 0; i < 4; ++i) {
    double start = now();
    pool.run(chunks, [&](int) { probe.run(n); });
    best = std::max(best, probe.products * double(n) * chunks / (now() - start));
  }
  return best;
}

}  // namespace

Peaks measure_peaks() {
  const auto& p = cpu::machine().kernels->probes;
  return {rate(p.f32), rate(p.half), rate(p.byte), rate(p.tile_half)};
}

double usable(const Peaks& p, bool deterministic) {
  double exact = std::max(p.f32, p.byte / 2);
  return deterministic ? exact : std::max({exact, p.half, p.tile_half});
}

double measure_reading(std::uint64_t wanted) {
  std::size_t bytes = std::size_t(std::clamp<std::uint64_t>(wanted, kPage, kLargestBuffer));
  Buffer buffer(bytes);
  auto& pool = cpu::Pool::instance();
  auto read = cpu::machine().kernels->probes.read;
  const int chunks = int((bytes + kChunk - 1) / kChunk);
  auto part = [&](int i) { return std::min(kChunk, bytes - std::size_t(i) * kChunk); };
  pool.run(chunks,
           [&](int i) { std::memset(buffer.data() + std::size_t(i) * kChunk, i, part(i)); });
  std::atomic<int> seen{0};  // or the reads would be for nothing
  double best = 0, begin = now();
  for (int pass = 0; pass < 3 || (now() - begin < 0.05 && pass < 50); ++pass) {
    double start = now();
    pool.run(chunks, [&](int i) {
      seen.fetch_xor(read(buffer.data() + std::size_t(i) * kChunk, part(i)),
                     std::memory_order_relaxed);
    });
    best = std::max(best, double(bytes) / (now() - start));
  }
  return best;
}

void forget_peak_memory() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5";
}

std::uint64_t peak_memory() {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;)
    if (std::uint64_t kilobytes = 0; word == "VmHWM:" && file >> kilobytes) return kilobytes * 1024;
  return peak_process_memory();
}

}  // namespace mlxcpp::apps::bench
