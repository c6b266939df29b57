#include "mlxcpp/ops/cpu/pool.h"

#include "mlxcpp/ops/cpu/detail/ahead.h"

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mlxcpp::cpu {
namespace {

constexpr int kSpins = 2000;  // about 50 microseconds; longer spinning steals time from neighbours

void relax() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

#if defined(__linux__)
void park(std::atomic<std::uint32_t>& word, std::uint32_t seen) {
  syscall(SYS_futex,
          reinterpret_cast<std::uint32_t*>(&word),
          FUTEX_WAIT_PRIVATE,
          seen,
          nullptr,
          nullptr,
          0);
}
void wake_all(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex,
          reinterpret_cast<std::uint32_t*>(&word),
          FUTEX_WAKE_PRIVATE,
          INT_MAX,
          nullptr,
          nullptr,
          0);
}
#else
void park(std::atomic<std::uint32_t>& word, std::uint32_t seen) { word.wait(seen); }
void wake_all(std::atomic<std::uint32_t>& word) { word.notify_all(); }
#endif

/// CPUs that the control group's quota pays for, rounded up; 0: no limit.
int quota() {
#if defined(__linux__)
  auto read = [](const char* path, const char* format, long long* a, long long* b) {
    std::FILE* f = std::fopen(path, "r");
    if (!f) return 0;
    int n = std::fscanf(f, format, a, b);
    std::fclose(f);
    return n;
  };
  long long limit = 0, period = 0, ignored = 0;
  if (read("/sys/fs/cgroup/cpu.max", "%lld %lld", &limit, &period) == 2 && period > 0 && limit > 0)
    return int((limit + period - 1) / period);
  if (read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "%lld", &limit, &ignored) >= 1 && limit > 0 &&
      read("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "%lld", &period, &ignored) >= 1 && period > 0)
    return int((limit + period - 1) / period);
#endif
  return 0;
}

}  // namespace

int usable_threads() {
  int n = int(std::max(1u, std::thread::hardware_concurrency()));
#if defined(__linux__)
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) n = std::max(1, CPU_COUNT(&set));
#endif
  int paid = quota();
  return paid > 0 ? std::min(n, paid) : n;
}

/// A job is open or not, and so many workers are inside: one word, so that entering and closing can
/// not miss each other.
struct Pool::State {
  static constexpr std::uint32_t kOpen = 1u << 31;

  alignas(64) std::atomic<std::uint32_t> epoch{0};  // counts jobs; workers wait for the next
  alignas(64) std::atomic<std::uint32_t> gate{0};   // kOpen, and how many are inside
  alignas(64) std::atomic<int> parked{0};
  std::atomic<bool> stop{false};
  void (*call)(void*, int) = nullptr;
  void* body = nullptr;
  const Ahead* next = nullptr;
  detail::Fetcher own;  // of the callers
  /// Chunks that one thread takes first: neighbours in memory, so that what it fetched ahead is its
  /// own.  The others help when their own are done.
  struct alignas(64) Part {
    std::atomic<int> next{0};
    int end = 0;
  };
  std::vector<Part> parts;
  std::atomic<bool> failed{false};
  std::exception_ptr error;
  std::mutex caller, failure;
  std::vector<std::thread> workers;

  void share(int chunks) {
    long n = long(parts.size());
    for (long i = 0; i < n; ++i) {
      parts[i].next.store(int(chunks * i / n), std::memory_order_relaxed);
      parts[i].end = int(chunks * (i + 1) / n);
    }
  }

  void work(std::size_t thread) {
    for (std::size_t i = 0; i < parts.size(); ++i) take(parts[(thread + i) % parts.size()]);
  }
  void take(Part& part) {
    for (int i;
         !failed.load(std::memory_order_relaxed) && (i = part.next.fetch_add(1)) < part.end;) {
      try {
        call(body, i);
      } catch (...) {
        std::lock_guard lock(failure);
        if (!error) error = std::current_exception();
        failed = true;
      }
    }
  }

  bool enter() {
    std::uint32_t g = gate.load(std::memory_order_acquire);
    while (g & kOpen)
      if (gate.compare_exchange_weak(g, g + 1, std::memory_order_acq_rel)) return true;
    return false;
  }

  void serve(std::size_t thread) {
    std::uint32_t seen = 0;
    detail::Fetcher fetcher;
    while (!stop) {
      std::uint32_t now = epoch.load(std::memory_order_acquire);
      for (int spin = 0; now == seen && spin < kSpins; ++spin) {
        if (!fetcher.some()) relax();
        now = epoch.load(std::memory_order_acquire);
      }
      if (now == seen) {
        parked.fetch_add(1, std::memory_order_seq_cst);
        while ((now = epoch.load(std::memory_order_seq_cst)) == seen) park(epoch, seen);
        parked.fetch_sub(1, std::memory_order_relaxed);
      }
      seen = now;
      if (!enter()) continue;
      work(thread);
      if (next) fetcher.aim(*next, long(thread), long(parts.size()));
      gate.fetch_sub(1, std::memory_order_acq_rel);
    }
  }
};

Pool::Pool(int threads) : threads_(std::max(1, threads)), state_(std::make_unique<State>()) {
  state_->parts = std::vector<State::Part>(std::size_t(threads_));
  for (int i = 1; i < threads_; ++i)
    state_->workers.emplace_back([s = state_.get(), i] { s->serve(std::size_t(i)); });
}

Pool::~Pool() {
  state_->stop = true;
  state_->epoch.fetch_add(1, std::memory_order_seq_cst);
  wake_all(state_->epoch);
  for (auto& w : state_->workers) w.join();
}

void Pool::run_erased(int chunks, void (*call)(void*, int), void* body, const Ahead* next) {
  State& s = *state_;
  if (threads_ == 1 || chunks <= 1) {
    for (int i = 0; i < chunks; ++i) call(body, i);
    return;
  }
  std::lock_guard one(s.caller);
  s.call = call, s.body = body, s.next = next;
  s.share(chunks);
  s.failed.store(false, std::memory_order_relaxed);
  s.gate.store(State::kOpen, std::memory_order_release);
  s.epoch.fetch_add(1, std::memory_order_seq_cst);
  if (s.parked.load(std::memory_order_seq_cst) > 0) wake_all(s.epoch);
  s.work(0);
  // Closed for those who did not come; those inside are waited for.  A worker that was preempted
  // holds its chunk for a scheduler's slice: after a while its core is better given to it.
  std::uint32_t inside = s.gate.fetch_and(~State::kOpen, std::memory_order_acq_rel) & ~State::kOpen;
  if (next) s.own.aim(*next, 0, threads_);
  for (int spin = 0; inside != 0; ++spin) {
    if (spin >= kSpins)
      std::this_thread::yield();
    else if (!s.own.some())
      relax();
    inside = s.gate.load(std::memory_order_acquire);
  }
  if (s.failed) std::rethrow_exception(std::exchange(s.error, nullptr));
}

namespace {
/// Never destroyed: MLX's threads may still compute while the program ends.
std::unique_ptr<Pool>& shared_pool() {
  static auto& pool = *new std::unique_ptr<Pool>(std::make_unique<Pool>(usable_threads()));
  return pool;
}
}  // namespace

Pool& Pool::instance() { return *shared_pool(); }

void set_pool_threads(int threads) {
  auto& pool = shared_pool();
  if (pool->threads() == threads) return;
  pool.reset();
  pool = std::make_unique<Pool>(threads);
}

void* thread_scratch(std::size_t bytes, int slot) {
  struct Block {
    void* data = nullptr;
    std::size_t size = 0;
    ~Block() { std::free(data); }
  };
  thread_local Block blocks[4];
  Block& b = blocks[slot];
  if (b.size < bytes) {
    std::free(b.data);
    b.size = 0;
    // Large pages where the system gives them: kernels go through all of it again and again.
    constexpr std::size_t kLarge = std::size_t(2) << 20;
    std::size_t page = bytes >= kLarge / 2 ? kLarge : 4096;
    std::size_t size = (bytes + (page == kLarge ? bytes / 8 : bytes / 2) + page - 1) / page * page;
    b.data = std::aligned_alloc(page, size);
    if (!b.data) throw std::bad_alloc();
#if defined(__linux__)
    if (page == kLarge) madvise(b.data, size, MADV_HUGEPAGE);
#endif
    b.size = size;
  }
  return b.data;
}

}  // namespace mlxcpp::cpu
